"""What Serve is told of load, and what it is asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from envelope.config import Autoscaling, DeploymentConfig
from ray_runtime.protocols.http import Receive, Scope, Send
from ray_runtime.scaling import (
    Ongoing,
    initial_replicas,
    observed_scale,
    report,
    scale_of,
    serve_scaling,
)


class Time:
    """A clock, and the CPU time of the thread that reads it."""

    def __init__(self) -> None:
        self.now, self.cpu = 100.0, 5.0

    def ongoing(self, target: float = 8) -> Ongoing:
        return Ongoing(target, clock=lambda: self.now, cpu=lambda: self.cpu)


@pytest.mark.parametrize(
    "events, cpu_s, expected",
    [
        pytest.param([], 0.0, 0.0, id="idle"),
        pytest.param([(0.0, 1)], 0.1, 1.0, id="one-all-the-time"),
        pytest.param([(0.0, 3), (1.0, -3)], 0.1, 1.5, id="three-half-of-the-time"),
        pytest.param([(1.5, 1), (0.25, 1)], 0.1, 0.375, id="two-that-began-late"),
        pytest.param([(0.0, 1), (1.0, -1)], 1.6, 0.5, id="busy-but-not-full"),
        pytest.param([(0.0, 1), (1.9, -1)], 2.0, 10.0, id="a-full-loop-counts-as-too-much"),
        pytest.param([(0.0, 12)], 2.0, 12.0, id="what-waits-counts-if-it-is-more"),
    ],
)
def test_what_is_ongoing_on_average(
    events: list[tuple[float, int]], cpu_s: float, expected: float
) -> None:
    time = Time()
    ongoing = time.ongoing()
    end = time.now + 2.0
    for wait_s, change in events:
        time.now += wait_s
        ongoing.add(change)
    time.now, time.cpu = end, time.cpu + cpu_s
    assert ongoing.read() == pytest.approx(expected)


def test_each_reading_begins_anew() -> None:
    time = Time()
    ongoing = time.ongoing()
    ongoing.add(4)
    time.now += 1
    assert ongoing.read() == 4
    ongoing.add(-3)
    time.now += 1
    assert ongoing.read() == 1
    assert ongoing.read() == 1  # at once: what there is


async def _raise(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError


KINDS = ("http", "lifespan", "http", "http")


def test_requests_count_while_they_are_answered_also_when_they_fail() -> None:
    async def run() -> list[float]:
        time, release = Time(), asyncio.Event()
        ongoing = time.ongoing()

        async def wait(scope: Scope, receive: Receive, send: Send) -> None:
            await release.wait()

        unused: Any = None
        asked = [
            asyncio.create_task(ongoing.around(wait)({"type": kind}, unused, unused))
            for kind in KINDS
        ]
        await asyncio.sleep(0)
        found = [ongoing.read()]
        release.set()
        await asyncio.gather(*asked)
        with pytest.raises(RuntimeError):
            await ongoing.around(_raise)({"type": "http"}, unused, unused)
        return [*found, ongoing.read()]

    assert asyncio.run(run()) == [3, 0]


def test_what_serve_counts_itself_is_left_to_it() -> None:
    assert report(None) == {}
    assert report(Time().ongoing()) == {"running_requests": 0}


SCALING = Autoscaling(min=0, max=4)


@pytest.mark.parametrize(
    "scaling, has_answered, running, earlier, expected",
    [
        pytest.param(SCALING, False, 0, None, 1, id="what-is-new-has-to-answer"),
        pytest.param(SCALING, False, 3, None, 3, id="under-load-another-has-as-many"),
        pytest.param(SCALING, False, 3, 1, 1, id="the-same-is-asked-for-in-the-same-words"),
        pytest.param(SCALING, True, 0, 2, 2, id="also-when-it-has-answered"),
        pytest.param(SCALING, True, 0, None, 0, id="what-has-answered-waits-for-a-query"),
        pytest.param(SCALING, True, 2, None, 2, id="but-does-not-end-what-runs"),
        pytest.param(SCALING, False, 9, None, 4, id="at-most-max"),
        pytest.param(Autoscaling(min=2, max=4), True, 1, None, 2, id="at-least-min"),
    ],
)
def test_with_how_many_replicas_serve_begins(
    scaling: Autoscaling, has_answered: bool, running: int, earlier: int | None, expected: int
) -> None:
    found = initial_replicas(scaling, has_answered=has_answered, running=running, earlier=earlier)
    assert found == expected


@pytest.mark.parametrize(
    "scaling",
    [
        SCALING,
        Autoscaling(min=1, max=1),
        Autoscaling(min=2, max=30, target_ongoing_requests=0.5, downscale_delay_s=12.5),
    ],
)
@pytest.mark.parametrize("may_be_none", [True, False])
def test_what_was_asked_for_is_recognized_whatever_load_made_of_it(
    scaling: Autoscaling, may_be_none: bool
) -> None:
    told = serve_scaling(
        scaling, initial_replicas=scaling.max, may_be_none=may_be_none
    ).model_dump()
    asked = scale_of(DeploymentConfig(autoscaling=scaling))
    assert {observed_scale(running, told) for running in range(4)} == {asked}


def test_a_fixed_number_is_recognized() -> None:
    assert observed_scale(3, None) == scale_of(DeploymentConfig(num_replicas=3))
    assert observed_scale(2, None) != scale_of(DeploymentConfig(num_replicas=3))
