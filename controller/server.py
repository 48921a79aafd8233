"""The HTTP server in the controller's process: the registry's API and pages."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from controller.access import Access
from controller.api.app import build_api
from controller.guard import Guard
from controller.sessions import Sessions
from controller.web.app import build_pages
from envelope.connection import Connection

STOP_TIMEOUT_S = 2.0

log = logging.getLogger("controller")


def build_app(connection: Connection) -> ASGIApp:
    """Return all that is served under the registry's address."""
    sessions = Sessions()
    routed = Starlette(
        routes=[
            Mount("/api/v1", app=build_api(connection)),
            Mount("/", app=build_pages(connection, sessions)),
        ]
    )
    auth = connection.settings.auth
    app = Access(routed, connection, sessions) if auth == "tokens" else routed
    return Guard(app, auth)


@contextmanager
def serving(connection: Connection) -> Iterator[int | None]:
    """Serve on a thread for as long as the block runs; yields the port.

    None when it cannot listen there: that is logged, and delivery goes on without pages.
    """
    host, port = connection.settings.api_host, connection.settings.api_port
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # who connects before the thread is ready waits
    except OSError as exc:
        listener.close()
        log.error(
            "no pages: nothing can listen on %s, port %d (%s); set ENVELOPE_API_HOST or "
            "ENVELOPE_API_PORT to another one",
            *(host, port, exc),
        )
        yield None
        return
    config = uvicorn.Config(
        build_app(connection), log_config=None, access_log=False, lifespan="off", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="pages", daemon=True
    )
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(STOP_TIMEOUT_S)
        listener.close()
