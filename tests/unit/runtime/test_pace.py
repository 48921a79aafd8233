from __future__ import annotations

import time

import pytest

from ray_runtime.pace import Pace, Timing, clock, pace_of, pace_of_requests, since


@pytest.mark.parametrize(
    "timings, pace",
    [
        pytest.param(
            [(9.0, 9.0, 0), (0.01, 0.01, 0), (0.01, 0.01, 0)], Pace(call_ms=10.0), id="cold-first"
        ),
        pytest.param([(0.05, 0.001, 1)] * 2, Pace(call_ms=50.0, is_waiting=True), id="waits"),
        pytest.param([(0.05, 0.01, 0)] * 2, Pace(call_ms=50.0), id="a-busy-node"),
        pytest.param([(0.05, 0.01, 2), (0.05, 0.04, 2)], Pace(call_ms=50.0), id="once-undisturbed"),
        pytest.param([(0.0002, 0.0, 1)], Pace(call_ms=0.2), id="too-quick-to-tell"),
    ],
)
def test_pace_of(timings: list[tuple[float, float, int]], pace: Pace) -> None:
    assert pace_of([Timing(*one) for one in timings]) == pace


@pytest.mark.parametrize(
    "timings, pace",
    [
        pytest.param(
            [(9.0, 9.0, 0), (0.001, 0.001, 0), (0.003, 0.002, 0)], Pace(call_ms=2.0), id="slowest"
        ),
        pytest.param(
            [(0.01, 0.001, 1)] * 2 + [(0.01, 0.009, 1)] * 2,
            Pace(call_ms=9.0),
            id="waited-while-it-warmed-up",
        ),
        pytest.param(
            [(0.0, 0.0, 0)] * 2 + [(0.01, 0.001, 1), (0.001, 0.001, 0)],
            Pace(call_ms=1.0, is_waiting=True),
            id="half-of-them-wait",
        ),
        pytest.param([(0.2, 0.001, 0)] * 2, Pace(call_ms=1.0), id="a-busy-node"),
    ],
)
def test_pace_of_requests(timings: list[tuple[float, float, int]], pace: Pace) -> None:
    assert pace_of_requests([Timing(*one) for one in timings]) == pace


@pytest.mark.parametrize(
    "timing, is_longer",
    [
        pytest.param(Timing(0.06, 0.06, 0), True, id="computed"),
        pytest.param(Timing(0.06, 0.001, 1), True, id="waited"),
        pytest.param(Timing(0.06, 0.001, 0), False, id="the-node-was-busy"),
        pytest.param(Timing(0.04, 0.04, 1), False, id="short"),
    ],
)
def test_only_what_a_call_did_itself_counts_against_it(timing: Timing, is_longer: bool) -> None:
    assert timing.is_longer_than(0.05) is is_longer


def test_clocks_tell_computing_from_waiting() -> None:
    began = clock()
    time.sleep(0.02)
    waited = since(began)
    began = clock()
    while since(began).cpu_s < 0.02:
        pass
    computed = since(began)
    assert waited.is_waiting() and waited.is_longer_than(0.01)
    assert not computed.is_longer_than(10.0) and computed.cpu_s >= 0.02
