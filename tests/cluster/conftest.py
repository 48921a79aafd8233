"""Real local platforms for the cluster tests: one at a time, each started once.

`ray_only` is a cluster without a controller, `platform` one with it. Both are started by the code
of `envelope up`, with a home and ports of their own, and ended completely.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from envelope.settings import Settings
from ray_runtime.connection import connect, disconnect, prepare_environment
from ray_runtime.ports import free_ports

# Before any test module imports Serve, which reads its flags once.
prepare_environment(None)

PORTS = ("SERVE", "JOB", "RAY", "HAPROXY_STATS", "HAPROXY_METRICS", "API")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A running platform. environ: for processes that are to use it."""

    settings: Settings
    environ: dict[str, str]

    @property
    def serve_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.serve_port}"

    def connect(self) -> None:
        """Make the test's process a driver of it."""
        connect(self.settings)

    def run(self, *command: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command as its user would; output is text, both streams together."""
        return run(command, self.environ, timeout_s=timeout_s)


def new_home(folder: Path) -> tuple[Settings, dict[str, str]]:
    """Return settings, and the environment of commands, of a home with free ports."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ENVELOPE_", "RAY_ADDRESS", "RAY_AUTH", "RAY_API"))
    }
    chosen = {
        f"ENVELOPE_{name}_PORT": str(port)
        for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)
    }
    environ = inherited | chosen | {"ENVELOPE_HOME": str(folder)}
    return Settings.read(environ), environ


def run(
    command: tuple[str, ...], environ: dict[str, str], *, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command; `envelope` and `ray` are those of this interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    return subprocess.run(
        command,
        env=environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class _Running:
    """The one platform that runs now. Asking for the other kind ends it first."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._kind: str | None = None
        self._platform: Platform | None = None

    def get(self, kind: str) -> Platform:
        if self._platform is None or self._kind != kind:
            self.end()
            self._platform = self._start(kind)
            self._kind = kind
        return self._platform

    def end(self) -> None:
        from ray_runtime import cluster

        if self._platform is not None:
            leave()
            platform, self._platform = self._platform, None
            cluster.stop(platform.settings)

    def _start(self, kind: str) -> Platform:
        from controller import supervisor
        from ray_runtime import cluster

        settings, environ = new_home(self._folders.mktemp(kind) / "home")
        cluster.start(settings)
        try:
            if kind == "platform":
                supervisor.start(settings)
        except BaseException:
            cluster.stop(settings)
            raise
        return Platform(settings=settings, environ=environ)


def leave() -> None:
    """Stop being a driver of a cluster that is about to end."""
    disconnect()


@pytest.fixture(scope="session")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Running]:
    running = _Running(tmp_path_factory)
    yield running
    running.end()


@pytest.fixture(scope="module")
def ray_only(_running: _Running) -> Platform:
    """A cluster without a controller; tests of one module share it."""
    return _running.get("ray_only")


@pytest.fixture(scope="module")
def platform(_running: _Running) -> Platform:
    """A cluster with its controller; tests of one module share it."""
    return _running.get("platform")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests of one kind of platform together: every change of kind costs a start.

    All of them come after the tests that need none, so that a mistake is seen in seconds.
    """
    here = Path(__file__).parent
    kinds = ("ray_only", "platform")

    def place(item: pytest.Item) -> int:
        if here not in item.path.parents:
            return -1
        fixtures = getattr(item, "fixturenames", ())
        return next((i for i, kind in enumerate(kinds) if kind in fixtures), len(kinds))

    items.sort(key=place)
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)
