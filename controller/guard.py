"""What keeps other sites away from the registry that this machine serves."""

from __future__ import annotations

import time
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope.settings import Auth

# Everything a page needs comes from here, and no other page may show one of ours in a frame.
HEADERS = {
    b"content-security-policy": b"default-src 'self'; img-src 'self' data:; style-src 'self' "
    b"'unsafe-inline'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
}
LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
API = "/api/"  # for programs, which send no Origin


class Guard:
    """Lets other sites neither write nor read here.

    A page elsewhere can send a form to this address, and a name elsewhere can be made to lead here
    (DNS rebinding): what changes something needs the browser's word that it came from our own page,
    and a request has to name this machine.
    """

    def __init__(self, app: ASGIApp, auth: Auth) -> None:
        self._app, self._auth = app, auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or let the request pass and put our headers on the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if reason := refusal(Request(scope), self._auth):
            await Response(reason, HTTPStatus.FORBIDDEN)(scope, receive, send)
            return
        began = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                took_ms = (time.perf_counter() - began) * 1000
                message["headers"] = [
                    *message["headers"],
                    *HEADERS.items(),
                    (b"server-timing", f"total;dur={took_ms:.1f}".encode()),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def refusal(request: Request, auth: Auth) -> str | None:
    """Return why a request is refused; None when it may pass."""
    # With tokens a name elsewhere that leads here brings nothing: neither token nor cookie is its.
    if auth == "none" and request.url.hostname not in LOCAL_HOSTS:
        return f"this registry is for this machine, as localhost, not as {request.url.hostname}"
    if request.method in ("GET", "HEAD"):
        return None
    origin = request.headers.get("origin")
    if origin is None:
        if request.url.path.startswith(API):
            return None
        return "a change needs an Origin header, which browsers send; programs use /api/v1"
    if urlsplit(origin).netloc != request.url.netloc:
        return f"{origin} may change nothing here"
    return None
