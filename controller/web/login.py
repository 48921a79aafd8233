"""Signing in with a token, and out."""

from __future__ import annotations

import math
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from controller.sessions import COOKIE, SESSION_S, LoginLimit, Sessions
from controller.web.actions import read_form
from controller.web.render import pages_of


def login_routes(sessions: Sessions) -> list[Route]:
    """The login page, what its form does, and how to sign out."""
    limit = LoginLimit()

    async def show(request: Request) -> Response:
        after = inner_path(request.query_params.get("next", ""))
        return pages_of(request).show("login.html", title="Sign in", after=after, words=None)

    async def login(request: Request) -> Response:
        form, pages = await read_form(request), pages_of(request)
        after = inner_path(form.get("next", ""))
        address = request.client.host if request.client else "unknown"
        if (wait_s := limit.wait_s(address)) > 0:
            answer: Response = pages.show(
                "login.html",
                status=HTTPStatus.TOO_MANY_REQUESTS,
                title="Sign in",
                after=after,
                words=f"Too many wrong tokens from {address}; try again in {math.ceil(wait_s)} s.",
            )
            answer.headers["retry-after"] = str(math.ceil(wait_s))
            return answer
        secret = form.get("token", "").strip()
        token = await run_in_threadpool(pages.connection.registry.token_of, secret)
        if token is None:
            limit.failed(address)
            return pages.show(
                "login.html",
                status=HTTPStatus.UNAUTHORIZED,
                title="Sign in",
                after=after,
                words="This token does not count here; ask an admin for one.",
            )
        answer = RedirectResponse(after, HTTPStatus.SEE_OTHER)
        answer.set_cookie(
            COOKIE,
            sessions.start(secret),
            max_age=int(SESSION_S),
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return answer

    async def logout(request: Request) -> Response:
        sessions.end(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
        answer.delete_cookie(COOKIE, httponly=True, samesite="lax")
        return answer

    return [
        Route("/login", show),
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
    ]


def inner_path(text: str) -> str:
    """A path of this registry; the first page for what would lead elsewhere."""
    is_inner = text.startswith("/") and not text.startswith("//") and text.isprintable()
    return text if is_inner and "\\" not in text else "/models"
