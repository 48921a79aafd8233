"""The routes of the pages, and how a fault looks."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from controller.sessions import Sessions
from controller.web import (
    actions,
    assets,
    audit,
    batch,
    captured,
    comparison,
    deployments,
    metrics,
    models,
    online,
    rules,
    scatter,
)
from controller.web.forms import form_routes
from controller.web.login import login_routes
from controller.web.render import pages_of, pages_on
from envelope.connection import Connection
from envelope.errors import EnvelopeError, ModelNotFound
from envelope.registry import StaleState

GZIP_LEVEL = 3  # of 1 MB of chart data: 9 ms to 19 % of its size; level 9 takes 52 ms to 16 %


def build_pages(connection: Connection, sessions: Sessions) -> Starlette:
    """Return the pages as an ASGI application. It holds no state but the connection
    and the sessions.
    """
    app = Starlette(
        routes=[
            Route("/", lambda request: RedirectResponse("/models")),
            Route("/models", models.search),
            Route("/models/{id}", models.summary),
            Route("/models/{id}/metrics", models.metrics),
            Route("/models/{id}/online", online.show),
            Route("/models/{id}/environment", models.environment),
            Route("/models/{id}/tags", actions.change_tags, methods=["POST"]),
            Route("/models/{id}/try", online.try_it, methods=["POST"]),
            Route("/models/{id}/deploy", actions.deploy, methods=["POST"]),
            Route("/diff", models.diff),
            Route("/deployments", deployments.overview),
            Route("/deployments/{name}", deployments.show),
            Route("/deployments/{name}/{action}", actions.on_deployment, methods=["POST"]),
            *form_routes(deployments.FORM),
            Route("/rules", rules.overview),
            Route("/rules/pause", actions.pause_rule, methods=["POST"]),
            *form_routes(rules.FORM),
            Route("/batch-jobs", batch.overview),
            *form_routes(batch.FORM),
            Route("/metrics", metrics.dashboard),
            Route("/metrics.{suffix}", metrics.export),
            Route("/metrics/scatter", scatter.show),
            Route("/metrics/scatter.{suffix}", scatter.export),
            Route("/metrics/compare", comparison.show),
            Route("/metrics/statistics", captured.show),
            Route("/metrics/statistics.{suffix}", captured.export),
            Route("/audit", audit.overview),
            *login_routes(sessions),
            Route("/static/vega.js", assets.vega),
            Mount("/static", StaticFiles(packages=[("controller.web", "static")])),
        ],
        middleware=[Middleware(GZipMiddleware, minimum_size=1024, compresslevel=GZIP_LEVEL)],
        exception_handlers={EnvelopeError: _fault, HTTPException: _fault},
    )
    app.state.pages = pages_on(connection)
    return app


def _fault(request: Request, exc: Exception) -> Response:
    """Answer with a page that says what is wrong; never with a traceback."""
    if isinstance(exc, HTTPException):
        status, words = exc.status_code, exc.detail
    else:
        kinds = (kind for kind in _STATUSES if isinstance(exc, kind))
        status, words = _STATUSES.get(next(kinds, Exception), HTTPStatus.BAD_REQUEST), str(exc)
    return pages_of(request).show(
        "fault.html", status=status, title=HTTPStatus(status).phrase, words=words
    )


_STATUSES: Mapping[type[Exception], HTTPStatus] = {
    ModelNotFound: HTTPStatus.NOT_FOUND,
    StaleState: HTTPStatus.CONFLICT,
}
