"""Swaps of the only replica under a steady load: no request may fail, whatever the new one does.

`benchmarks/hot_swap.py` measures the same with a controller, on a machine that does nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envelope.connection import connect, disconnect
from envelope.manifest import Package
from ray_runtime import apps
from tests.cluster.conftest import Platform
from tests.cluster.deployments import Deployments, save, times, with_another_lock

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))
from load import Load

NAME = "swapped"
RATE = 200  # a second; half of the benchmark's, since the cores are shared with other tests
DRAINED_S = 90.0


@pytest.fixture
def deployments(ray_only: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployments]:
    for name, value in ray_only.environ.items():
        if name.startswith("ENVELOPE_"):
            monkeypatch.setenv(name, value)
    ray_only.connect()
    yield Deployments(ray_only, connect(ray_only.settings))
    apps.delete([NAME])
    disconnect()


def wait_until_drained(name: str) -> None:
    """Wait until no replica of an earlier version is left: its end is the last risk."""
    deadline = time.monotonic() + DRAINED_S
    while time.monotonic() < deadline:
        (serving,) = apps._details()[name].deployments.values()
        if [replica.state.value for replica in serving.replicas] == ["RUNNING"]:
            return
        time.sleep(0.5)
    raise AssertionError(f"replicas are left: {serving.replicas}")


def test_three_swaps_of_one_replica_lose_no_request(
    deployments: Deployments, tmp_path: Path
) -> None:
    needed = tmp_path / "weights"
    needed.write_text("here")
    first = save(times(1.0))
    second = save(times(2.0))
    elsewhere = with_another_lock(save(times(3.0)), Package(name="lark", version="1.1.9"))
    broken = save(times(4.0, needs_file=str(needed)))
    needed.unlink()

    deployments.run(NAME, first)
    with Load(deployments.url(f"{NAME}/v0/query"), b'{"x": 1, "y": 2}', rate=RATE) as load:
        time.sleep(1)
        deployments.run(NAME, second)
        time.sleep(1)
        deployments.run(NAME, elsewhere)
        time.sleep(1)
        failing = deployments.spec(NAME, broken)
        apps.deploy([failing])
        deployments.wait_until_failed(failing)
        deployments.run(NAME, elsewhere)  # what the controller does: back to what answers
        wait_until_drained(NAME)
    print(load.report)
    assert load.report.failed == 0, load.report
    assert set(load.report.answered) == {first, second, elsewhere}
    assert load.report.total > 20 * RATE
