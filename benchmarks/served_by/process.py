"""A peer's server as a process of its own, ended with its workers."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

APPS = Path(__file__).parent / "apps"
STOP_S = 10.0


class Server:
    """A running server, that can be paused: LitServe's queues take a core while nobody asks.

    Not the others: BentoML takes the pause for the time of the calls it was in, and waits longer.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = psutil.Process(process.pid)

    def pause(self) -> None:
        """Stop it and its workers where they are."""
        for one in self._all():
            one.suspend()

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run while it is asked."""
        for one in self._all():
            one.resume()
        try:
            yield
        finally:
            self.pause()

    def end(self) -> None:
        """End it and its workers, which need not be in its process group."""
        ended = self._all()
        for one in ended:
            with suppress(psutil.NoSuchProcess):
                one.terminate()
                one.resume()
        _, left = psutil.wait_procs(ended, STOP_S)
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()

    def _all(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [self._process, *self._process.children(recursive=True)]
        return []


@contextmanager
def server(
    command: list[str], python: Path, *, folder: Path = APPS, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server in a folder, with the modules of `apps` in reach."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=peer_env(python) | dict(env or {}),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        started = Server(process)
        try:
            yield started
        except BaseException:
            log.seek(0)
            print(log.read().decode(errors="replace")[-3000:])
            raise
        finally:
            started.end()
            process.wait()


def peer_env(python: Path) -> dict[str, str]:
    """Return the variables of a peer: its own programs first, one thread per model call."""
    return os.environ | {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(APPS),
        "OMP_NUM_THREADS": "1",
    }


def run(python: Path, app: str, *arguments: str) -> str:
    """Run one of the apps to its end; return what it printed."""
    done = subprocess.run(
        [str(python), str(APPS / app), *arguments],
        env=peer_env(python),
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
