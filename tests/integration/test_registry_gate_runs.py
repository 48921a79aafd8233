"""What is recorded of gates that run: once each, until it has ended, on both databases."""

from __future__ import annotations

from envelope.config import DeploymentConfig, DesiredState
from envelope.registry import GateRun, Registry
from tests.manifests import a_manifest

STATE = DesiredState(deployments={"ltv": DeploymentConfig()})
SPEC = {"validation_job": {"entrypoint": "true"}}


def ask(registry: Registry, envelope_id: str) -> bool:
    return registry.ask_gate_run("ltv", envelope_id, "gate-1", spec=SPEC, actor="controller")


def asked(registry: Registry) -> tuple[str, GateRun]:
    """An envelope whose release waits for a gate that was asked for."""
    registry.apply_state(STATE, actor="ann")
    envelope_id = registry.register(a_manifest(), "c" * 64, actor="ann").id
    registry.request_deploy("ltv", envelope_id, actor="ann")
    assert ask(registry, envelope_id)
    (run,) = registry.gate_runs("ltv", envelope_id)
    return envelope_id, run


def test_a_gate_is_asked_for_once(registry: Registry) -> None:
    envelope_id, run = asked(registry)
    assert (run.state, run.attempt, run.spec) == ("asked", 1, SPEC)
    last = registry.last_change()
    assert not ask(registry, envelope_id)
    assert (registry.last_change(), registry.gate_runs("ltv", envelope_id)) == (last, [run])


def test_what_has_ended_is_not_written_over(registry: Registry) -> None:
    envelope_id, run = asked(registry)
    assert registry.record_gate_run(run, "running", "", actor="controller")
    assert registry.record_gate_run(run, "refused", "auc 0.4", actor="controller")
    last = registry.last_change()
    assert not registry.record_gate_run(run, "passed", "", actor="another")
    assert registry.last_change() == last
    (found,) = registry.gate_runs("ltv", envelope_id)
    assert (found.state, found.reason) == ("refused", "auc 0.4")
    change = registry.recent_changes(kind="gate_run")[0]
    assert change.key == envelope_id
    assert change.detail is not None
    assert change.detail["reason"] == "auc 0.4"


def test_by_hand_what_did_not_pass_runs_again(registry: Registry) -> None:
    envelope_id, run = asked(registry)
    registry.record_gate_run(run, "unjudged", "was stopped", actor="controller")
    registry.request_deploy("ltv", envelope_id, actor="ann")
    (again,) = registry.gate_runs("ltv", envelope_id)
    assert (again.state, again.attempt, again.reason) == ("asked", 2, "")
    assert again.job_id != run.job_id
    assert not registry.record_gate_run(run, "passed", "", actor="late"), "of another attempt"
    registry.record_gate_run(again, "passed", "succeeded", actor="controller")
    registry.request_deploy("ltv", envelope_id, actor="ann")
    assert registry.gate_runs("ltv", envelope_id)[0].state == "passed"


def test_what_is_under_way(registry: Registry) -> None:
    _, run = asked(registry)
    assert registry.gate_runs_under_way() == [run]
    for release in registry.releases("ltv"):
        registry.move_release(release.id, "retired", reason="superseded", actor="controller")
    assert registry.gate_runs_under_way() == [], "nobody waits for it any more"
    registry.record_gate_run(run, "running", "", actor="controller")
    (running,) = registry.gate_runs_under_way()
    assert running.state == "running", "what runs is followed to its end"
    registry.record_gate_run(running, "passed", "", actor="controller")
    assert registry.gate_runs_under_way() == []
