"""Answers a share of the queries by another application: bytes and headers over a handle.

The share is one of queries, or, in an experiment, one of callers.

A replica has this in front of its router only while its deployment's queries are split. Only
POST is split: what a deployment is (`GET /<deployment>`) is always said by the live envelope.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NamedTuple, Protocol

from ray_runtime.assignment import Sticky, is_in_share, key_in_body, key_in_headers
from ray_runtime.protocols.http import Header, Message, Receive, Router, Scope, Send
from ray_runtime.traffic import Counter, Quota, Side, Split

MOST_BYTES = 1024 * 1024  # of a body that is sent on, and of an answer; gRPC refuses 4 MiB
MARGIN_S = 1.0  # the other side keeps to the same time limit by itself
PROBE_S = 2.0  # how long the first query after a failure waits for the other side
PATIENCE_S = 2.0  # at least; then it is answered here. A handle waits where there is no replica
PATIENCE = 5  # times the p95 seen so far
KNOWN = 20  # answers before that counts

log = logging.getLogger(__name__)


class Sent(NamedTuple):
    """One request, as it is sent on. headers: of HTTP/1, lower-case names."""

    method: str
    path: str
    query_string: bytes
    headers: list[Header]
    body: bytes


class Returned(NamedTuple):
    """One answer. took_ms: within the application that answered. None in place of it: too long."""

    status: int
    headers: list[Header]
    body: bytes
    took_ms: float


class Ask(Protocol):
    """Sends a request to the other application; raises whatever the way there raises."""

    async def __call__(self, sent: Sent) -> Returned | None: ...


async def answer_sent(router: Router, sent: Sent) -> Returned | None:
    """Answer a request that was sent on, as if it had come by HTTP; None if that is too long."""
    scope: Scope = {
        "type": "http",
        "method": sent.method,
        "path": sent.path,
        "query_string": sent.query_string,
        "headers": sent.headers,
    }
    parts: list[Message] = []

    async def send(message: Message) -> None:
        parts.append(message)

    began = time.perf_counter()
    await router(scope, Replay([_whole(sent.body)]), send)
    took_ms = (time.perf_counter() - began) * 1000
    start, *rest = parts
    body = b"".join(part.get("body", b"") for part in rest)
    if len(body) > MOST_BYTES:
        return None
    return Returned(start["status"], list(start["headers"]), body, took_ms)


class Fork:
    """ASGI in front of a router: the share goes elsewhere, the rest is answered here.

    Whatever does not come back from there is answered here, so that no caller notices.
    """

    def __init__(self, router: Router, split: Split, ask: Ask, timeout_s: float) -> None:
        self.counter = Counter()
        self.split = split
        self._router = router
        self._ask = ask
        self._timeout_s = timeout_s
        self._quota = Quota(split.percent)
        self._is_broken = False  # the last try did not come back
        self._is_probing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._router(scope, receive, send)
            return
        if self.split.sticky is not None:
            await self._by_key(self.split.sticky, scope, receive, send)
        elif self._quota.take():
            await self._there(scope, receive, send, otherwise="live")
        else:
            await self._here(scope, receive, send, "live")

    async def _by_key(self, sticky: Sticky, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by the side that the caller belongs to. One that cannot be told is outside."""
        key, again = await read_key(sticky, scope, receive)
        if key is None:
            await self._here(scope, again, send, "outside")
        elif is_in_share(self.split.key, key, self.split.percent):
            await self._there(scope, again, send, otherwise="outside")
        else:
            await self._here(scope, again, send, "live")

    async def _there(self, scope: Scope, receive: Receive, send: Send, *, otherwise: Side) -> None:
        """Let the other side answer. otherwise: where it counts when it is answered here."""
        if self._is_probing or is_long(scope):
            await self._here(scope, receive, send, otherwise)
            return
        received, body = await read_body(receive)
        again = Replay(received, receive)
        returned = None if body is None else await self._try(sent_of(scope, body))
        if returned is None:
            await self._here(scope, again, send, otherwise)
            return
        self.counter.answered("candidate", returned.status, returned.took_ms)
        start = {"type": "http.response.start", "status": returned.status}
        await send({**start, "headers": returned.headers})
        await send({"type": "http.response.body", "body": returned.body})

    async def _here(self, scope: Scope, receive: Receive, send: Send, side: Side) -> None:
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        began = time.perf_counter()
        await self._router(scope, receive, watched)
        self.counter.answered(side, status, (time.perf_counter() - began) * 1000)

    async def _try(self, sent: Sent) -> Returned | None:
        """Ask the other side; after a failure one query at a time, and not for long.

        A handle waits for ever where there is no replica.
        """
        limit_s = self._patience_s()
        self._is_probing = self._is_broken
        try:
            async with asyncio.timeout(PROBE_S if self._is_broken else limit_s):
                returned = await self._ask(sent)
        except Exception as exc:  # of Ray, Serve, gRPC, or the process on the other side
            log.warning("no answer from %s: %r", self.split.application, exc)
            self.counter.unanswered("candidate")
            self._is_broken = True
            return None
        finally:
            self._is_probing = False
        self._is_broken = False
        return returned

    def _patience_s(self) -> float:
        """How long the other side may take, before a query is answered here: it may have died."""
        limit_s, tally = self._timeout_s + MARGIN_S, self.counter.tally()
        if tally.candidate.count + tally.live.count < KNOWN:
            return limit_s
        seen_ms = (side.quantile_ms(0.95) or 0.0 for side in (tally.candidate, tally.live))
        return min(limit_s, max(PATIENCE_S, PATIENCE * max(seen_ms) / 1000))


class Replay:
    """ASGI's `receive`, once more from the beginning, and then on."""

    def __init__(self, messages: list[Message], then: Receive | None = None) -> None:
        self._messages = iter(messages)
        self._then = then

    async def __call__(self) -> Message:
        for message in self._messages:
            return message
        if self._then is not None:
            return await self._then()
        return {"type": "http.disconnect"}


async def read_key(sticky: Sticky, scope: Scope, receive: Receive) -> tuple[str | None, Receive]:
    """Read whose query it is, and what receives it from its beginning. None: that is not said."""
    if sticky.header is not None:
        return key_in_headers(sticky, scope["headers"]), receive
    if is_long(scope):
        return None, receive
    received, body = await read_body(receive)
    return None if body is None else key_in_body(sticky, body), Replay(received, receive)


async def read_body(receive: Receive) -> tuple[list[Message], bytes | None]:
    """Read a body of at most MOST_BYTES: all messages, and the body if that is all of it."""
    messages: list[Message] = []
    size, more = 0, True
    while more and size <= MOST_BYTES:
        message = await receive()
        messages.append(message)
        if message["type"] == "http.disconnect":
            return messages, None
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if more or size > MOST_BYTES:
        return messages, None
    return messages, b"".join(message.get("body", b"") for message in messages)


def is_long(scope: Scope) -> bool:
    """Whether a body is known to be too long to be sent on."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return not length.isdigit() or int(length[:20]) > MOST_BYTES


def sent_of(scope: Scope, body: bytes) -> Sent:
    """Return a request as it is sent on."""
    headers = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
    return Sent(scope["method"], scope["path"], scope.get("query_string", b""), headers, body)


def _whole(body: bytes) -> Message:
    return {"type": "http.request", "body": body, "more_body": False}
