"""Copies a share of the queries to another application, and compares what both answer.

Callers get the live answer, which waits for nothing: a copy leaves after it, and is dropped while
others are still under way. Nothing is queued.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Any

import msgspec

from ray_runtime.fork import (
    MARGIN_S,
    MOST_BYTES,
    Ask,
    Replay,
    Returned,
    Sent,
    is_long,
    read_body,
    sent_of,
)
from ray_runtime.protocols.http import Message, Receive, Router, Scope, Send
from ray_runtime.traffic import Counter, Quota, Split

COPIES = 4  # under way at once; a challenger that keeps up has one or two
CLOSE = 1e-6  # relative difference of numbers that counts as none: models are floats

log = logging.getLogger(__name__)


class Shadow:
    """ASGI in front of a router: all is answered here, and a share is copied elsewhere."""

    def __init__(self, router: Router, split: Split, ask: Ask, timeout_s: float) -> None:
        self.counter = Counter()
        self.split = split
        self._router = router
        self._ask = ask
        self._limit_s = timeout_s + MARGIN_S
        self._quota = Quota(split.percent)
        self._copies: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._router(scope, receive, send)
            return
        if not self._quota.take() or is_long(scope):
            await self._here(scope, receive, send)
            return
        received, body = await read_body(receive)
        answer = await self._here(scope, Replay(received, receive), send)
        if body is None or answer is None or len(answer.body) > MOST_BYTES:
            return
        if len(self._copies) >= COPIES:
            self.counter.dropped += 1
            return
        task = asyncio.create_task(self._copy(sent_of(scope, body), answer))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _here(self, scope: Scope, receive: Receive, send: Send) -> Returned | None:
        parts: list[Message] = []

        async def watched(message: Message) -> None:
            parts.append(message)
            await send(message)

        began = time.perf_counter()
        await self._router(scope, receive, watched)
        took_ms = (time.perf_counter() - began) * 1000
        if not parts:
            return None
        status = parts[0]["status"]
        self.counter.answered("live", status, took_ms)
        body = b"".join(part.get("body", b"") for part in parts[1:])
        return Returned(status, list(parts[0]["headers"]), body, took_ms)

    async def _copy(self, sent: Sent, answer: Returned) -> None:
        try:
            async with asyncio.timeout(self._limit_s):
                returned = await self._ask(sent)
        except Exception as exc:  # of Ray, Serve, gRPC, or the process on the other side
            log.warning("no answer from %s: %r", self.split.application, exc)
            self.counter.unanswered("candidate")
            return
        if returned is None:
            return  # too long to be compared
        self.counter.answered("candidate", returned.status, returned.took_ms)
        if returned.status < 500 and not is_same(answer, returned):
            self.counter.different += 1


def is_same(one: Returned, other: Returned) -> bool:
    """Whether two answers say the same: JSON with numbers that are close, else the same bytes."""
    if one.status != other.status:
        return False
    if one.body == other.body:
        return True
    try:
        return _is_close(msgspec.json.decode(one.body), msgspec.json.decode(other.body))
    except msgspec.DecodeError:
        return False


def _is_close(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=CLOSE)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_close, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _is_close(value, other[key]) for key, value in one.items()
        )
    return bool(one == other)
