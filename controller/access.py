"""Who may ask for what, where the registry asks for tokens (ENVELOPE_AUTH=tokens).

Every route has a role: those of the API from the table of operations, the others from here. One
without a role keeps the server from starting, so none is open by being forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.api.app import respond
from controller.api.requests import HOLDER, ROLE
from controller.guard import API
from controller.sessions import COOKIE, Sessions
from controller.web.render import pages_on
from envelope.connection import Connection
from envelope.errors import ConfigError
from envelope.registry import Registry, Role, Token
from envelope.registry.tokens import allows
from envelope.remote.operations import OPERATIONS, PREFIX
from envelope.remote.problems import NotAllowed, NotAuthenticated, problem_of

Request_ = tuple[str, str]  # verb and path, as in "GET", "/models/{id}"
PUBLIC = None  # what a browser needs before it has a token

ROLES: Mapping[Request_, Role | None] = {
    **{(each.verb, PREFIX + each.path): each.role for each in OPERATIONS.values()},
    ("POST", PREFIX + "/envelopes"): "author",
    # It writes history, also of tags that only some may set, in the names of others.
    ("PUT", PREFIX + "/envelopes/{envelope_id}"): "admin",
    ("GET", PREFIX + "/blobs/{sha256}"): "viewer",
    ("PUT", PREFIX + "/blobs/{sha256}"): "author",
    ("GET", PREFIX + "/stored-envelopes"): "viewer",
    ("GET", PREFIX + "/envelopes/{envelope_id}/manifest"): "viewer",
    ("PUT", PREFIX + "/envelopes/{envelope_id}/manifest"): "author",
    ("GET", PREFIX + "/envelopes/{envelope_id}/functions/{name}"): "viewer",
    ("PUT", PREFIX + "/envelopes/{envelope_id}/functions/{name}"): "author",
    ("GET", PREFIX + "/documents/{path:path}"): "viewer",
    ("PUT", PREFIX + "/documents/{path:path}"): "author",
    ("GET", PREFIX + "/openapi.json"): "viewer",
    ("GET", "/"): "viewer",
    ("GET", "/models"): "viewer",
    ("GET", "/models/{id}"): "viewer",
    ("GET", "/models/{id}/metrics"): "viewer",
    ("GET", "/models/{id}/online"): "viewer",
    ("GET", "/models/{id}/environment"): "viewer",
    ("POST", "/models/{id}/tags"): "author",
    # A query runs the model, and costs the deployment's time.
    ("POST", "/models/{id}/try"): "author",
    ("POST", "/models/{id}/deploy"): "deployer",
    ("GET", "/diff"): "viewer",
    ("GET", "/deployments"): "viewer",
    ("GET", "/deployments/{name}"): "viewer",
    ("POST", "/deployments/{name}/{action}"): "deployer",
    ("GET", "/rules"): "viewer",
    ("POST", "/rules/pause"): "deployer",
    ("GET", "/forms/deployment"): "deployer",
    ("POST", "/forms/deployment"): "deployer",
    ("GET", "/forms/rule"): "deployer",
    ("POST", "/forms/rule"): "deployer",
    ("GET", "/batch-jobs"): "viewer",
    ("GET", "/forms/batch-job"): "deployer",
    ("POST", "/forms/batch-job"): "deployer",
    ("GET", "/metrics"): "viewer",
    ("GET", "/metrics.{suffix}"): "viewer",
    ("GET", "/metrics/scatter"): "viewer",
    ("GET", "/metrics/scatter.{suffix}"): "viewer",
    ("GET", "/metrics/compare"): "viewer",
    ("GET", "/metrics/statistics"): "viewer",
    ("GET", "/metrics/statistics.{suffix}"): "viewer",
    ("GET", "/audit"): "viewer",
    ("GET", "/login"): PUBLIC,
    ("POST", "/login"): PUBLIC,
    ("POST", "/logout"): PUBLIC,
    ("GET", "/static/vega.js"): PUBLIC,
    ("GET", "/static/{path:path}"): PUBLIC,
}


@dataclass(frozen=True, slots=True)
class Guarded:
    """A route: what it matches, and the role that it needs."""

    verb: str
    path: str
    pattern: re.Pattern[str]
    role: Role | None


def requests_of(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[Request_]:
    """Every verb and path of an application, in the order in which its router looks at them."""
    for route in routes:
        if isinstance(route, Mount) and route.routes:
            yield from requests_of(route.routes, prefix + route.path)
        elif isinstance(route, Mount):  # of files
            yield "GET", f"{prefix}{route.path}/{{path:path}}"
        elif isinstance(route, Route):
            for verb in sorted((route.methods or {"GET"}) - {"HEAD"}):
                yield verb, prefix + route.path
        else:
            raise ConfigError(f"{route} is no route whose role can be told; use Route or Mount")


def guarded(routes: Sequence[BaseRoute], roles: Mapping[Request_, Role | None]) -> list[Guarded]:
    """The role of each route. Raises ConfigError for one that has none."""
    found = list(requests_of(routes))
    if missing := [f"{verb} {path}" for verb, path in found if (verb, path) not in roles]:
        raise ConfigError(
            f"no role is known for {', '.join(missing)}; add it to ROLES in controller/access.py"
        )
    return [Guarded(verb, path, compile_path(path)[0], roles[verb, path]) for verb, path in found]


def role_for(routes: Sequence[Guarded], verb: str, path: str) -> Role | None:
    """The role that a request needs; admin for one that leads nowhere."""
    verb = "GET" if verb == "HEAD" else verb
    for route in routes:
        if route.verb == verb and route.pattern.match(path):
            return route.role
    return "admin"


class Access:
    """Lets a request pass when who asks may do it, and writes down who asks."""

    def __init__(self, app: Starlette, connection: Connection, sessions: Sessions) -> None:
        self._app: ASGIApp = app
        self._registry: Registry = connection.registry
        self._pages = pages_on(connection)
        self._sessions = sessions
        self._routes = guarded(app.routes, ROLES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 403, lead to the login page, or let the request pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if not request.url.path.startswith(API):
            send = _unkept(request, send)
        needed = role_for(self._routes, request.method, request.url.path)
        if needed is not PUBLIC:
            token = await self._token(request)
            if token is None:
                await self._ask(request)(scope, receive, send)
                return
            scope[HOLDER], scope[ROLE] = token.holder, token.role
            if not allows(token.role, needed):
                await self._refuse(request, token, needed)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _token(self, request: Request) -> Token | None:
        secret = bearer(request.headers.get("authorization", ""))
        if secret is None and not request.url.path.startswith(API):
            # A cookie opens pages only: what a browser sends by itself never reaches the API.
            secret = self._sessions.secret_of(request.cookies.get(COOKIE, ""))
        if secret is None:
            return None
        return await run_in_threadpool(self._registry.token_of, secret)

    def _ask(self, request: Request) -> Response:
        if request.url.path.startswith(API):
            error = NotAuthenticated(
                "this registry asks for a token, and none that counts was sent; set ENVELOPE_TOKEN "
                "to one that an admin made with `envelope token create`"
            )
            problem = problem_of(error, is_reading=False)
            return respond(problem, {"WWW-Authenticate": "Bearer"})
        if request.method in ("GET", "HEAD"):
            query = f"?{request.url.query}" if request.url.query else ""
            after = urlencode({"next": request.url.path + query})
            return RedirectResponse(f"/login?{after}", HTTPStatus.SEE_OTHER)
        return self._fault(request, HTTPStatus.UNAUTHORIZED, "Sign in first: your session ended.")

    def _refuse(self, request: Request, token: Token, needed: Role) -> Response:
        words = (
            f"{token.holder} is {token.role} here, and {request.method} {request.url.path} needs "
            f"the role {needed}; ask an admin for a token of that role"
        )
        if request.url.path.startswith(API):
            return respond(problem_of(NotAllowed(words), is_reading=False), {})
        return self._fault(request, HTTPStatus.FORBIDDEN, words)

    def _fault(self, request: Request, status: HTTPStatus, words: str) -> Response:
        pages = self._pages.seen_by(request)
        return pages.show("fault.html", status=status, title=status.phrase, words=words)


def _unkept(request: Request, send: Send) -> Send:
    """Let no browser or proxy keep a page that somebody had to sign in for."""

    async def send_unkept(message: Message) -> None:
        if message["type"] == "http.response.start" and HOLDER in request.scope:
            message["headers"] = [*message["headers"], (b"cache-control", b"no-store")]
        await send(message)

    return send_unkept


def bearer(header: str) -> str | None:
    """The token of an Authorization header; None when it brings none."""
    scheme, _, secret = header.partition(" ")
    return secret.strip() or None if scheme.lower() == "bearer" else None
