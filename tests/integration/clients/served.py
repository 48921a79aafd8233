"""A replica's own application behind a real HTTP server, without Ray."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from benchmarks.peers import IndexUnreachable, python_with
from ray_runtime.live import ReplicaOptions, start
from ray_runtime.protocols.application import build_application

PROGRAMS = Path(__file__).parent / "programs"
START_S = 30.0
PROGRAM_S = 60.0


@contextmanager
def served(options: ReplicaOptions) -> Iterator[str]:
    """Serve an envelope on a free port of 127.0.0.1, as a replica does; yields host:port/name."""
    started: threading.Event = threading.Event()
    found: dict[str, Any] = {}

    async def run() -> None:
        live = await start(options)
        config = uvicorn.Config(build_application(live), port=0, log_level="warning")
        server = found["server"] = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        found["port"] = server.servers[0].sockets[0].getsockname()[1]
        started.set()
        await serving
        live.pool.close()

    def serve() -> None:
        try:
            asyncio.run(run())
        except Exception as exc:
            found["error"] = exc
        finally:
            started.set()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        assert started.wait(START_S), f"the replica was not ready within {START_S:g} s"
        if "error" in found:
            raise found["error"]
        yield f"127.0.0.1:{found['port']}/{options.deployment}"
    finally:
        if "server" in found:
            found["server"].should_exit = True
        thread.join(START_S)


def client_python(name: str, *requirements: str) -> Path:
    """Return the Python of a client's environment; skip where it cannot be built for want of an
    index.
    """
    try:
        return python_with(name, *requirements)
    except IndexUnreachable as exc:
        pytest.skip(f"the package index cannot be reached, and {name} is not here yet: {exc}")


def run_program(python: Path, program: str, *arguments: str) -> Any:
    """Run a client's program to its end, and return the JSON that it printed last."""
    done = subprocess.run(
        [str(python), "-E", "-s", str(PROGRAMS / program), *arguments],
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
