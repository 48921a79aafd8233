"""Two controllers' processes at one registry: the leader is killed, or stands still for a while."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from controller.lease import LEASE_S
from envelope.config import DesiredState
from envelope.errors import StorageError
from envelope.registry import Registry, open_registry
from tests.manifests import a_manifest

SHA = "c" * 64
STATE = {
    "deployments": {"ltv": {"start_timeout_s": 60}},
    "rules": {"us": {"query": "tags.us = 'yes'", "deploy_to": "ltv"}},
}
ROOT = Path(__file__).parent.parent.parent


class Controllers:
    """Processes by the name of their holder, and what they share."""

    def __init__(self, registry: Registry, url: str, folder: Path) -> None:
        self.registry, self._url, self._folder = registry, url, folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        registry.apply_state(DesiredState.model_validate(STATE), actor="ann")

    def start(self, holder: str, ttl_s: float) -> None:
        serve = str(self._folder / "serve.json")
        module = "tests.integration.controller_process"
        with self._log(holder).open("wb") as log:
            self.processes[holder] = subprocess.Popen(
                [sys.executable, "-m", module, self._url, serve, holder, str(ttl_s)],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait(lambda: holder in {each.id for each in self.registry.controllers(within_s=5)})

    def signal(self, holder: str, number: int) -> None:
        os.kill(self.processes[holder].pid, number)

    def stop_between_writes(self, holder: str) -> None:
        """Make it stand still, but not while it holds a lock on a file, which locks out everybody.

        SQLite has one, and so has what stands for Serve.
        """
        while True:
            self.signal(holder, signal.SIGSTOP)
            probe = open_registry(self._url, busy_timeout_s=0.5)
            try:
                probe.beat("probe", host="here", pid=os.getpid())
                with (self._folder / "serve.json").open() as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            except (StorageError, BlockingIOError):
                self.signal(holder, signal.SIGCONT)
            finally:
                probe.close()

    def leader(self) -> str | None:
        lease = self.registry.lease()
        return lease.holder if lease is not None and lease.is_held else None

    def save(self) -> str:
        return self.registry.register(a_manifest(tags={"us": "yes"}), SHA, actor="ann").id

    def history(self) -> list[tuple[str, str]]:
        return [(row.envelope_id, row.state) for row in reversed(self.registry.releases("ltv"))]

    def orders(self) -> list[tuple[int, str]]:
        """(epoch, envelope) of what Serve was asked for."""
        with (self._folder / "serve.json").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            orders = json.load(file)["orders"]
        return [(epoch, envelope_id) for epoch, _, envelope_id in orders]

    def said(self, holder: str) -> str:
        return self._log(holder).read_text()

    def end(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    def _log(self, holder: str) -> Path:
        return self._folder / f"{holder}.log"


def wait(condition: Callable[[], bool], timeout_s: float = 60.0) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture
def controllers(registry: Registry, registry_url: str, tmp_path: Path) -> Iterator[Controllers]:
    controllers = Controllers(registry, registry_url, tmp_path)
    yield controllers
    controllers.end()


def test_a_standby_takes_over_from_a_leader_that_was_killed(controllers: Controllers) -> None:
    for holder in ("first", "second"):
        controllers.start(holder, LEASE_S)
    assert controllers.leader() == "first"
    old = controllers.save()
    wait(lambda: controllers.history() == [(old, "live")])
    new = controllers.save()
    wait(lambda: (new, "starting") in controllers.history())

    controllers.signal("first", signal.SIGKILL)
    began = time.monotonic()
    wait(lambda: controllers.leader() == "second")
    took_s = time.monotonic() - began
    print(f"a standby leads {took_s:.1f} s after the leader was killed")
    assert took_s < 10
    wait(lambda: controllers.history() == [(old, "retired"), (new, "live")])
    print(f"and has finished its rollout {time.monotonic() - began:.1f} s after")
    asked = [envelope_id for _, envelope_id in controllers.orders()]
    assert sorted(set(asked), key=asked.index) == [old, new]


def test_a_leader_that_stood_still_stands_by_when_it_goes_on(controllers: Controllers) -> None:
    for holder in ("first", "second"):
        controllers.start(holder, 1.5)
    old = controllers.save()
    wait(lambda: controllers.history() == [(old, "live")])
    new = controllers.save()
    controllers.stop_between_writes("first")
    wait(lambda: controllers.history() == [(old, "retired"), (new, "live")])
    assert controllers.leader() == "second"

    controllers.signal("first", signal.SIGCONT)
    wait(lambda: "does not lead any more" in controllers.said("first"))
    last = controllers.save()
    wait(lambda: controllers.history() == [(old, "retired"), (new, "retired"), (last, "live")])
    assert controllers.leader() == "second"
    epochs = [epoch for epoch, _ in controllers.orders()]
    assert epochs == sorted(epochs)

    controllers.signal("second", signal.SIGTERM)
    assert wait(lambda: controllers.leader() == "first") < LEASE_S, "it resigned"
