"""The real Serve keeps the contract that the fake one of the simulation keeps."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from controller.apply import Prepared, Serve
from controller.releases import Request
from envelope.config import DeploymentConfig, Resources
from envelope.connection import connect, disconnect
from tests.cluster.conftest import Platform, leave
from tests.cluster.deployments import START_S, replica_pids, save, times
from tests.serve_contract import NAME, ServeContract

LOOK_S = 0.05


class RealStage:
    def __init__(self, platform: Platform, folder: str) -> None:
        from controller.serve import Preparer, RayServe

        self._settings, self._make = platform.settings, RayServe
        self._connection = connect(platform.settings)
        self._preparer = Preparer(platform.settings, self._connection.store)
        needed = os.path.join(folder, "weights")
        with open(needed, "w"):
            pass
        self._ids = {
            "one": save(times(1.0)),
            "two": save(times(2.0)),
            "fails": save(times(3.0, needs_file=needed)),
        }
        os.unlink(needed)
        self._ids["hangs"] = self._ids["two"]
        self._pids: set[int] = set()
        self.serve: Serve = self.led_by(1)

    def prepared(self, what: Literal["one", "two", "fails", "hangs"]) -> Prepared:
        # What asks for more than there is never starts.
        resources = Resources(num_cpus=999) if what == "hangs" else Resources()
        envelope = self._connection.registry.envelope(self._ids[what])
        return self._preparer.prepare(
            Request(
                deployment=NAME,
                release_id=what,
                envelope=envelope,
                functions=envelope.functions,
                config=DeploymentConfig(resources=resources),
            )
        )

    def wait(self, condition: Callable[[], bool], look: Callable[[], None]) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            look()
            self._pids |= replica_pids(NAME)
            if condition():
                return
            time.sleep(LOOK_S)
        raise AssertionError(self.serve.observe())

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    def lose_replica(self) -> None:
        (pid,) = replica_pids(NAME)
        os.kill(pid, signal.SIGKILL)

    def starts(self) -> int:
        self._pids |= replica_pids(NAME)
        return len(self._pids)

    def led_by(self, epoch: int) -> Serve:
        return self._make(self._settings, epoch)


@pytest.fixture(scope="module")
def stage(ray_only: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStage]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ray_only.environ.items():
            if name.startswith("ENVELOPE_"):
                patch.setenv(name, value)
        ray_only.connect()
        stage = RealStage(ray_only, str(tmp_path_factory.mktemp("contract")))
    yield stage
    disconnect()
    leave()


class TestRealServe(ServeContract):
    pass
