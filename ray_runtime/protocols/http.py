"""One ASGI application per replica: a table of routes, and nothing decided per request.

What a framework would work out on every request (which route, which headers, which document) is
worked out when the replica starts. A protocol is a module with `routes(live) -> list[Route]`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ray_runtime.calls import BodyBytes
from ray_runtime.protocols import problem
from ray_runtime.protocols.large_bodies import connection_of, read_rest
from ray_runtime.protocols.media import decompress
from ray_runtime.protocols.problem import (
    ClientGone,
    Malformed,
    NotFound,
    Problem,
    RequestError,
    TimedOut,
    TooLarge,
    WrongMethod,
)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

LARGE_DIGITS = 6  # of a Content-Length that is looked at before the body: 100,000 bytes and up
JSON = b"application/json"

log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """A whole answer. media_type: of the body. headers: beside those that every answer has."""

    body: bytes
    media_type: bytes = JSON
    status: int = 200
    headers: tuple[Header, ...] = ()


class Request:
    """One request. Its headers are looked through once; of a repeated one the last counts."""

    __slots__ = (
        "_max_body_bytes",
        "_receive",
        "_timeout_s",
        "accept",
        "content_encoding",
        "content_length",
        "content_type",
        "scope",
    )

    def __init__(
        self, scope: Scope, receive: Receive, max_body_bytes: int, timeout_s: float
    ) -> None:
        self.scope = scope
        self._receive = receive
        self._max_body_bytes = max_body_bytes
        self._timeout_s = timeout_s
        self.content_type: bytes | None = None
        self.content_length: bytes | None = None
        self.content_encoding: bytes | None = None
        self.accept: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"content-type":
                self.content_type = value
            elif name == b"accept":
                self.accept = value if self.accept is None else self.accept + b"," + value
            elif name == b"content-length":
                self.content_length = value
            elif name == b"content-encoding":
                self.content_encoding = value

    def header(self, name: bytes) -> bytes | None:
        """Return any header; name: in lower case."""
        return next((value for key, value in self.scope["headers"] if key == name), None)

    async def body(self) -> BodyBytes:
        """Return the whole body, decompressed. Raises TooLarge before reading what is too much.

        Raises ClientGone when the connection closes first, TimedOut when it takes too long.
        """
        limit = self._max_body_bytes
        length = self._large_length(limit)
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the connection was closed before the body was whole")
        body: BodyBytes = message.get("body", b"")
        if message.get("more_body"):
            try:
                async with asyncio.timeout(self._timeout_s):
                    body = await self._rest(message["body"], length, limit)
            except TimeoutError:
                raise TimedOut(self._timeout_s) from None
        if len(body) > limit:
            raise _too_large(limit)
        if self.content_encoding is not None:
            return await asyncio.to_thread(decompress, bytes(body), self.content_encoding, limit)
        return body

    def _large_length(self, limit: int) -> int | None:
        """Return how many bytes the body has, if the request says so and it could be too many."""
        length = self.content_length
        if length is None or len(length) < LARGE_DIGITS:
            return None
        if not length.isdigit():
            raise Malformed("Content-Length is not a number of bytes")
        size = int(length[:20])
        if size > limit:
            raise _too_large(limit)
        return size

    async def _rest(self, first: bytes, length: int | None, limit: int) -> BodyBytes:
        connection = None if length is None else connection_of(self._receive)
        if length is not None and connection is not None:
            return await read_rest(connection, first, length)
        # Grown in place: joining the parts of 6 MB at the end took twice as long as all of this.
        whole, more = BytesIO(), True
        size = whole.write(first)
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone("the connection was closed before the body was whole")
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            whole.write(part)
            more = message.get("more_body", False)
        return whole.getvalue()

    def is_gone(self) -> bool:
        """Whether the client has closed the connection, where the server lets us see it.

        uvicorn's request cycle knows; asking it through `receive` would take a task per request.
        """
        cycle = getattr(self._receive, "__self__", None)
        return bool(getattr(cycle, "disconnected", False))

    def is_alone(self) -> bool:
        """Whether no other request is here now, where the server lets us see it.

        uvicorn makes a task per request as it reads them, all that are there in one turn of the
        loop, before the first of them runs.
        """
        try:
            tasks = self._receive.__self__.on_response.__self__.tasks  # type: ignore[attr-defined]
        except AttributeError:
            return False
        return len(tasks) == 1


Handler: TypeAlias = Callable[[Request], Awaitable[Answer]]
WriteProblem: TypeAlias = Callable[[Problem], Answer]


def write_problem(found: Problem) -> Answer:
    """Return a problem as application/problem+json."""
    return Answer(msgspec.json.encode(found), problem.MEDIA_TYPE, found.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path. path: whole, from the root. operation: its OpenAPI description.

    write_problem: how this protocol says that something went wrong.
    """

    method: str
    path: str
    handler: Handler
    operation: Mapping[str, Any] = field(default_factory=dict)
    write_problem: WriteProblem = write_problem


def document(path: str, body: bytes, media_type: bytes = JSON, **options: Any) -> Route:
    """Return a route that always answers the same, made once."""
    answer = Answer(body, media_type)

    async def handler(request: Request) -> Answer:
        return answer

    return Route(method="GET", path=path, handler=handler, **options)


class Router:
    """The ASGI application of one replica.

    prefix: "/<deployment>", below which everything is ours. always: headers of every answer.
    """

    def __init__(
        self,
        prefix: str,
        routes: Iterable[Route],
        *,
        always: tuple[Header, ...] = (),
        max_body_bytes: int,
        timeout_s: float,
    ) -> None:
        self.prefix = prefix
        self._below = prefix + "/"
        self._always = always
        self._max_body_bytes = max_body_bytes
        self._timeout_s = timeout_s
        self._table: dict[tuple[str, str], tuple[Handler, WriteProblem]] = {}
        self._methods: dict[str, list[str]] = {}
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        methods = [route.method, "HEAD"] if route.method == "GET" else [route.method]
        for method in methods:
            self._table[method, route.path] = (route.handler, route.write_problem)
            self._methods.setdefault(route.path, []).append(method)

    def owns(self, path: str) -> bool:
        """Whether a path is this deployment's."""
        return path == self.prefix or path.startswith(self._below)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _other_protocol(scope, receive, send)
            return
        handler, write = self._table.get((scope["method"], scope["path"]), _MISSING)
        request = Request(scope, receive, self._max_body_bytes, self._timeout_s)
        try:
            answer = await handler(request) if handler is not None else self._miss(scope)
        except RequestError as exc:
            write = write if handler is not None else self._writer_at(scope["path"])
            answer = _refusal(exc, write)
        except Exception as exc:
            answer = write(logged_problem(exc))
        body = answer.body
        headers = [
            (b"content-type", answer.media_type),
            (b"content-length", str(len(body)).encode()),
            *self._always,
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _miss(self, scope: Scope) -> Answer:
        path = scope["path"]
        if path in self._methods:
            allowed = self._methods[path]
            raise WrongMethod(
                f"{path} takes {' and '.join(allowed)}, not {scope['method']}", allowed
            )
        raise NotFound(f"there is no such path below {self.prefix}; see {self.prefix}/docs")

    def _writer_at(self, path: str) -> WriteProblem:
        """Return how errors are written at a path that is no route: as the nearest above it does.

        A client of a protocol reads the protocol's errors also where there is nothing.
        """
        while path:
            for method in self._methods.get(path, ()):
                return self._table[method, path][1]
            path = path.rpartition("/")[0]
        return write_problem


_MISSING: tuple[Handler | None, WriteProblem] = (None, write_problem)


def logged_problem(error: Exception) -> Problem:
    """Return the problem that an error is; log the traceback of one that is nobody's mistake."""
    found = problem.problem_of(error)
    if found.error_id is not None:
        log.error("request failed: error id %s", found.error_id, exc_info=error.__cause__ or error)
    return found


def _refusal(error: RequestError, write: WriteProblem) -> Answer:
    answer = write(problem.problem_of(error))
    return answer._replace(headers=answer.headers + error.headers)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"a body may have {limit:,} bytes here, the deployment's max_body_bytes")


async def _other_protocol(scope: Scope, receive: Receive, send: Send) -> None:
    """Agree to start and stop, which Serve asks for, and to no websocket."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1003, "reason": "HTTP only"})
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
