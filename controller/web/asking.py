"""Asking a deployment for a page: one query, with a limit on the time and on what is read."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from envelope.errors import Fault

TIMEOUT_S = 30.0  # as long as somebody waits before a page
MAX_ANSWER_BYTES = 1 << 20  # that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a query. text: the answer, laid out; None when there is none.

    words: why there is none. faults: what of the body does not fit. envelope_id: of who answered.
    """

    took_ms: float
    text: str | None = None
    words: str = ""
    faults: Sequence[Fault] = ()
    envelope_id: str | None = None


class _Problem(msgspec.Struct):
    title: str = ""
    detail: str = ""
    faults: list[Fault] = []


async def ask(url: str, body: Any, timeout_s: float = TIMEOUT_S) -> Answer:
    """Send one query to a deployment and return what it says, whatever that is."""
    began = time.perf_counter()

    def took_ms() -> float:
        return (time.perf_counter() - began) * 1000

    try:
        async with asyncio.timeout(timeout_s), httpx.AsyncClient(timeout=timeout_s) as client:
            headers = {"content-type": "application/json", "accept": "application/json"}
            content = json.dumps(body).encode()
            async with client.stream("POST", url, content=content, headers=headers) as response:
                data = await _read(response)
    except (TimeoutError, httpx.TimeoutException):
        words = f"{url} did not answer within {timeout_s:g} s; `envelope explain` says what is live"
        return Answer(took_ms=took_ms(), words=words)
    except httpx.HTTPError as exc:
        words = f"{url} cannot be reached ({exc}); look with `envelope status`"
        return Answer(took_ms=took_ms(), words=words)
    return _read_answer(response, data, took_ms())


async def _read(response: httpx.Response) -> bytes:
    data = b""
    async for part in response.aiter_bytes():
        data += part
        if len(data) > MAX_ANSWER_BYTES:
            break
    return data


def _read_answer(response: httpx.Response, data: bytes, took_ms: float) -> Answer:
    envelope_id = response.headers.get("x-envelope-id")
    if response.status_code != 200:
        try:
            problem = msgspec.json.decode(data, type=_Problem)
        except msgspec.DecodeError:  # of the proxy before the replicas
            problem = _Problem(detail=data[:200].decode("utf-8", "replace"))
        words = f"{response.status_code} {problem.title}: {problem.detail}"
        return Answer(took_ms=took_ms, words=words, faults=problem.faults, envelope_id=envelope_id)
    if len(data) > MAX_ANSWER_BYTES:
        words = f"the answer is larger than {MAX_ANSWER_BYTES:,} bytes, too large for a page"
        return Answer(took_ms=took_ms, words=words, envelope_id=envelope_id)
    text = json.dumps(json.loads(data), ensure_ascii=False, indent=2)
    return Answer(took_ms=took_ms, text=text, envelope_id=envelope_id)
