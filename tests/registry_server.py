"""A registry server in a process of its own, with an empty registry at each first path segment.

`python -m tests.registry_server FOLDER` prints its port. http://127.0.0.1:PORT/NAME is a registry
of its own, with a store, below FOLDER/NAME.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryServer:
    """A running server."""

    port: int
    folder: Path
    pid: int

    def url(self, name: str) -> str:
        """The address of an empty registry, for a name that nobody used."""
        return f"http://127.0.0.1:{self.port}/{name}"


@contextmanager
def registry_server(folder: Path) -> Iterator[RegistryServer]:
    """Run a server until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.registry_server", str(folder)],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield RegistryServer(port=int(process.stdout.readline()), folder=folder, pid=process.pid)
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


def main(folder: Path) -> None:
    import uvicorn

    from controller.api import build_api
    from envelope.connection import connect
    from envelope.settings import Settings

    apps: dict[str, Any] = {}

    def app_of(name: str) -> Any:
        if name not in apps:
            apps[name] = build_api(connect(Settings.read({"ENVELOPE_HOME": str(folder / name)})))
        return apps[name]

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        name = scope["path"].split("/")[1]
        await app_of(name)({**scope, "root_path": f"/{name}/api/v1"}, receive, send)

    sock = socket.create_server(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(serve, lifespan="off", log_level="warning")).run(sockets=[sock])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
