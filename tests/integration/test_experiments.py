"""Experiments from the registry to a fake Serve, until somebody ends them by a command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.arms import RECORD_S
from controller.explain import explain
from controller.history import shares_at
from envelope.cli import main
from envelope.config import Rollout
from envelope.connection import disconnect
from envelope.errors import ConfigError
from tests.delivery_world import World

RULE = {"query": "tags.ok = 'yes'", "deploy_to": "ltv"}
ROLLOUT = {"strategy": "experiment", "share": 50, "sticky": {"header": "X-User-Id"}}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """One release is live, the next one is its challenger. The commands reach their registry."""
    monkeypatch.setenv("ENVELOPE_HOME", str(tmp_path))
    monkeypatch.setenv("ENVELOPE_ACTOR", "ann")
    for name in ("ENVELOPE_REGISTRY", "ENVELOPE_STORE"):
        monkeypatch.delenv(name, raising=False)
    world = World.open(tmp_path / "registry.db")
    world.apply(deployments={"ltv": {"rollout": ROLLOUT}}, rules={"us": RULE})
    world.save(ok="yes")
    world.settle()
    world.save(ok="yes")
    world.settle()
    yield world
    disconnect()
    world.registry.close()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command; return its exit status, and what it printed on both streams."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["experiment", *arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out + printed.err


def arms(world: World) -> tuple[str, str]:
    """The champion and the challenger."""
    (champion, live), (challenger, tried) = world.states()
    assert (live, tried) == ("live", "experiment")
    return champion, challenger


def test_it_goes_on_until_it_is_ended(world: World) -> None:
    champion, challenger = arms(world)
    world.serve.ask("ltv", 1000, failing=1)
    world.clock.advance(30 * 24 * 3600)
    seq = world.registry.last_change()
    world.settle()
    assert arms(world) == (champion, challenger)
    assert world.registry.last_change() == seq
    split = world.serve.traffic()["ltv"].split
    assert split is not None
    assert (split.percent, split.sticky and split.sticky.header) == (50, "X-User-Id")


def test_the_challenger_wins(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    champion, challenger = arms(world)
    status, printed = run(
        capsys, "end", "ltv", "--winner", "challenger", "--reason", "3 % more orders"
    )
    assert (status, f"{challenger} takes the place" in printed) == (0, True)
    world.settle()
    assert world.states() == [(champion, "retired"), (challenger, "live")]
    won = [each for each in world.registry.release_events(world.releases()[0].id)][-2]
    assert (won.to_state, won.actor) == ("starting", "ann")
    assert won.reason == f"{challenger} won the experiment: 3 % more orders"
    assert world.serve.names() == {"ltv"}
    assert world.serve.traffic() == {}


def test_the_champion_wins(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    champion, challenger = arms(world)
    status, printed = run(capsys, "end", "ltv", "--winner", "champion", "--reason", "fewer orders")
    assert (status, f"envelope allow {challenger} --to ltv" in printed) == (0, True)
    world.settle()
    assert world.states() == [(champion, "live"), (challenger, "rolled_back")]
    end = world.registry.release_events(world.releases()[0].id)[-1]
    assert end.actor == "ann"
    assert "the champion won the experiment: fewer orders" in end.reason
    assert world.serve.names() == {"ltv"}
    assert len(world.releases()) == 2, "it does not come back by itself"
    world.registry.allow("ltv", challenger, actor="ann")
    world.settle()
    assert world.states()[-1] == (challenger, "experiment")


@pytest.mark.parametrize("winner", ["champion", "challenger"])
def test_newer_ones_wait_and_are_next(world: World, winner: str) -> None:
    champion, challenger = arms(world)
    newer = world.save(ok="yes")
    world.settle()
    assert arms(world) == (champion, challenger)
    said = {each.envelope_id: each for each in _opinions(world)}
    assert said[challenger].is_wanted
    assert said[newer].why.startswith(f"waits: {challenger} is the challenger of an experiment; ")
    assert said[champion].why == f"older than {challenger}"
    world.registry.end_experiment("ltv", winner, reason="x", actor="ann")  # type: ignore[arg-type]
    world.settle()
    won = challenger if winner == "challenger" else champion
    assert (world.live(), world.states()[-1]) == (won, (newer, "experiment"))


def _opinions(world: World):  # type: ignore[no-untyped-def] # of explain
    return explain(world.registry, "ltv", world.clock.now).opinions


def test_a_challenger_that_stops_matching_gives_way(world: World) -> None:
    champion, challenger = arms(world)
    newer = world.save(ok="yes")
    world.settle()
    world.tag(challenger, ok=None)
    world.settle()
    assert world.states() == [
        (champion, "live"),
        (challenger, "retired"),
        (newer, "experiment"),
    ]


def test_another_config_is_another_experiment(world: World) -> None:
    champion, challenger = arms(world)
    newer = world.save(ok="yes")
    world.apply(deployments={"ltv": {"rollout": {**ROLLOUT, "share": 10}}})
    world.settle()
    assert world.states()[-2:] == [(challenger, "retired"), (newer, "experiment")]
    assert world.live() == champion


def test_one_that_fails_its_callers_is_rolled_back(world: World) -> None:
    champion, challenger = arms(world)
    world.serve.ask("ltv", 1000, failing=6)
    world.settle()
    assert world.states() == [(champion, "live"), (challenger, "rolled_back")]
    assert "6 of 500 queries failed, max_error_percent is 1" in world.releases()[0].reason


@pytest.mark.parametrize("winner", ["champion", "challenger"])
@pytest.mark.parametrize("write", range(1, 7))
def test_killed_at_any_write_of_its_end(world: World, write: int, winner: str) -> None:
    champion, challenger = arms(world)
    world.kill_at(write, before=write % 2 == 0)
    world.registry.end_experiment("ltv", winner, reason="x", actor="ann")  # type: ignore[arg-type]
    world.settle()
    assert world.live() == (challenger if winner == "challenger" else champion)
    assert world.serve.names() == {"ltv"}
    assert world.serve.traffic() == {}


def test_the_past_names_both_arms(world: World) -> None:
    champion, challenger = arms(world)
    world.clock.advance(60)
    during = world.clock.now
    world.registry.end_experiment("ltv", "challenger", reason="x", actor="ann")
    world.settle()
    assert [each.envelope_id for each in world.registry.live_at("ltv", during)] == [champion]
    ((row, step),) = shares_at(world.registry, "ltv", during)
    assert row.envelope_id == challenger
    assert step.reason == "experiment: 50 % by header X-User-Id, begins"


def test_what_both_arms_answer_is_kept(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Over the death of what counts, of the controller, and of the cluster; and after the end."""
    champion, challenger = arms(world)
    for lose in (lambda: None, world.serve.lose_shares, world.restart, world.serve.lose_everything):
        world.serve.ask("ltv", 100, failing=0)
        world.clock.advance(RECORD_S)
        world.settle()
        lose()
        world.settle()
    world.serve.ask("ltv", 100, failing=1)
    world.registry.end_experiment("ltv", "champion", reason="x", actor="ann")
    world.settle()
    status, printed = run(capsys, "show", "ltv", "--json")
    assert status == 0
    shown = json.loads(printed)
    assert (shown["split"], shown["state"]) == ("50 % by header X-User-Id", "rolled_back")
    assert [
        (each["arm"], each["envelope_id"], each["requests"], each["failed"])
        for each in shown["arms"]
    ] == [
        ("champion", champion, 250, 0),
        ("challenger", challenger, 250, 1),
        ("outside", champion, 0, 0),
    ]
    status, printed = run(capsys, "show", "ltv")
    assert "ltv: 50 % by header X-User-Id, since 2026-03-01 " in printed
    assert "it has ended: rolled_back, rolled back: the champion won the experiment: x" in printed


def test_what_both_arms_answer_is_written_now_and_then(world: World) -> None:
    release = world.releases()[0].id
    assert world.registry.arms(release) == []
    seq = world.registry.last_change()
    counts = []
    for _ in range(12):
        world.serve.ask("ltv", 10)
        world.turn()  # some 2 s
        counts.append(sum(each.requests for each in world.registry.arms(release)))
    assert counts[0] == 10
    assert 1 < len(set(counts)) <= 4
    assert world.registry.last_change() == seq, "it wakes nobody"


def test_one_that_never_was_is_not_shown(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.apply(deployments={"churn": {}})
    status, printed = run(capsys, "show", "churn")
    assert (status, "there was no experiment on churn; `rollout: {strategy: " in printed) == (
        1,
        True,
    )


def test_there_has_to_be_one_to_end_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    _, challenger = arms(world)
    world.registry.end_experiment("ltv", "champion", reason="x", actor="ann")
    world.settle()
    status, printed = run(capsys, "end", "ltv", "--winner", "champion")
    assert (status, "there is no experiment on ltv" in printed) == (1, True)
    world.registry.allow("ltv", challenger, actor="ann")
    while world.states()[-1] != (challenger, "experiment"):
        world.turn()
    with pytest.raises(ConfigError, match="has answered nobody"):
        world.registry.end_experiment("ltv", "challenger", reason="x", actor="ann")


@pytest.mark.parametrize(
    "rollout, message",
    [
        pytest.param({"share": 50}, "needs `share` and `sticky`", id="who-is-who"),
        pytest.param({"sticky": {"field": "x"}}, "needs `share` and `sticky`", id="how-many"),
        pytest.param({"share": 5, "sticky": {}}, "name one", id="neither"),
        pytest.param({"share": 5, "sticky": {"field": "x", "header": "y"}}, "name one", id="both"),
        pytest.param({"share": 5, "sticky": {"header": "x y"}}, "pattern", id="no-header"),
        pytest.param(
            {**ROLLOUT, "steps": [{"share": 5, "minutes": 1}]}, "has no steps", id="steps"
        ),
        pytest.param({**ROLLOUT, "strategy": "replace"}, "only", id="another-strategy"),
    ],
)
def test_what_an_experiment_needs(rollout: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rollout.model_validate({"strategy": "experiment", **rollout})
