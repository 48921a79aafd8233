"""wrk, the load generator in C: what it saw of one URL under a number of clients."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

MOST_SECONDS = 40  # for one request: mlflow takes seconds over 100,000 rows
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Requests per second, and latencies in ms."""

    rps: float
    p50_ms: float
    p99_ms: float


def require_wrk() -> None:
    """End with the remedy when there is no wrk."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed, and sends the requests: apt-get install -y wrk")


def wrk(
    name: str, url: str, body: Path, headers: dict[str, str], *, clients: int, seconds: int
) -> Figure:
    """Let wrk post a file for a while. Ends the program when an answer is not 200.

    A server that answers nobody in that time gets longer, up to MOST_SECONDS.
    """
    lines = [
        'wrk.method = "POST"',
        f'local file = io.open({json.dumps(str(body))}, "rb")',
        'wrk.body = file:read("*a")',
        "file:close()",
        *(
            f"wrk.headers[{json.dumps(key)}] = {json.dumps(value)}"
            for key, value in headers.items()
        ),
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("\n".join(lines))
        script.flush()
        figure = _run(name, url, script.name, clients=clients, seconds=seconds)
        while figure.rps == 0 and seconds < MOST_SECONDS:
            seconds = min(4 * seconds, MOST_SECONDS)
            figure = _run(name, url, script.name, clients=clients, seconds=seconds)
    return figure


def _run(name: str, url: str, script: str, *, clients: int, seconds: int) -> Figure:
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "--latency"]
    done = subprocess.run([*command, "-s", script, url], capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"{name}: not every request of {clients} clients was answered\n{done.stdout}")
    return read_report(done.stdout)


def read_report(text: str) -> Figure:
    """Return the figures of what wrk prints."""
    return Figure(
        rps=float(_found(r"Requests/sec:\s+([\d.]+)", text)),
        p50_ms=_ms(_found(r"^ +50% +(\S+) *$", text)),
        p99_ms=_ms(_found(r"^ +99% +(\S+) *$", text)),
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.M)
    if match is None:
        sys.exit(f"wrk said something else:\n{text}")
    return match[1]


def _ms(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if match is None:
        sys.exit(f"wrk gave a latency of {text!r}, which is no time")
    return float(match[1]) * _UNITS[match[2]]
