"""A deployment that load has left without a replica: live, healthy, and not woken for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery_world import World
from tests.fakes import Behaviour

RULE = {"query": "tags.ok = 'yes'", "deploy_to": "ltv"}
SCALED = {"autoscaling": {"min": 0, "max": 4}, "start_timeout_s": 60}
HANGS = Behaviour(kind="hangs")


@pytest.fixture
def asleep(tmp_path: Path) -> Iterator[World]:
    """A world in which one envelope is live, and has no replica."""
    world = World.open(tmp_path / "registry.db")
    world.apply(deployments={"ltv": SCALED}, rules={"us": RULE})
    world.save(ok="yes")
    world.settle()
    world.serve.fall_asleep("ltv")
    world.clock.advance(60)
    yield world
    world.registry.close()


def test_it_is_left_alone(asleep: World) -> None:
    seq, starts = asleep.registry.last_change(), list(asleep.serve.starts)
    for _ in range(40):  # past the time of a full reread
        assert asleep.turn() == []
    asleep.restart()
    for _ in range(3):
        assert asleep.turn() == []
    assert (asleep.registry.last_change(), asleep.serve.starts) == (seq, starts)
    assert asleep.serve.is_asleep("ltv")


def test_a_query_wakes_it_and_nobody_minds(asleep: World) -> None:
    live = asleep.live()
    asleep.serve.wake("ltv")
    seq = asleep.registry.last_change()
    asleep.settle()
    assert asleep.serve.answers("ltv") == live
    assert asleep.registry.last_change() == seq


def test_a_newer_match_starts_without_waking_the_old_one(asleep: World) -> None:
    old = asleep.live()
    started = len(asleep.serve.starts)
    new = asleep.save(ok="yes")
    asleep.settle()
    assert asleep.states() == [(old, "retired"), (new, "live")]
    assert asleep.serve.answers("ltv") == new, "it has answered before it is live"
    assert asleep.serve.starts[started:] == [("ltv", new)]


def test_what_only_the_controller_judges_by_is_live_once_a_replica_has_answered(
    asleep: World,
) -> None:
    live, started = asleep.live(), len(asleep.serve.starts)
    asleep.apply(deployments={"ltv": {**SCALED, "keep_warm_s": 5}})
    asleep.settle()
    assert asleep.states() == [(live, "retired"), (live, "live")]
    assert asleep.serve.starts[started:] == [("ltv", live)]


def test_an_empty_cluster_is_rebuilt_without_waking_it(asleep: World) -> None:
    live, started = asleep.live(), len(asleep.serve.starts)
    asleep.serve.lose_everything()
    asleep.settle()
    assert asleep.serve.is_asleep("ltv")
    assert len(asleep.serve.starts) == started
    asleep.serve.wake("ltv")
    asleep.settle()
    assert asleep.serve.answers("ltv") == live


def test_a_start_that_hangs_ends_and_the_next_query_tries_again(asleep: World) -> None:
    live = asleep.live()
    assert live is not None
    asleep.serve.behaviours[live] = HANGS
    asleep.serve.wake("ltv")
    began = asleep.clock.now
    while not asleep.serve.is_asleep("ltv"):
        asleep.turn()
    assert 60 <= (asleep.clock.now - began).total_seconds() < 65
    asleep.serve.behaviours.clear()
    asleep.serve.wake("ltv")
    asleep.settle()
    assert asleep.serve.answers("ltv") == live
    assert asleep.states() == [(live, "live")]
