"""What the controller does, one story per test, on a real registry with a fake Serve."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from envelope.errors import ClusterError, StorageError
from tests.delivery_world import World
from tests.fakes import START, Behaviour

RULE = {"query": "tags.ok = 'yes'", "deploy_to": "ltv"}
FAILS = Behaviour(kind="fails", message="the sample is answered differently")
HANGS = Behaviour(kind="hangs")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World.open(tmp_path / "registry.db")
    yield world
    world.registry.close()


@pytest.fixture
def serving(world: World) -> World:
    """A world in which one envelope is live by a rule."""
    world.apply(deployments={"ltv": {}}, rules={"us": RULE})
    world.save(ok="yes")
    world.settle()
    return world


def test_a_tag_makes_an_envelope_live(world: World) -> None:
    envelope = world.save()
    world.apply(deployments={"ltv": {}}, rules={"us": RULE})
    world.settle()
    assert world.states() == []
    world.tag(envelope, ok="yes")
    world.settle()
    assert world.states() == [(envelope, "live")]
    assert world.serve.answers("ltv") == envelope
    (release,) = world.releases()
    events = [(e.to_state, e.reason) for e in world.registry.release_events(release.id)]
    assert events == [
        ("candidate", "newest match of rule us"),
        ("gated", "every gate passed"),
        ("starting", f"starting {envelope}"),
        ("live", "answers at its URL"),
    ]
    assert (release.rule, release.rule_version, release.actor) == ("us", 1, "controller")


def test_the_next_turn_does_nothing(serving: World) -> None:
    seq = serving.registry.last_change()
    starts = list(serving.serve.starts)
    for _ in range(40):  # past the time of a full reread
        assert serving.turn() == []
    serving.restart()
    for _ in range(3):
        assert serving.turn() == []
    assert (serving.registry.last_change(), serving.serve.starts) == (seq, starts)


def test_a_newer_match_replaces_the_live_one(serving: World) -> None:
    old = serving.live()
    new = serving.save(ok="yes")
    serving.settle()
    assert serving.states() == [(old, "retired"), (new, "live")]
    retired = serving.releases()[-1]
    assert retired.reason == f"replaced by envelope {new} (release {serving.releases()[0].id})"


def test_a_version_that_fails_leaves_the_old_one(serving: World) -> None:
    old = serving.live()
    new = serving.save(FAILS, ok="yes")
    serving.settle(check=lambda: _answers(serving, old))
    assert serving.states() == [(old, "live"), (new, "failed")]
    assert serving.releases()[0].reason == f"envelope {new}: the sample is answered differently"
    assert serving.serve.starts.count(("ltv", str(old))) == 1, "put back without a restart"


def _answers(world: World, envelope_id: str | None) -> None:
    assert world.serve.answers("ltv") == envelope_id


def test_a_failed_one_is_not_tried_again_for_its_tags(serving: World) -> None:
    new = serving.save(FAILS, ok="yes")
    serving.settle()
    count = len(serving.releases())
    serving.tag(new, note="please")
    serving.tag(new, ok=None)
    serving.settle()
    serving.tag(new, ok="yes")
    serving.settle()
    serving.restart()
    serving.settle()
    assert len(serving.releases()) == count


@pytest.mark.parametrize("change", ["config", "runtime", "by-hand"])
def test_a_failed_one_is_tried_again_when_something_changed(serving: World, change: str) -> None:
    old = serving.live()
    new = serving.save(FAILS, ok="yes")
    serving.settle()
    serving.serve.behaviours[new] = Behaviour()
    match change:
        case "config":
            serving.apply(deployments={"ltv": {"start_timeout_s": 400}})
        case "runtime":
            serving.runtime = "2"
            serving.restart()
        case "by-hand":
            serving.registry.request_deploy("ltv", new, actor="bob")
    serving.settle()
    assert serving.states() == [(old, "retired"), (new, "failed"), (new, "live")]


@pytest.mark.parametrize("has_live", [True, False])
def test_deployed_by_hand_right_after_its_failure(world: World, has_live: bool) -> None:
    """Serve still remembers the failure of the same version; it is not that of the new start."""
    world.apply(deployments={"ltv": {}}, rules={"us": RULE})
    if has_live:
        world.save(ok="yes")
        world.settle()
    new = world.save(FAILS, ok="yes")
    while (new, "failed") not in world.states():
        world.turn()
    world.serve.behaviours[new] = Behaviour()
    world.registry.request_deploy("ltv", new, actor="bob")
    world.settle()
    assert world.live() == new


def test_an_older_match_is_next_when_the_newest_fails(serving: World) -> None:
    second = serving.save(ok="yes")
    serving.save(FAILS, ok="yes")
    serving.settle()
    assert serving.live() == second


def test_many_failures_are_passed_over(serving: World) -> None:
    old = serving.live()
    for _ in range(40):  # more than a page of matches
        serving.save(Behaviour(kind="fails", start_s=0), ok="yes")
    serving.settle()
    assert [state for _, state in serving.states()] == ["live"] + ["failed"] * 40
    assert serving.live() == old
    serving.restart()
    assert serving.turn() == []


def test_a_start_that_hangs_ends_with_both_figures(serving: World) -> None:
    old = serving.live()
    serving.apply(deployments={"ltv": {"start_timeout_s": 20}})
    serving.settle()
    new = serving.save(HANGS, ok="yes")
    serving.settle()
    failed = serving.releases()[0]
    assert (failed.envelope_id, failed.state) == (new, "failed")
    assert "not live 20 s after it was started, start_timeout_s is 20" in failed.reason
    assert serving.live() == old


def test_the_first_release_that_fails_leaves_nothing_behind(world: World) -> None:
    world.apply(deployments={"ltv": {}}, rules={"us": RULE})
    new = world.save(FAILS, ok="yes")
    world.settle()
    assert world.states() == [(new, "failed")]
    assert world.serve.names() == set()


def test_what_cannot_be_prepared_fails_with_its_reason(serving: World) -> None:
    old = serving.live()
    new = serving.save()
    serving.faults[new] = "locked for Python 3.9; this cluster runs 3.11"
    serving.tag(new, ok="yes")
    serving.settle()
    assert serving.releases()[0].reason == "locked for Python 3.9; this cluster runs 3.11"
    serving.settle()
    assert serving.states() == [(old, "live"), (new, "failed")]
    serving.faults.clear()
    serving.clock.advance(30)  # the next full reread
    serving.settle()
    assert serving.live() == new


def test_superseded_while_starting(serving: World) -> None:
    old = serving.live()
    slow = serving.save(Behaviour(start_s=100), ok="yes")
    for _ in range(8):
        serving.turn()
    assert serving.states()[-1] == (slow, "starting")
    new = serving.save(ok="yes")
    serving.settle(check=lambda: _never_silent(serving))
    assert serving.states() == [(old, "retired"), (slow, "retired"), (new, "live")]
    superseded = serving.releases()[1]
    assert superseded.reason == f"superseded by envelope {new}: newest match of rule us"
    assert superseded.live_at is None


def test_a_first_start_that_another_interrupted_begins_anew(world: World) -> None:
    world.apply(deployments={"ltv": {"start_timeout_s": 10}}, rules={"us": RULE})
    slow = world.save(Behaviour(start_s=6), ok="yes")
    while world.clock.now < START + timedelta(seconds=5):
        world.turn()
    hangs = world.save(HANGS, ok="yes")
    world.settle()
    assert world.states() == [(slow, "live"), (hangs, "failed")]


def _never_silent(world: World) -> None:
    assert world.serve.answers("ltv") is not None


def test_a_manual_deploy_pins(serving: World) -> None:
    chosen = serving.save()
    row = serving.registry.request_deploy("ltv", chosen, actor="bob")
    serving.settle()
    assert serving.registry.release(row.id).state == "live"
    newer = serving.save(ok="yes")
    serving.settle()
    assert serving.live() == chosen
    serving.registry.unpin("ltv", actor="bob")
    serving.settle()
    assert serving.live() == newer


def test_a_pin_ends_at_its_time(serving: World) -> None:
    old = serving.live()
    chosen = serving.save()
    until = serving.clock.now + timedelta(minutes=5)
    serving.registry.request_deploy("ltv", chosen, actor="bob", until=until)
    serving.settle()
    assert serving.live() == chosen
    serving.clock.advance(300)
    serving.settle()
    assert serving.live() == old


def test_a_pinned_one_that_fails_changes_nothing(serving: World) -> None:
    old = serving.live()
    chosen = serving.save(FAILS)
    serving.registry.request_deploy("ltv", chosen, actor="bob")
    serving.settle()
    serving.save(ok="yes")
    serving.settle()
    assert serving.live() == old


def test_deployed_by_hand_without_any_config(world: World) -> None:
    envelope = world.save()
    world.registry.request_deploy("new_one", envelope, actor="bob")
    world.settle()
    assert world.serve.answers("new_one") == envelope


def test_deployed_again_by_hand_is_a_release_that_touches_nothing(serving: World) -> None:
    envelope = serving.live()
    starts = list(serving.serve.starts)
    serving.registry.request_deploy("ltv", str(envelope), actor="bob")
    serving.settle()
    assert serving.states() == [(envelope, "retired"), (envelope, "live")]
    assert serving.serve.starts == starts


def test_a_function_added_later_waits_for_the_next_release(serving: World) -> None:
    envelope = str(serving.live())
    starts = list(serving.serve.starts)
    serving.registry.add_function(envelope, "predict_proba", "d" * 64, actor="ann")
    serving.settle()
    serving.restart()
    serving.settle()
    assert serving.serve.starts == starts
    serving.registry.request_deploy("ltv", envelope, actor="bob")
    serving.settle()
    assert len(serving.serve.starts) == len(starts) + 1
    assert serving.states() == [(envelope, "retired"), (envelope, "live")]


def test_a_config_change_is_a_release_of_the_same_envelope(serving: World) -> None:
    envelope = serving.live()
    serving.apply(deployments={"ltv": {"num_replicas": 2}})
    serving.settle()
    assert serving.states() == [(envelope, "retired"), (envelope, "live")]
    release = serving.releases()[0]
    events = serving.registry.release_events(release.id)
    assert events[0].reason == "config changed: version 1 -> 2; newest match of rule us"


def test_a_config_that_cannot_start_leaves_the_former(serving: World) -> None:
    envelope = str(serving.live())
    starts = list(serving.serve.starts)
    serving.serve.behaviours[envelope] = HANGS
    serving.apply(deployments={"ltv": {"resources": {"num_cpus": 99}, "start_timeout_s": 10}})
    serving.settle(check=lambda: _answers(serving, envelope))
    assert serving.states() == [(envelope, "live"), (envelope, "failed")]
    assert len(serving.serve.starts) == len(starts) + 1


def test_unmatched_keeps_live(serving: World) -> None:
    envelope = str(serving.live())
    serving.tag(envelope, ok=None)
    serving.settle()
    assert serving.live() == envelope


def test_a_live_one_that_stops_matching_gives_way_to_the_newest_other(serving: World) -> None:
    old = serving.live()
    new = serving.save(ok="yes")
    serving.settle()
    serving.tag(new, ok="no")
    serving.settle()
    assert serving.live() == old


@pytest.mark.parametrize("change", [{"paused": True}, {"deploy_to": "other"}])
def test_a_rule_paused_or_gone_keeps_live(serving: World, change: dict[str, object]) -> None:
    old = serving.live()
    serving.apply(deployments={"other": {}}, rules={"us": {**RULE, **change}})
    serving.save(ok="yes")
    serving.settle()
    assert serving.live() == old


def test_the_highest_priority_with_a_match_decides(serving: World) -> None:
    hotfix = {"query": "tags.hotfix = 'yes'", "deploy_to": "ltv", "priority": 10}
    serving.apply(rules={"hotfix": hotfix})
    special = serving.save(hotfix="yes")
    newer = serving.save(ok="yes")
    serving.settle()
    assert serving.live() == special
    serving.apply(rules={"hotfix": {**hotfix, "paused": True}})
    serving.settle()
    assert serving.live() == newer


def test_rules_of_equal_priority_share_by_age(serving: World) -> None:
    serving.apply(rules={"also": {"query": "tags.also = 'yes'", "deploy_to": "ltv"}})
    first = serving.save(also="yes")
    serving.settle()
    assert serving.live() == first
    second = serving.save(ok="yes")
    serving.settle()
    assert serving.live() == second


def test_undeploy_drains_and_is_recorded(serving: World) -> None:
    envelope = serving.live()
    serving.registry.request_undeploy("ltv", actor="bob")
    serving.settle()
    assert serving.states() == [(envelope, "removed")]
    assert serving.serve.names() == set()
    serving.save(ok="yes")
    serving.settle()
    assert serving.serve.names() == set(), "its rules do nothing"
    serving.apply(deployments={"ltv": {}})
    serving.settle()
    assert serving.live() is not None


def test_undeploy_while_starting(serving: World) -> None:
    serving.save(Behaviour(start_s=100), ok="yes")
    for _ in range(8):
        serving.turn()
    serving.registry.request_undeploy("ltv", actor="bob")
    serving.settle()
    assert [state for _, state in serving.states()] == ["removed", "removed"]
    assert serving.serve.names() == set()


def test_brought_back_while_it_drains(serving: World) -> None:
    envelope = str(serving.live())
    serving.serve.behaviours[envelope] = Behaviour(drain_s=50)
    serving.registry.request_undeploy("ltv", actor="bob")
    for _ in range(4):
        serving.turn()
    serving.apply(deployments={"ltv": {}})
    serving.settle()
    assert serving.states() == [(envelope, "live")]
    assert serving.serve.answers("ltv") == envelope


def test_an_empty_cluster_is_rebuilt(serving: World) -> None:
    envelope = serving.live()
    serving.apply(deployments={"second": {}}, rules={"s": {**RULE, "deploy_to": "second"}})
    serving.settle()
    seq = serving.registry.last_change()
    serving.serve.lose_everything()
    serving.restart()
    serving.settle()
    assert serving.serve.answers("ltv") == serving.serve.answers("second") == envelope
    assert serving.registry.last_change() == seq, "no release was needed"


def test_a_live_one_that_cannot_be_rebuilt_is_tried_again_and_again(serving: World) -> None:
    envelope = str(serving.live())
    serving.serve.behaviours[envelope] = FAILS
    serving.serve.lose_everything()
    starts = len(serving.serve.starts)
    for _ in range(400):
        serving.turn()
    tries = len(serving.serve.starts) - starts
    assert 4 <= tries <= 12, "with longer and longer pauses"
    serving.serve.behaviours[envelope] = Behaviour()
    serving.clock.advance(300)
    serving.settle()
    assert serving.serve.answers("ltv") == envelope
    assert serving.states() == [(envelope, "live")]


def test_a_new_version_mends_what_cannot_be_rebuilt(serving: World) -> None:
    serving.serve.behaviours[str(serving.live())] = FAILS
    serving.serve.lose_everything()
    for _ in range(50):
        serving.turn()
    new = serving.save(ok="yes")
    serving.settle()
    assert serving.serve.answers("ltv") == new


def test_an_unknown_application_is_left_alone(serving: World) -> None:
    foreign = World(registry=serving.registry, clock=serving.clock, serve=serving.serve)
    row = serving.registry.envelope(str(serving.live()))
    from controller.releases import Request
    from envelope.config import DeploymentConfig

    request = Request(
        deployment="someone_elses",
        release_id="",
        envelope=row,
        functions={},
        config=DeploymentConfig(),
    )
    serving.serve.deploy([foreign.prepare(request)])
    serving.settle()
    serving.restart()
    serving.settle()
    assert "someone_elses" in serving.serve.names()


def test_a_lost_replica_is_serves_business(serving: World) -> None:
    envelope = serving.live()
    serving.serve.lose_replica("ltv")
    seq = serving.registry.last_change()
    serving.settle()
    assert serving.serve.answers("ltv") == envelope
    assert serving.registry.last_change() == seq


def test_the_loop_goes_on_when_serve_is_back(serving: World) -> None:
    new = serving.save(ok="yes")
    serving.serve.is_down = True
    with pytest.raises(ClusterError):
        serving.turn()
    serving.serve.is_down = False
    serving.settle()
    assert serving.live() == new


def test_a_store_that_cannot_be_read_holds_back_one_deployment(
    serving: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.apply(deployments={"second": {}}, rules={"s": {**RULE, "deploy_to": "second"}})
    serving.settle()
    whole = type(serving).prepare

    def prepare(self: World, request: object) -> object:
        if request.deployment == "ltv":  # type: ignore[attr-defined]
            raise StorageError("s3://models cannot be reached; try again")
        return whole(self, request)  # type: ignore[arg-type]

    monkeypatch.setattr(World, "prepare", prepare)
    serving.restart()
    new = serving.save(ok="yes")
    for _ in range(40):
        serving.turn()
    assert serving.serve.answers("second") == new
    assert serving.serve.answers("ltv") != new
    monkeypatch.setattr(World, "prepare", whole)
    serving.restart()
    serving.settle()
    assert serving.serve.answers("ltv") == new


def gated(world: World, **gates: object) -> None:
    world.apply(deployments={"ltv": {"gates": gates}})
    world.settle()


def test_what_would_break_callers_is_rejected_and_named(serving: World) -> None:
    old = serving.live()
    new = serving.save(columns=["years"], ok="yes")
    serving.settle()
    assert serving.states() == [(old, "live"), (new, "rejected")]
    assert serving.releases()[0].reason == (
        f"not compatible with what is live, {old}: predict: input column age is gone, callers send "
        "it; predict: input column years is required, callers need not send it: float"
    )
    assert serving.turn() == []
    gated(serving, schema="any")
    assert serving.live() == new


def test_a_gate_that_cannot_be_judged_holds_until_it_can(serving: World) -> None:
    old = str(serving.live())
    serving.tag(old, approved="yes")
    serving.log(old, auc=0.9)
    gated(serving, metrics=["auc >= 0.8"], tags={"approved": "yes"}, schema="any")
    new = serving.save(ok="yes")
    serving.settle()
    assert serving.states()[-1] == (new, "held")
    assert "tag approved is not set" in serving.releases()[0].reason
    assert "has no metric auc" in serving.releases()[0].reason
    assert serving.turn() == []
    serving.tag(new, approved="yes")
    serving.settle()
    assert "tag approved" not in serving.releases()[0].reason
    assert serving.live() == old
    serving.log(new, auc=0.9)
    serving.settle()
    assert serving.live() == new
    events = serving.registry.release_events(serving.releases()[0].id)
    gate = next(event for event in events if event.to_state == "gated")
    assert gate.reason == "every gate passed: tag approved is 'yes'; auc 0.9 >= 0.8"


def test_a_rejection_lasts_as_long_as_its_reason(serving: World) -> None:
    serving.log(str(serving.live()), auc=0.9)
    gated(serving, metrics=["auc >= live"])
    old = serving.live()
    new = serving.save(metrics={"auc": 0.85}, ok="yes")
    serving.settle()
    assert serving.states()[-1] == (new, "rejected")
    serving.log(new, auc=0.87)
    serving.settle()
    assert serving.live() == old
    count = len(serving.releases())
    serving.log(new, auc=0.95)
    serving.settle()
    assert serving.live() == new
    assert len(serving.releases()) == count + 1


def test_an_older_match_is_next_when_the_newest_is_rejected(serving: World) -> None:
    gated(serving, metrics=["auc >= 0.8"])
    second = serving.save(metrics={"auc": 0.9}, ok="yes")
    serving.save(metrics={"auc": 0.1}, ok="yes")
    serving.settle()
    assert serving.live() == second


def test_a_gate_that_closes_during_the_start_stops_it(serving: World) -> None:
    gated(serving, tags={"approved": "yes"})
    old = serving.live()
    new = serving.save(Behaviour(start_s=20), ok="yes", approved="yes")
    while serving.states()[-1] != (new, "starting"):
        serving.turn()
    serving.tag(new, approved=None)
    serving.settle(check=lambda: _answers(serving, old))
    assert serving.states()[-1] == (new, "held")
    serving.tag(new, approved="yes")
    serving.settle()
    assert serving.live() == new


def test_gates_hold_for_what_is_deployed_by_hand(serving: World) -> None:
    gated(serving, metrics=["auc >= 0.8"])
    old = serving.live()
    chosen = serving.save(metrics={"auc": 0.1})
    serving.registry.request_deploy("ltv", chosen, actor="bob")
    serving.settle()
    assert serving.states()[-1] == (chosen, "rejected")
    assert serving.live() == old


def test_a_config_change_compares_nothing_with_itself(serving: World) -> None:
    live = str(serving.live())
    serving.log(live, auc=0.9)
    gated(serving, metrics=["auc > live"])
    assert serving.states() == [(live, "retired"), (live, "live")]


def test_several_deployments_start_at_once(world: World) -> None:
    names = [f"d{n}" for n in range(10)]
    world.apply(
        deployments={name: {} for name in names},
        rules={name: {**RULE, "deploy_to": name} for name in names},
    )
    world.save(ok="yes")
    began = world.clock.now
    world.settle()
    assert {world.live(name) is not None for name in names} == {True}
    assert (world.clock.now - began).total_seconds() < 10, "5 s for one, not 50 s for ten"


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 9))
def test_killed_at_any_write_of_a_swap(serving: World, write: int, before: bool) -> None:
    old = serving.live()
    new = serving.save(ok="yes")
    serving.kill_at(write, before=before)
    serving.settle(check=lambda: _never_silent(serving))
    assert serving.states() == [(old, "retired"), (new, "live")]
    assert serving.serve.starts == [("ltv", old), ("ltv", new)]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 8))
def test_killed_at_any_write_of_a_failing_start(serving: World, write: int, before: bool) -> None:
    old = serving.live()
    new = serving.save(FAILS, ok="yes")
    serving.kill_at(write, before=before)
    serving.settle(check=lambda: _answers(serving, old))
    assert serving.states() == [(old, "live"), (new, "failed")]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("write", [1, 2])
def test_killed_while_undeploying(serving: World, write: int, before: bool) -> None:
    envelope = serving.live()
    serving.registry.request_undeploy("ltv", actor="bob")
    serving.kill_at(write, before=before)
    serving.settle()
    assert serving.states() == [(envelope, "removed")]
    assert serving.serve.names() == set()


def test_times_are_those_of_the_clock(serving: World) -> None:
    release = serving.releases()[0]
    assert release.live_at is not None
    assert timedelta(seconds=5) <= release.live_at - START < timedelta(seconds=8)
