"""Rollouts from the registry to a fake Serve, and a controller that is killed at every write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.history import shares_at
from controller.state import Action, MoveRelease
from envelope.config import RolloutStep
from tests.delivery_world import World
from tests.fakes import Behaviour

RULE = {"query": "tags.ok = 'yes'", "deploy_to": "ltv"}
ROLLOUT = {
    "strategy": "canary",
    "steps": [{"share": 10, "minutes": 1}, {"share": 50, "requests": 100}],
    "min_requests": 20,
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One release is live; the next one will be tried out."""
    world = World.open(tmp_path / "registry.db")
    world.apply(deployments={"ltv": {"rollout": ROLLOUT}}, rules={"us": RULE})
    world.save(ok="yes")
    world.settle()
    yield world
    world.registry.close()


def run(world: World, *, turns: int = 400, failing: int = 0) -> list[Action]:
    """Take turns under a load of 40 queries each, until the newest release has ended or is live."""
    seen: list[Action] = []
    for _ in range(turns):
        world.turn(seen.append)
        world.serve.ask("ltv", 40, failing=failing)
        assert world.serve.answers("ltv") is not None
        newest = world.releases()[0]
        if newest.state in ("live", "rolled_back", "failed", "retired"):
            return seen
    raise AssertionError(world.history())


def test_from_a_share_to_all_of_it(world: World) -> None:
    first, second = str(world.live()), world.save(ok="yes")
    run(world)
    assert world.states() == [(first, "retired"), (second, "live")]
    world.settle()
    assert world.serve.names() == {"ltv"}
    assert world.serve.traffic() == {}


def test_a_failing_step_rolls_back_and_lets_newer_ones_come(world: World) -> None:
    first, bad = str(world.live()), world.save(ok="yes")
    run(world, failing=1)
    assert world.states() == [(first, "live"), (bad, "rolled_back")]
    assert "queries failed, max_error_percent is 1" in world.releases()[0].reason
    world.settle()
    assert world.serve.names() == {"ltv"}
    assert len(world.releases()) == 2, "it is not tried again"
    better = world.save(ok="yes")
    run(world)
    assert world.live() == better


def test_without_queries_it_holds(world: World) -> None:
    first = str(world.live())
    world.save(ok="yes")
    for _ in range(400):
        world.turn()
        world.clock.advance(1)
    assert world.live() == first
    newest = world.releases()[0]
    assert newest.state == "canary"
    assert newest.reason.endswith("is over, and holds: it got fewer than 20 queries (min_requests)")
    run(world)
    assert world.live() == newest.envelope_id


def test_the_past_says_who_answered_a_share(world: World) -> None:
    before = world.clock.now
    second = world.save(ok="yes")
    while not world.serve.ask("ltv", 40):
        world.turn()
    during = world.clock.now
    run(world)
    world.clock.advance(1)
    assert [*shares_at(world.registry, "ltv", before)] == []
    ((row, step),) = shares_at(world.registry, "ltv", during)
    assert row.envelope_id == second
    assert step.reason == "canary: step 1 of 2, 10 % for 1 min, begins"
    assert [*shares_at(world.registry, "ltv", world.clock.now)] == []


def test_a_newer_one_takes_its_place(world: World) -> None:
    first, second = str(world.live()), world.save(ok="yes")
    for _ in range(20):
        world.turn()
        world.clock.advance(1)
    third = world.save(ok="yes")
    run(world)
    run(world)
    assert world.states() == [(first, "retired"), (second, "retired"), (third, "live")]


def test_another_config_is_not_tried_out(world: World) -> None:
    only = str(world.live())
    world.apply(deployments={"ltv": {"rollout": ROLLOUT, "timeout_s": 9}})
    moves: list[Action] = []
    world.settle(see=moves.append)
    assert world.states() == [(only, "retired"), (only, "live")]
    assert "canary" not in [each.to_state for each in moves if isinstance(each, MoveRelease)]


@pytest.mark.parametrize("write", range(1, 12))
def test_killed_at_any_write(world: World, write: int) -> None:
    first, second = str(world.live()), world.save(ok="yes")
    world.kill_at(write, before=write % 2 == 0)
    run(world)
    world.settle()
    assert world.states() == [(first, "retired"), (second, "live")]
    assert world.serve.names() == {"ltv"}
    assert world.serve.traffic() == {}


def test_a_step_ends_in_one_way() -> None:
    with pytest.raises(ValueError, match="`minutes` or by `requests`"):
        RolloutStep(share=5)


# --- kept warm


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[World]:
    """The second release is live, the first one is kept warm for ten minutes."""
    world = World.open(tmp_path / "registry.db")
    world.apply(deployments={"ltv": {"keep_warm_s": 600}}, rules={"us": RULE})
    for _ in range(2):
        world.save(ok="yes")
        world.settle()
    yield world
    world.registry.close()


def roll_back(world: World) -> tuple[str, str]:
    """Ask for it; return what is to be live, and what was."""
    (first, _), (second, _) = world.states()
    world.registry.request_rollback("ltv", second, back_to=first, reason="wrong", actor="bob")
    return first, second


def test_what_is_kept_warm_answers_at_once(warm: World) -> None:
    assert warm.serve.names() == {"ltv", "ltv--previous"}
    first, second = roll_back(warm)
    before = warm.clock.now
    while warm.serve.answers_queries("ltv") != first:
        warm.turn()
    assert (warm.clock.now - before).total_seconds() < 1
    assert warm.serve.answers("ltv") == second, "the start takes longer"
    warm.settle(check=lambda: _answers(warm, first))
    assert warm.states() == [(first, "retired"), (second, "rolled_back"), (first, "live")]
    assert warm.serve.names() == {"ltv"}
    assert warm.serve.traffic() == {}


def _answers(world: World, envelope_id: str) -> None:
    assert world.serve.answers_queries("ltv") == envelope_id


def test_it_is_kept_for_as_long_as_it_is_configured(warm: World) -> None:
    warm.clock.advance(590)
    warm.settle()
    assert "ltv--previous" in warm.serve.names()
    warm.clock.advance(11)
    warm.settle()
    assert warm.serve.names() == {"ltv"}
    first, _ = roll_back(warm)
    warm.settle()
    assert warm.live() == first, "by surge"


def test_the_one_before_takes_its_place(warm: World) -> None:
    second, third = str(warm.live()), warm.save(ok="yes")
    warm.settle()
    assert warm.live() == third
    assert warm.serve.answers("ltv--previous") == second


def test_what_does_not_replace_the_live_one_leaves_nothing(warm: World) -> None:
    second = str(warm.live())
    warm.save(Behaviour(kind="fails"), ok="yes")
    warm.settle()
    assert warm.live() == second
    assert warm.serve.names() == {"ltv"}


@pytest.mark.parametrize("write", range(1, 9))
def test_killed_at_any_write_of_a_rollback(warm: World, write: int) -> None:
    first, second = roll_back(warm)
    warm.kill_at(write, before=write % 2 == 0)
    warm.settle()
    assert warm.states() == [(first, "retired"), (second, "rolled_back"), (first, "live")]
    assert warm.serve.names() == {"ltv"}
    assert warm.serve.traffic() == {}


def test_undeployed_with_all_that_stands_beside_it(warm: World) -> None:
    warm.registry.request_undeploy("ltv", actor="ann")
    warm.settle()
    assert warm.serve.names() == set()
