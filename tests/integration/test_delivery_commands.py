"""The commands of delivery, as typed, beside a controller with a fake Serve."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envelope.cli import main
from envelope.connection import disconnect
from tests.delivery_world import World
from tests.fakes import Behaviour
from tests.registry_server import RegistryServer

YAML = """
deployments:
  ltv: {num_replicas: 1}
rules:
  us: {query: tags.ok = 'yes', deploy_to: ltv}
"""
Run = Callable[..., tuple[int, str]]


@pytest.fixture(params=["embedded", "server"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """The commands reach the registry itself, or through a server; the controller has it."""
    monkeypatch.setenv("ENVELOPE_HOME", str(tmp_path))
    monkeypatch.setenv("ENVELOPE_ACTOR", "ann")
    for name in ("ENVELOPE_REGISTRY", "ENVELOPE_STORE", "ENVELOPE_SERVE_PORT"):
        monkeypatch.delenv(name, raising=False)
    database = tmp_path / "registry.db"
    if request.param == "server":
        server: RegistryServer = request.getfixturevalue("server")
        name = uuid.uuid4().hex
        database = server.folder / name / "registry.db"
        database.parent.mkdir()
        monkeypatch.setenv("ENVELOPE_REGISTRY", server.url(name))
    world = World.open(database)
    yield world
    disconnect()
    world.registry.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit status, and what it printed on both streams."""

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return call


@pytest.fixture
def serving(world: World) -> World:
    world.apply(
        deployments={"ltv": {}}, rules={"us": {"query": "tags.ok = 'yes'", "deploy_to": "ltv"}}
    )
    world.save(ok="yes")
    world.settle()
    return world


def test_apply_says_what_changed(world: World, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "team.yaml"
    path.write_text(YAML)
    status, printed = run("apply", "-f", str(path))
    assert status == 0
    assert printed.splitlines() == [
        "deployment ltv: created",
        "rule us: created",
        "this waits: no controller was ever seen at this registry; start one with `envelope up`",
    ]
    assert run("apply", "-f", str(path))[1].splitlines()[0] == "nothing changed"
    path.write_text(YAML.replace("1", "2"))
    assert "deployment ltv: num_replicas 1 -> 2" in run("apply", "-f", str(tmp_path))[1]


@pytest.mark.parametrize(
    "text, message",
    [
        pytest.param("deployment: {}", "deployment: unknown key", id="unknown-key"),
        pytest.param(
            "rules: {us: {query: 'tags.a =', deploy_to: ltv}}\ndeployments: {ltv: {}}",
            "the query of rule 'us' cannot be understood",
            id="query",
        ),
        pytest.param(
            "rules: {us: {query: name = 'a', deploy_to: gone}}",
            "rule 'us' deploys to 'gone', which is no deployment",
            id="unknown-deployment",
        ),
        pytest.param("a: [", "is not YAML", id="not-yaml"),
    ],
)
def test_apply_refuses_and_changes_nothing(
    world: World, run: Run, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "team.yaml"
    path.write_text(text)
    status, printed = run("apply", "-f", str(path))
    assert status == 1
    assert message in printed
    assert world.registry.deployments() == []


def test_deploy_waits_and_shows_every_state(serving: World, run: Run) -> None:
    chosen = serving.save()
    controller = threading.Thread(target=_carry_out, args=(serving, chosen))
    controller.start()
    status, printed = run("deploy", chosen[:20], "--to", "ltv", "--wait", "--timeout", "30")
    controller.join()
    assert status == 0
    states = [line.split()[2] for line in printed.splitlines() if " s  " in line]
    assert states == ["candidate", "gated", "starting", "live"]
    assert printed.splitlines()[-1] == "live at http://127.0.0.1:8000/ltv"


def test_deploy_wait_fails_with_the_reason(serving: World, run: Run) -> None:
    chosen = serving.save(Behaviour(kind="fails", message="the sample is answered differently"))
    controller = threading.Thread(target=_carry_out, args=(serving, chosen))
    controller.start()
    status, printed = run("deploy", chosen, "--to", "ltv", "--wait")
    controller.join()
    assert status == 1
    assert "failed     envelope" in printed
    assert "the sample is answered differently" in printed
    assert "see `envelope explain ltv`" in printed


def _carry_out(world: World, envelope_id: str) -> None:
    for _ in range(1000):
        world.registry.wait_for_change(world.controller.view.seen, 0.01)
        world.turn()
        if any(row.envelope_id == envelope_id and row.live_at for row in world.releases()):
            return
        if (envelope_id, "failed") in world.states():
            return


def test_deploy_without_wait_says_what_comes_next(serving: World, run: Run) -> None:
    chosen = serving.save()
    status, printed = run("deploy", chosen, "--to", "ltv", "--until", "8h")
    assert status == 0
    assert f"{chosen} to ltv" in printed
    assert "rules wait until `envelope unpin ltv`" in printed
    (row,) = serving.registry.deployments()
    assert (row.pin_envelope_id, row.pinned_by) == (chosen, "ann")
    assert row.pin_until is not None


@pytest.mark.parametrize(
    "arguments, message",
    [
        pytest.param(["deploy", "NOPE", "--to", "ltv"], "NOPE", id="unknown-envelope"),
        pytest.param(
            ["undeploy", "gone"], "there is no deployment 'gone'; there are: ltv", id="undeploy"
        ),
        pytest.param(["pin", "gone"], "there is no deployment 'gone'", id="pin"),
        pytest.param(["unpin", "gone"], "there is no deployment 'gone'", id="unpin"),
        pytest.param(["releases", "gone"], "there is no deployment 'gone'", id="releases"),
        pytest.param(["explain", "gone"], "there is no deployment 'gone'", id="explain"),
    ],
)
def test_what_is_not_there(serving: World, run: Run, arguments: list[str], message: str) -> None:
    status, printed = run(*arguments)
    assert status == 1
    assert message in printed


@pytest.mark.parametrize("text", ["tomorrow", "2026-03-01T18:00"])
def test_a_time_that_cannot_be_is_wrong_usage(serving: World, run: Run, text: str) -> None:
    chosen = str(serving.live())
    assert run("deploy", chosen, "--to", "ltv", "--until", text)[0] == 2


def test_pin_keeps_what_is_live(serving: World, run: Run) -> None:
    live = serving.live()
    assert run("pin", "ltv") == (0, f"ltv is pinned to {live}; `envelope unpin ltv` ends it\n")
    serving.save(ok="yes")
    serving.settle()
    assert serving.live() == live
    assert "its rules decide" in run("unpin", "ltv")[1]
    assert run("unpin", "ltv") == (0, "ltv was not pinned\n")
    serving.settle()
    assert serving.live() != live


def test_pin_needs_something_live(world: World, run: Run) -> None:
    world.apply(deployments={"ltv": {}})
    status, printed = run("pin", "ltv")
    assert status == 1
    assert "`envelope deploy ID --to ltv` pins an envelope of your choice" in printed


def test_undeploy(serving: World, run: Run) -> None:
    assert "ltv is being undeployed" in run("undeploy", "ltv")[1]
    serving.settle()
    assert run("undeploy", "ltv") == (0, "ltv is undeployed already\n")


def test_releases_are_listed_newest_first(serving: World, run: Run) -> None:
    old, new = serving.live(), serving.save(ok="yes")
    serving.settle()
    lines = run("releases", "ltv")[1].splitlines()
    assert [line.split()[3:5] for line in lines] == [[new, "live"], [old, "retired"]]
    assert "rule us: answers at its URL" in lines[0]
    limited = run("releases", "ltv", "--limit", "1")[1]
    assert "... and more; --limit 0 lists all" in limited
    records = [json.loads(line) for line in run("releases", "ltv", "--json")[1].splitlines()]
    assert [record["state"] for record in records] == ["live", "retired"]


def test_deployments_and_rules_are_listed(serving: World, run: Run) -> None:
    live = serving.live()
    assert f"{live}  http://127.0.0.1:8000/ltv" in run("deployments")[1]
    assert json.loads(run("deployments", "--json")[1])["live_envelope_id"] == live
    assert run("rules")[1] == "us -> ltv  priority 0\n    tags.ok = 'yes'\n"
    assert json.loads(run("rules", "--json")[1])["query"] == "tags.ok = 'yes'"


def test_releases_show_what_the_gates_found(serving: World, run: Run) -> None:
    old = serving.live()
    serving.save(ok="yes")
    serving.settle()
    printed = run("releases", "ltv", "--events", "--limit", "1")[1]
    assert f"controller: every gate passed: schema compatible with {old}" in printed
    record = json.loads(run("releases", "ltv", "--json", "--limit", "1")[1].splitlines()[0])
    states = [event["to_state"] for event in record["events"]]
    assert states == ["candidate", "gated", "starting", "live"]


def test_rollback_says_what_comes_next(serving: World, run: Run) -> None:
    old, new = serving.live(), serving.save(ok="yes")
    serving.settle()
    status, printed = run("rollback", "ltv", "--reason", "wrong in DE")
    assert status == 0
    assert printed.splitlines()[:2] == [
        f"ltv goes back from {new} to {old}",
        f"{new} stays off ltv until `envelope allow {new} --to ltv`; newer envelopes still come",
    ]
    serving.settle()
    assert serving.live() == old
    why = opinions(run)[new]
    assert "by ann: wrong in DE" in why
    assert f"`envelope allow {new} --to ltv` lets it come back" in why
    assert "rolled_back rule us: rolled back: wrong in DE" in run("releases", "ltv")[1]
    assert run("allow", new, "--to", "ltv") == (0, f"{new} is allowed on ltv again\n")
    assert run("allow", new, "--to", "ltv") == (0, f"{new} was not rolled back on ltv\n")


def test_rollback_to_a_release_of_a_pinned_deployment(serving: World, run: Run) -> None:
    first = serving.releases()[0]
    for _ in range(2):
        serving.save(ok="yes")
        serving.settle()
    run("pin", "ltv")
    live = serving.live()
    printed = run("rollback", "ltv", "--to", first.id)[1]
    assert f"ltv goes back from {live} to {first.envelope_id}" in printed
    assert f"its pin to {live} by ann is taken off" in printed
    serving.settle()
    assert serving.live() == first.envelope_id


def test_rollback_needs_somewhere_to_go(serving: World, run: Run) -> None:
    status, printed = run("rollback", "ltv")
    assert status == 1
    assert "ltv has no earlier release of another envelope" in printed
    assert "`envelope deploy ID --to ltv` serves any envelope" in printed
    assert "not one release '01X'" in run("rollback", "ltv", "--to", "01X")[1]


def test_pause_and_resume(serving: World, run: Run) -> None:
    assert run("pause")[0] == 2
    assert "all rules are paused" in run("pause", "--all", "--reason", "incident 7")[1]
    assert "paused already" in run("pause", "--all")[1]
    assert "wanted: no other, paused by ann: incident 7" in run("explain", "ltv")[1]
    assert "rules decide again" in run("resume")[1]
    assert "were not paused" in run("resume")[1]


# --- explain


def opinions(run: Run) -> dict[str, str]:
    found = json.loads(run("explain", "ltv", "--json")[1])
    return {each["envelope_id"]: each["why"] for each in found["candidates"]}


def test_explain_gives_a_reason_for_every_candidate(serving: World, run: Run) -> None:
    oldest = str(serving.live())
    live = serving.save(ok="yes")
    serving.settle()
    failed = serving.save(Behaviour(kind="fails", message="sample differs"), ok="yes")
    serving.settle()
    other = serving.save()
    found = opinions(run)
    assert found[live] == "newest match of rule us"
    assert found[oldest] == f"older than {live}"
    assert "failed at 2026-03-01" in found[failed]
    assert "sample differs" in found[failed]
    assert f"`envelope deploy {failed} --to ltv` tries it again" in found[failed]
    assert found[other] == "matches no rule of this deployment"
    printed = run("explain", "ltv")[1]
    assert f"ltv: {live} is live, since 2026-03-01" in printed
    assert f"{live}  2026-03-01" in printed
    assert "wanted (live): newest match of rule us" in printed


def test_explain_says_what_the_gates_say(serving: World, run: Run) -> None:
    gates = {"metrics": ["auc >= 0.8"]}
    serving.apply(deployments={"ltv": {"gates": gates}})
    serving.log(str(serving.live()), auc=0.9)
    rejected = serving.save(ok="yes", metrics={"auc": 0.1})
    serving.settle()
    held = serving.save(ok="yes")
    serving.settle()
    printed = run("explain", "ltv")[1]
    assert "gates: auc >= 0.8, schema compatible with live, sample replay" in printed
    assert f"{held} is held: {held} has no metric auc" in printed
    assert "auc is 0.1, the gate `auc >= 0.8` wants >= 0.8" in opinions(run)[rejected]


def test_explain_pins_priorities_and_pauses(serving: World, run: Run) -> None:
    low = str(serving.live())
    serving.apply(
        rules={
            "hotfix": {"query": "tags.fix = 'yes'", "deploy_to": "ltv", "priority": 5},
            "old": {"query": "tags.old = 'yes'", "deploy_to": "ltv", "paused": True},
        }
    )
    fix, paused = serving.save(fix="yes"), serving.save(old="yes")
    serving.settle()
    found = opinions(run)
    assert found[low] == "rule hotfix has priority 5, us has 0"
    assert found[paused] == "rule old is paused"
    run("pin", "ltv")
    found = opinions(run)
    assert found[low] == f"the deployment is pinned to {fix}"
    assert found[fix] == "pinned by ann"


def test_an_old_one_is_overdue(serving: World, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    serving.apply(deployments={"ltv": {"max_age": "8d"}})
    serving.settle()
    serving.clock.advance(8 * 86_400 + 7200)
    serving.settle()
    serving.settle()
    reasons = [each.reason for each in caplog.records if each.msg == "deployment is overdue"]  # type: ignore[attr-defined]
    assert reasons == [
        "what is live was saved 8 d 2 h ago, max_age is 8d: no newer envelope went live"
    ]
    assert "OVERDUE: what is live was saved" in run("explain", "ltv")[1]  # by the real clock
    assert "OVERDUE: what is live was saved" in run("deployments")[1]
    assert json.loads(run("deployments", "--json")[1])["alarm"]
    assert "overdue     ltv: what is live was saved" in run("status")[1]
    serving.save(ok="yes")
    serving.settle()
    assert serving.turn() == []
    assert [each.msg for each in caplog.records].count("deployment is overdue") == 1


def test_explain_unmatched_and_undeployed(serving: World, run: Run) -> None:
    live = str(serving.live())
    serving.tag(live, ok=None)
    serving.settle()
    printed = run("explain", "ltv")[1]
    assert "wanted: no other, unmatched: no envelope matches us" in printed
    assert "not wanted (live): matches no rule of this deployment" in printed
    run("undeploy", "ltv")
    serving.settle()
    assert "ltv: nothing is live" in run("explain", "ltv")[1]
