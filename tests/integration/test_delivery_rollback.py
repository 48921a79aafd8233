"""Rolling back, and pausing: what people do to what rules deliver."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from envelope.errors import ConfigError
from tests.delivery_world import World
from tests.fakes import Behaviour

RULE = {"query": "tags.ok = 'yes'", "deploy_to": "ltv"}
FAILS = Behaviour(kind="fails")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two releases: the second is live."""
    world = World.open(tmp_path / "registry.db")
    world.apply(deployments={"ltv": {}}, rules={"us": RULE})
    for _ in range(2):
        world.save(ok="yes")
        world.settle()
    yield world
    world.registry.close()


def envelopes(world: World) -> list[str]:
    """Of every release, oldest first."""
    return [envelope_id for envelope_id, _ in world.states()]


def roll_back(world: World, back_to: str | None = None) -> str:
    """Roll back what is live, to what was live before it; return what is kept off."""
    live = str(world.live())
    target = back_to or [each for each in envelopes(world) if each != live][-1]
    world.registry.request_rollback("ltv", live, back_to=target, reason="wrong in DE", actor="bob")
    return live


def test_a_rollback_is_recorded_with_who_and_why(world: World) -> None:
    first, second = envelopes(world)
    roll_back(world)
    world.settle(check=lambda: _never_silent(world))
    assert world.states() == [(first, "retired"), (second, "rolled_back"), (first, "live")]
    undone = world.releases()[1]
    event = world.registry.release_events(undone.id)[-1]
    assert (event.to_state, event.actor) == ("rolled_back", "bob")
    assert event.reason == (
        f"rolled back: wrong in DE; replaced by envelope {first} (release {world.releases()[0].id})"
    )
    begun = world.registry.release_events(world.releases()[0].id)[0]
    assert begun.reason == f"rolled back from {second} by bob: wrong in DE"
    world.restart()
    assert world.turn() == []


def _never_silent(world: World) -> None:
    assert world.serve.answers("ltv") is not None


def test_newer_ones_still_come(world: World) -> None:
    roll_back(world)
    world.settle()
    new = world.save(ok="yes")
    world.settle()
    assert world.live() == new


def test_a_match_that_never_was_live_does_not_take_its_chance(world: World) -> None:
    first, second = envelopes(world)
    never = world.save(ok="yes")
    third = world.save(ok="yes")
    world.settle()
    assert world.live() == third
    roll_back(world)
    world.settle()
    assert world.live() == second
    roll_back(world, back_to=first)
    world.settle()
    assert world.live() == first, f"and not {never}"


def test_what_was_rolled_back_comes_back_when_it_is_allowed(world: World) -> None:
    second = roll_back(world)
    world.settle()
    world.tag(second, note="please")
    world.settle()
    assert world.live() != second
    assert world.registry.allow("ltv", second, actor="bob")
    world.settle()
    assert world.live() == second
    assert not world.registry.allow("ltv", second, actor="bob")


def test_a_rollback_takes_the_pin_off(world: World) -> None:
    pinned = world.save()
    world.registry.request_deploy("ltv", pinned, actor="ann")
    world.settle()
    before = world.states()[-2][0]
    roll_back(world, back_to=before)
    world.settle()
    assert world.live() == before
    assert world.registry.deployments()[0].pin_envelope_id is None


def test_it_cannot_be_deployed_by_hand_either(world: World) -> None:
    second = roll_back(world)
    with pytest.raises(ConfigError, match=f"envelope allow {second} --to ltv` first"):
        world.registry.request_deploy("ltv", second, actor="ann")


def test_other_deployments_are_none_of_its_concern(world: World) -> None:
    world.apply(deployments={"other": {}}, rules={"o": {**RULE, "deploy_to": "other"}})
    world.settle()
    second = roll_back(world)
    world.settle()
    assert world.live("other") == second


def test_what_no_rule_wants_any_more_can_be_gone_back_to(world: World) -> None:
    first, _ = envelopes(world)
    world.tag(first, ok=None)
    roll_back(world)
    world.settle()
    assert world.live() == first


def test_a_rollback_does_not_wait_for_a_newer_one_that_starts_or_is_held(world: World) -> None:
    first, _ = envelopes(world)
    world.apply(deployments={"ltv": {"gates": {"tags": {"ok": "yes"}}}})
    world.settle()
    roll_back(world, back_to=first)
    slow = world.save(Behaviour(start_s=50), ok="yes")
    world.clock.advance(3)
    while world.live() != first:
        world.turn()
        assert ("ltv", slow) not in world.serve.starts
    world.settle()
    assert world.live() == slow


def test_going_back_compares_with_nothing(world: World) -> None:
    first, second = envelopes(world)
    world.log(first, auc=0.5)
    world.log(second, auc=0.9)
    world.apply(deployments={"ltv": {"gates": {"metrics": ["auc >= live"]}}})
    world.settle()
    assert world.live() == second
    roll_back(world, back_to=first)
    world.settle()
    assert world.live() == first


def test_where_the_former_cannot_start_an_older_match_is_next(world: World) -> None:
    first, second = envelopes(world)
    third = world.save(ok="yes")
    world.settle()
    world.serve.behaviours[second] = FAILS
    assert roll_back(world) == third
    world.settle()
    assert world.live() == first


def test_an_empty_cluster_is_rebuilt_after_a_rollback(world: World) -> None:
    roll_back(world)
    world.settle()
    live = world.live()
    world.serve.lose_everything()
    world.restart()
    world.settle()
    assert world.serve.answers("ltv") == world.live() == live


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 7))
def test_killed_at_any_write_of_a_rollback(world: World, write: int, before: bool) -> None:
    first, second = envelopes(world)
    roll_back(world)
    world.kill_at(write, before=before)
    world.settle(check=lambda: _never_silent(world))
    assert world.states() == [(first, "retired"), (second, "rolled_back"), (first, "live")]


# --- pausing everything


def test_paused_rules_start_nothing_until_they_are_resumed(world: World) -> None:
    live = world.live()
    assert world.registry.pause_all("incident 7", actor="bob")
    assert not world.registry.pause_all("again", actor="bob")
    new = world.save(ok="yes")
    world.settle()
    assert world.live() == live
    assert world.registry.resume_all(actor="bob")
    world.settle()
    assert world.live() == new


def test_a_pause_stops_what_rules_have_begun(world: World) -> None:
    live = world.live()
    slow = world.save(Behaviour(start_s=50), ok="yes")
    for _ in range(8):
        world.turn()
    world.registry.pause_all("incident 7", actor="bob")
    world.settle()
    assert world.states()[-1] == (slow, "retired")
    assert world.releases()[0].reason == "no longer wanted: paused by bob: incident 7"
    assert world.serve.answers("ltv") == live


def test_hands_work_during_a_pause(world: World) -> None:
    first, _ = envelopes(world)
    world.registry.pause_all("incident 7", actor="bob")
    roll_back(world)
    world.settle()
    assert world.live() == first
    chosen = world.save()
    until = world.clock.now + timedelta(minutes=5)
    world.registry.request_deploy("ltv", chosen, actor="bob", until=until)
    world.settle()
    assert world.live() == chosen
