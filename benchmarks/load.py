"""A steady load on one URL, in a process of its own: what failed, who answered, how slow it was.

Open loop: requests leave at a fixed rate whether or not earlier ones were answered, as independent
callers would send them. `python benchmarks/load.py URL --body FILE --rate 400 --seconds 10`
prints one JSON object; `Load` runs the same thing beside a test or a benchmark.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import aiohttp


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """total, failed: requests. failures: reason -> count. answered: envelope id -> count.

    latencies are from the moment the request was written until its answer was read, in ms.
    late_ms: how far the sender itself fell behind its schedule at worst; above 50 the machine was
    too busy for the figures to mean much.
    """

    total: int
    failed: int
    failures: dict[str, int]
    answered: dict[str, int]
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    late_ms: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.total} requests in {self.seconds:.1f} s, {self.failed} failed, "
            f"p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms, slowest {self.slowest_ms:.0f} ms"
            + (f"; failures: {self.failures}" if self.failures else "")
        )


class Load:
    """`with Load(url, body, rate=400) as load: ...; report = load.report`.

    The block begins once the first answer has come.
    """

    def __init__(self, url: str, body: bytes, *, rate: int) -> None:
        self._arguments = [url, "--rate", str(rate)]
        self._body = body
        self.report: Report

    def __enter__(self) -> Load:
        self._file = tempfile.NamedTemporaryFile(suffix=".json")
        self._file.write(self._body)
        self._file.flush()
        self._process = subprocess.Popen(
            [sys.executable, __file__, *self._arguments, "--body", self._file.name],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        out, _ = self._process.communicate(timeout=60)
        self._file.close()
        if error is None:
            self.report = Report(**json.loads(out))


@dataclass(slots=True)
class _Seen:
    latencies_s: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    late_s: float = 0.0


async def send(url: str, body: bytes, *, rate: int, seconds: float) -> Report:
    """Send `rate` requests per second until `seconds` have passed or SIGINT comes."""
    seen = _Seen()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        began = loop.time()
        pending: set[asyncio.Task[None]] = set()
        sent = 0
        while not stop.is_set() and loop.time() - began < seconds:
            wait = began + sent / rate - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            seen.late_s = max(seen.late_s, loop.time() - began - sent / rate)
            task = asyncio.create_task(_ask(session, url, body, seen))
            pending.add(task)
            task.add_done_callback(pending.discard)
            sent += 1
        took = loop.time() - began
        await asyncio.gather(*pending)
    return _summary(seen, took)


async def _ask(session: aiohttp.ClientSession, url: str, body: bytes, seen: _Seen) -> None:
    headers = {"Content-Type": "application/json"}
    began = time.perf_counter()
    try:
        async with session.post(url, data=body, headers=headers) as answer:
            text = await answer.read()
            if answer.status == 200:
                seen.answered[answer.headers.get("X-Envelope-Id", "unknown")] += 1
            else:
                seen.failures[f"{answer.status} {text[:100]!r}"] += 1
    except (aiohttp.ClientError, TimeoutError) as exc:
        seen.failures[f"{type(exc).__name__}: {exc}"] += 1
    seen.latencies_s.append(time.perf_counter() - began)
    if len(seen.latencies_s) == 1:
        print("sending", flush=True)


def _summary(seen: _Seen, seconds: float) -> Report:
    ordered = sorted(seen.latencies_s) or [0.0]

    def percentile_ms(share: float) -> float:
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return Report(
        total=len(seen.latencies_s),
        failed=sum(seen.failures.values()),
        failures=dict(seen.failures),
        answered=dict(seen.answered),
        p50_ms=percentile_ms(0.5),
        p99_ms=percentile_ms(0.99),
        slowest_ms=1000 * ordered[-1],
        late_ms=1000 * seen.late_s,
        seconds=seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--rate", type=int, default=400, help="requests per second")
    parser.add_argument("--seconds", type=float, default=3600)
    options = parser.parse_args()
    # Callers live on other machines: what they need of a core is not to be taken from them here.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    body = options.body.read_bytes()
    report = asyncio.run(send(options.url, body, rate=options.rate, seconds=options.seconds))
    print(json.dumps({name: getattr(report, name) for name in Report.__slots__}))


if __name__ == "__main__":
    main()
