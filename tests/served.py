"""A replica's real application behind a real uvicorn, in a process of its own, without Ray.

`python -m tests.served PORT_FILE OPTIONS_JSON` is that process; `served` starts and ends it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ray_runtime.live import ReplicaOptions

ROOT = Path(__file__).resolve().parent.parent
START_S = 60.0


@dataclass(frozen=True)
class Served:
    """port: of 127.0.0.1. base: the deployment's URL. pid: of the server."""

    port: int
    base: str
    pid: int


@contextmanager
def served(options: ReplicaOptions) -> Iterator[Served]:
    """Serve an envelope as its replica would; ends the server again."""
    with TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        text = json.dumps(dataclasses.asdict(options))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.served", str(port_file), text], cwd=ROOT
        )
        try:
            port = _port_of(process, port_file)
            yield Served(port, f"http://127.0.0.1:{port}/{options.deployment}", process.pid)
        finally:
            process.terminate()
            process.wait(timeout=20)


def _port_of(process: subprocess.Popen[bytes], port_file: Path) -> int:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        if port_file.exists() and (text := port_file.read_text()):
            return int(text)
        time.sleep(0.05)
    raise TimeoutError(f"the server was not up within {START_S:g} s")


def main(port_file: str, options: str) -> None:
    """Serve until the process is ended, on a free port that the file then names."""
    import uvicorn

    from ray_runtime.live import start
    from ray_runtime.protocols.application import build_application

    async def run() -> None:
        live = await start(ReplicaOptions(**json.loads(options)))
        # As Serve starts it: ray/serve/_private/http_util.py.
        config = uvicorn.Config(
            build_application(live),
            host="127.0.0.1",
            port=0,
            lifespan="off",
            access_log=False,
            log_level="warning",
        )
        server = uvicorn.Server(config)
        listening = config.bind_socket()
        listening.listen()
        Path(port_file).write_text(str(listening.getsockname()[1]))
        await server.serve(sockets=[listening])
        live.pool.close()

    asyncio.run(run())


if __name__ == "__main__":
    main(*sys.argv[1:])
