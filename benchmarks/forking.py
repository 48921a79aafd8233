"""What splitting queries costs a replica, without the way to the other application.

CPU time per query, of an application that answers at once: its router alone, behind the entrance
that can split (as every replica has it), and behind a fork that keeps everything here.

`python benchmarks/forking.py`; it takes 10 s.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ray_runtime.entrance import Entrance
from ray_runtime.fork import Fork, Returned, Sent
from ray_runtime.protocols.http import Answer, Request, Route, Router
from ray_runtime.traffic import Split

QUERIES = 20_000
ROUNDS = 15  # the best of them counts: a busy machine makes calls slower, and never quicker
KEEP_ALL = Split(key="r/0", application="ltv--challenger", percent=1e-9)

App = Callable[..., Awaitable[None]]


async def _answer(request: Request) -> Answer:
    await request.body()
    return Answer(b"3")


async def _never(sent: Sent) -> Returned | None:
    raise AssertionError("nothing is sent on")


async def _receive() -> MutableMapping[str, Any]:
    return {"type": "http.request", "body": b"{}", "more_body": False}


async def _send(message: MutableMapping[str, Any]) -> None:
    pass


async def measure(app: App) -> float:
    """Return the CPU time of one query in microseconds."""
    scope = {"type": "http", "method": "POST", "path": "/ltv/v0/query"}
    scope |= {"headers": [(b"content-length", b"2")]}  # type: ignore[dict-item]
    began = time.process_time()
    for _ in range(QUERIES):
        await app(scope, _receive, _send)
    return (time.process_time() - began) / QUERIES * 1e6


async def run() -> dict[str, float]:
    """Return the best of ROUNDS for each, taken in turns."""
    route = Route(method="POST", path="/ltv/v0/query", handler=_answer)
    router = Router("/ltv", [route], max_body_bytes=1_000_000, timeout_s=30)
    apps: dict[str, App] = {
        "router": router,
        "entrance": Entrance(router, "ltv", 30),
        "fork": Fork(router, KEEP_ALL, _never, 30),
    }
    rounds = [{name: await measure(app) for name, app in apps.items()} for _ in range(ROUNDS)]
    return {f"{name}_us": round(min(each[name] for each in rounds), 2) for name in apps}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run())))
