"""The API as one application: its routes, its errors, its description."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from controller.api.files import file_routes
from controller.api.openapi import document
from controller.api.operations import operation_routes
from envelope.connection import Connection
from envelope.errors import EnvelopeError
from envelope.remote.problems import MEDIA_TYPE, Problem, problem_of

log = logging.getLogger(__name__)


def build_api(connection: Connection) -> FastAPI:
    """Return the API on this registry and store, to be mounted at /api/v1.

    Its handlers never block the loop; they use up to 40 threads of the server's pool.
    """
    app = FastAPI(
        title="Model Envelope registry",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        routes=[*file_routes(connection), *operation_routes(connection)],
        exception_handlers={
            EnvelopeError: _refuse,
            HTTPException: _no_route,
            ClientDisconnect: _hang_up,
            Exception: _fail,
        },
    )
    description = document()

    def openapi() -> dict[str, Any]:
        return dict(description)

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, EnvelopeError)
    problem = problem_of(error, is_reading=request.method in ("GET", "HEAD"))
    if problem.status >= 500:
        log.warning("the registry did not do its part", extra={"detail": problem.detail})
    headers = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else {}
    return respond(problem, headers)


async def _no_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    problem = Problem(
        type="about:blank",
        title=error.detail,
        status=error.status_code,
        detail=f"{error.detail}; /api/v1/openapi.json lists the requests that there are",
    )
    return respond(problem, error.headers or {})


async def _hang_up(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _fail(_request: Request, error: Exception) -> Response:
    error_id = uuid.uuid4().hex
    log.error("a request failed", exc_info=error, extra={"error_id": error_id})
    problem = Problem(
        type="urn:model-envelope:problem:internal",
        title="The server failed",
        status=500,
        detail=f"the server's log says why, under error id {error_id}",
        error_id=error_id,
    )
    return respond(problem, {})


def respond(problem: Problem, headers: Mapping[str, str]) -> Response:
    """Answer with a problem."""
    return Response(
        msgspec.json.encode(problem),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=dict(headers),
    )
