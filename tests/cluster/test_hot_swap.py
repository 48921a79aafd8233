"""Swaps of the only replica under a steady load: no request may fail, whatever the new one does.

`benchmarks/hot_swap.py` measures the same with a controller, on a machine that does nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from envelope.connection import connect, disconnect
from envelope.manifest import Package
from ray_runtime import apps
from tests.cluster.conftest import Platform
from tests.cluster.deployments import ROW, Deployments, save, times, with_another_lock

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))
from load import Load

NAME = "swapped"
QUIET = "quiet"
SCALING = {"min": 0, "max": 2, "target_ongoing_requests": 1, "downscale_delay_s": 10}
RATE = 200  # a second; half of the benchmark's, since the cores are shared with other tests
DRAINED_S = 90.0


@pytest.fixture
def deployments(ray_only: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployments]:
    for name, value in ray_only.environ.items():
        if name.startswith("ENVELOPE_"):
            monkeypatch.setenv(name, value)
    ray_only.connect()
    yield Deployments(ray_only, connect(ray_only.settings))
    apps.delete([NAME, QUIET])
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


def test_load_decides_how_many_replicas_answer_and_none_do_when_nobody_asks(
    deployments: Deployments, tmp_path: Path
) -> None:
    """1 -> 2 -> 0 -> 1 replicas; a query that waits for the first one is a query like any."""
    needed = tmp_path / "weights"
    needed.write_text("here")
    served, fragile = save(times(1.0, slow_s=0.2)), save(times(2.0, needs_file=str(needed)))
    quiet = deployments.run(QUIET, fragile, autoscaling=SCALING, max_queue=2)
    spec = deployments.run(NAME, served, autoscaling=SCALING, batching="none")
    url = deployments.url(f"{NAME}/v0/query")
    with Load(url, b'{"x": 7, "y": 2}', rate=7) as slow:  # one replica answers 5 a second
        took_up_s = wait_for_replicas(NAME, 2)
    took_down_s = wait_for_replicas(NAME, 0)
    assert apps.observe()[NAME].version == apps.version_of(spec)
    with Load(url, b'{"x": 1, "y": 2}', rate=10) as waiting:
        wait_for_replicas(NAME, 1)
        time.sleep(2)
    print(f"1 to 2 replicas in {took_up_s:.1f} s under {slow.report}")
    print(f"2 to 0 in {took_down_s:.1f} s; 0 to 1, the first query waits, under {waiting.report}")
    for report in (slow.report, waiting.report):
        assert report.failed == 0, report
        assert set(report.answered) == {served}
    assert waiting.report.slowest_ms > 1000  # it did wait for a start

    wait_for_replicas(QUIET, 0)
    needed.unlink()
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(ask_patiently, deployments.url(f"{QUIET}/v0/query")) for _ in range(5)]
        failed = deployments.wait_until_failed(quiet)
        needed.write_text("here again")  # and Serve tries again
        answers = [each.result() for each in asked]
    assert "weights" in failed.message
    assert (failed.replicas, failed.may_answer) == (0, False)
    assert sorted(each.status_code for each in answers) == [200, 200, 429, 429, 429]
    assert {each.headers.get("Retry-After") for each in answers} == {None, "5"}


def ask_patiently(url: str) -> httpx.Response:
    return httpx.post(url, json=ROW, timeout=DRAINED_S)


def wait_for_replicas(name: str, count: int) -> float:
    """Wait until so many replicas run of a deployment that is healthy; return how long it took."""
    began = time.monotonic()
    while time.monotonic() - began < DRAINED_S:
        app = apps.observe()[name]
        assert app.status == "running", app
        if (app.replicas, app.target_replicas) == (count, count):
            return time.monotonic() - began
        time.sleep(0.2)
    raise AssertionError(app)
