"""The routes of the pages, what every answer carries, and how a fault looks."""

from __future__ import annotations

import time
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.web import actions, assets, deployments, metrics, models, rules
from controller.web.render import Pages
from envelope.connection import Connection
from envelope.errors import EnvelopeError, ModelNotFound

# Everything a page needs comes from here, and no other page may show one of ours in a frame.
HEADERS = {
    b"content-security-policy": b"default-src 'self'; img-src 'self' data:; style-src 'self' "
    b"'unsafe-inline'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
}
LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1", "testserver"})


def build_pages(connection: Connection) -> Starlette:
    """Return the pages as an ASGI application. It holds no state but the connection."""
    app = Starlette(
        routes=[
            Route("/", lambda request: RedirectResponse("/models")),
            Route("/models", models.search),
            Route("/models/{id}", models.summary),
            Route("/models/{id}/metrics", models.metrics),
            Route("/models/{id}/online", models.online),
            Route("/models/{id}/environment", models.environment),
            Route("/models/{id}/tags", actions.change_tags, methods=["POST"]),
            Route("/models/{id}/deploy", actions.deploy, methods=["POST"]),
            Route("/diff", models.diff),
            Route("/deployments", deployments.overview),
            Route("/deployments/{name}", deployments.show),
            Route("/deployments/{name}/{action}", actions.on_deployment, methods=["POST"]),
            Route("/rules", rules.overview),
            Route("/metrics", metrics.dashboard),
            Route("/metrics.csv", metrics.export),
            Route("/static/vega.js", assets.vega),
            Mount("/static", StaticFiles(packages=[("controller.web", "static")])),
        ],
        middleware=[Middleware(_Guard), Middleware(GZipMiddleware, minimum_size=1024)],
        exception_handlers={EnvelopeError: _fault, HTTPException: _fault},
    )
    app.state.pages = Pages(connection)
    return app


def _fault(request: Request, exc: Exception) -> Response:
    """Answer with a page that says what is wrong; never with a traceback."""
    if isinstance(exc, HTTPException):
        status, words = exc.status_code, exc.detail
    else:
        status = HTTPStatus.NOT_FOUND if isinstance(exc, ModelNotFound) else HTTPStatus.BAD_REQUEST
        words = str(exc)
    pages: Pages = request.app.state.pages
    return pages.show("fault.html", status=status, title=HTTPStatus(status).phrase, words=words)


class _Guard:
    """Lets other sites neither write nor read here.

    A page elsewhere can send a form to this address, and a name elsewhere can be made to lead here
    (DNS rebinding): what changes something needs the browser's word that it came from our own page,
    and a request has to name this machine.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if reason := _refusal(request):
            await Response(reason, HTTPStatus.FORBIDDEN)(scope, receive, send)
            return
        began = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                took_ms = (time.perf_counter() - began) * 1000
                message["headers"] = [
                    *message["headers"],
                    *HEADERS.items(),
                    (b"server-timing", f"page;dur={took_ms:.1f}".encode()),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _refusal(request: Request) -> str | None:
    if request.url.hostname not in LOCAL_HOSTS:
        return f"these pages are for this machine, as localhost, not as {request.url.hostname}"
    if request.method in ("GET", "HEAD"):
        return None
    origin = request.headers.get("origin")
    if origin is None:
        return "a change needs an Origin header, which browsers send; programs use the SDK"
    if urlsplit(origin).netloc != request.url.netloc:
        return f"{origin} may change nothing here"
    return None
