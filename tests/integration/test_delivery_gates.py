"""Gates that run on the cluster, from the registry to a fake job server and a fake Serve."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from controller.gate_runner import GateRunner
from envelope.check_process import Task
from ray_runtime.jobs import Job
from tests.delivery_world import World
from tests.fakes import FakeJobs

RULE = {"query": "tags.ok = 'yes'", "deploy_to": "ltv"}
JOB = {"entrypoint": "python validate.py {envelope_id}", "working_dir": "/srv/checks"}
SUCCEEDED = Job(status="succeeded", exit_status=0)
FAILED = Job(status="failed", exit_status=1)


class Gated(World):
    """A world with one live release, whose next ones are judged by a validation job."""

    jobs: FakeJobs

    def step(self) -> None:
        """Let the controller settle, its gates take a step, and settle again."""
        self.settle()
        runner(self).look()
        self.settle()

    def newest(self) -> tuple[str, str]:
        row = self.releases()[0]
        return row.state, row.reason


def runner(world: Gated) -> GateRunner:
    return GateRunner(
        world.registry,
        world.jobs,
        store_url="memory://store",
        environment_of=lambda envelope: {"envelope": {"key": envelope.id}},
        clock=world.clock,
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Gated]:
    world = Gated.open(tmp_path / "registry.db")
    assert isinstance(world, Gated)
    world.jobs = FakeJobs()
    world.apply(deployments={"ltv": {"gates": {"validation_job": JOB}}}, rules={"us": RULE})
    world.save(ok="yes")
    world.step()
    world.jobs.goes(SUCCEEDED)
    world.step()
    assert [state for _, state in world.states()] == ["live"]
    yield world
    world.registry.close()


def test_a_job_that_succeeds_lets_a_candidate_pass(world: Gated) -> None:
    old, new = world.live(), world.save(ok="yes")
    world.settle()
    assert world.newest() == ("candidate", "the validation job is about to run")
    world.step()
    spec = world.jobs.submitted[-1]
    assert spec.entrypoint == f"python validate.py {new}"
    assert spec.runtime_env["working_dir"] == "/srv/checks"
    assert spec.runtime_env["env_vars"]["ENVELOPE_CANDIDATE"] == new
    assert spec.runtime_env["env_vars"]["ENVELOPE_LIVE"] == old
    world.jobs.goes(Job(status="running"))
    world.step()
    assert world.newest() == (
        "candidate",
        f"the validation job is running, as job {spec.job_id}",
    )
    assert world.live() == old
    world.jobs.goes(SUCCEEDED)
    world.step()
    assert world.live() == new
    (release, *_) = world.releases()
    reasons = {e.to_state: e.reason for e in world.registry.release_events(release.id)}
    assert f"the validation job succeeded (job {spec.job_id})" in reasons["gated"]


def test_a_job_that_fails_rejects_with_the_end_of_its_log(world: Gated) -> None:
    old, new = world.live(), world.save(ok="yes")
    world.step()
    world.jobs.goes(FAILED, "auc is 0.4")
    world.step()
    state, reason = world.newest()
    assert state == "rejected"
    assert "failed with exit status 1" in reason
    assert reason.endswith("\nauc is 0.4")
    assert world.live() == old
    world.restart()
    world.tag(new, note="please")
    world.step()
    assert world.states()[-1] == (new, "rejected"), "what is recorded outlives the process"
    assert [spec for spec in world.jobs.submitted if new in spec.job_id][1:] == []


def test_by_hand_a_job_that_failed_runs_again(world: Gated) -> None:
    new = world.save(ok="yes")
    world.step()
    world.jobs.goes(FAILED)
    world.step()
    world.registry.request_deploy("ltv", new, actor="bob")
    world.step()
    assert world.jobs.submitted[-1].job_id.endswith("--2")
    world.jobs.goes(SUCCEEDED)
    world.step()
    assert world.live() == new


def test_a_job_may_set_the_tag_that_another_gate_waits_for(world: Gated) -> None:
    gates = {"validation_job": JOB, "tags": {"approved": "yes"}}
    world.apply(deployments={"ltv": {"gates": gates}})
    new = world.save(ok="yes")
    world.step()
    assert "tag approved is not set" in world.newest()[1]
    world.tag(new, approved="yes")
    world.jobs.goes(SUCCEEDED)
    world.step()
    assert world.live() == new


@pytest.mark.parametrize(
    "job, said",
    [
        pytest.param(Job(status="stopped"), "was stopped by somebody", id="stopped"),
        pytest.param(Job(status="failed", message="no room"), "could not be started", id="start"),
        pytest.param(Job(status="failed", exit_status=-9), "was ended by a signal", id="killed"),
    ],
)
def test_what_cannot_be_judged_is_held(world: Gated, job: Job, said: str) -> None:
    old, new = world.live(), world.save(ok="yes")
    world.step()
    world.jobs.goes(job)
    world.step()
    state, reason = world.newest()
    assert state == "held"
    assert said in reason
    assert f"`envelope deploy {new} --to ltv` runs it again" in reason
    assert world.live() == old


def test_a_job_that_takes_too_long_is_stopped_and_holds(world: Gated) -> None:
    world.save(ok="yes")
    world.step()
    world.jobs.goes(Job(status="running"))
    world.step()
    world.clock.advance(3601)
    world.step()
    assert world.jobs.stopped == [world.jobs.submitted[-1].job_id]
    assert world.newest()[0] == "held"
    assert "did not end within 3600 s (timeout_s) and was stopped" in world.newest()[1]


def test_without_a_job_server_a_candidate_waits_and_says_so(world: Gated) -> None:
    old, new = world.live(), world.save(ok="yes")
    world.jobs.is_down = True
    world.step()
    assert world.newest() == (
        "candidate",
        "the validation job is about to run: the job server does not answer",
    )
    assert world.live() == old
    world.jobs.is_down = False
    world.step()
    world.jobs.goes(SUCCEEDED)
    world.step()
    assert world.live() == new


def test_what_no_job_server_takes_is_held(world: Gated) -> None:
    world.save(ok="yes")
    world.jobs.refuses = "/srv/checks is no folder"
    world.step()
    assert world.newest()[0] == "held"
    assert "cannot run: /srv/checks is no folder" in world.newest()[1]


def test_a_job_that_went_with_its_cluster_runs_again_under_its_id(world: Gated) -> None:
    new = world.save(ok="yes")
    world.step()
    world.jobs.goes(Job(status="running"))
    world.step()
    world.jobs.lose_everything()
    world.step()
    first, second = world.jobs.submitted[-2:]
    assert first == second
    world.jobs.goes(SUCCEEDED)
    world.step()
    assert world.live() == new


def test_a_rollback_does_not_wait_for_a_job(world: Gated) -> None:
    old, new = str(world.live()), world.save(ok="yes")
    world.step()
    world.jobs.goes(SUCCEEDED)
    world.step()
    assert world.live() == new
    count = len(world.jobs.submitted)
    world.registry.request_rollback("ltv", new, back_to=old, reason="bad", actor="bob")
    world.settle()
    assert world.live() == old
    assert len(world.jobs.submitted) == count


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 4))
def test_a_killed_controller_submits_no_second_job(world: Gated, write: int, before: bool) -> None:
    new = world.save(ok="yes")
    world.kill_at(write, before=before)
    for _ in range(8):
        world.turn()
        runner(world).look()
        runner(world).look()  # of another controller
    assert len([spec for spec in world.jobs.submitted if new in spec.job_id]) == 1
    world.jobs.goes(SUCCEEDED)
    world.step()
    assert world.live() == new


def test_a_check_runs_in_the_environment_of_the_candidate(world: Gated) -> None:
    check = {"function": "team.checks:fair", "working_dir": "/srv/checks"}
    gates = {"check": check}
    world.apply(deployments={"ltv": {"gates": gates, "resources": {"num_cpus": 2}}})
    old = world.live()
    world.step()
    world.jobs.goes(SUCCEEDED, 'verdict: {"state":"passed","reason":"passed"}')
    world.step()
    new = world.save(ok="yes")
    world.step()
    spec = world.jobs.submitted[-1]
    assert spec.runtime_env["envelope"] == {"key": new}
    assert spec.runtime_env["working_dir"] == "/srv/checks"
    assert spec.num_cpus == 2
    task = msgspec.json.decode(shlex.split(spec.entrypoint)[-1], type=Task)
    assert (task.envelope_id, task.live, task.is_here) == (new, old, True)
    world.jobs.goes(FAILED, 'verdict: {"state":"refused","reason":"refused it: unfair"}')
    world.step()
    assert world.newest() == (
        "rejected",
        f"the check team.checks:fair refused it: unfair (job {spec.job_id})",
    )
    assert world.live() == old
