"""Gates that run: what follows from how a job is, and what its end says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.gate_jobs import (
    Judge,
    Record,
    Step,
    Stop,
    Submit,
    gates_that_run,
    judge_check,
    judge_validation,
    next_step,
    validation_job,
)
from envelope.config import DeploymentConfig, ValidationJob
from envelope.registry import GateRun
from ray_runtime.jobs import Job
from tests.fakes import START

ASKED = GateRun(
    deployment="ltv",
    envelope_id="NEW",
    gate="validation_job-1",
    spec={},
    attempt=1,
    state="asked",
    reason="",
    at=START,
)
RUNNING = replace(ASKED, state="running")
JOB_ID = "ltv--NEW--validation_job-1"


@pytest.mark.parametrize(
    "run, job, after_s, expected",
    [
        pytest.param(ASKED, None, 0, Submit(), id="not-there-yet"),
        pytest.param(RUNNING, None, 0, Submit(), id="gone-with-its-cluster"),
        pytest.param(ASKED, Job(status="pending"), 9999, None, id="waits-for-room-or-environment"),
        pytest.param(ASKED, Job(status="running"), 9999, Record(state="running"), id="begins"),
        pytest.param(RUNNING, Job(status="running"), 59, None, id="runs"),
        pytest.param(
            RUNNING,
            Job(status="running"),
            60,
            Stop(reason="did not end within 60 s (timeout_s) and was stopped"),
            id="runs-for-too-long",
        ),
        pytest.param(
            RUNNING,
            Job(status="stopped"),
            1,
            Record(state="unjudged", reason=f"was stopped by somebody (job {JOB_ID})"),
            id="stopped",
        ),
        pytest.param(RUNNING, Job(status="succeeded", exit_status=0), 99, Judge(), id="succeeded"),
        pytest.param(ASKED, Job(status="failed", exit_status=1), 0, Judge(), id="failed-at-once"),
        pytest.param(
            ASKED,
            Job(status="failed", message="no module named x"),
            0,
            Record(
                state="unjudged", reason=f"could not be started (job {JOB_ID}):\nno module named x"
            ),
            id="never-started",
        ),
    ],
)
def test_next_step(run: GateRun, job: Job | None, after_s: float, expected: Step) -> None:
    assert next_step(run, job, 60, START + timedelta(seconds=after_s)) == expected


@pytest.mark.parametrize(
    "job, log, expected",
    [
        pytest.param(
            Job(status="succeeded", exit_status=0),
            ["fine"],
            Record(state="passed", reason=f"succeeded (job {JOB_ID})"),
            id="succeeded",
        ),
        pytest.param(
            Job(status="failed", exit_status=1),
            [str(n) for n in range(60)],
            Record(
                state="refused",
                reason=f"failed with exit status 1 (job {JOB_ID}):\n"
                + "\n".join(str(n) for n in range(10, 60)),
            ),
            id="the-last-50-lines",
        ),
        pytest.param(
            Job(status="failed", exit_status=255),
            ["x" * 5000],
            Record(
                state="refused",
                reason=f"failed with exit status 255 (job {JOB_ID}):\n... {'x' * 4000}",
            ),
            id="the-last-4000-letters",
        ),
        pytest.param(
            Job(status="failed", exit_status=-9),
            ["loading"],
            Record(state="unjudged", reason=f"was ended by a signal (job {JOB_ID}):\nloading"),
            id="killed",
        ),
        pytest.param(
            Job(status="failed", exit_status=137),
            [],
            Record(state="unjudged", reason=f"was ended by a signal (job {JOB_ID})"),
            id="killed-below-a-shell",
        ),
    ],
)
def test_judge_validation(job: Job, log: list[str], expected: Record) -> None:
    assert judge_validation(RUNNING, job, log) == expected


@pytest.mark.parametrize(
    "job, log, expected",
    [
        pytest.param(
            Job(status="succeeded", exit_status=0),
            ["loading", 'verdict: {"state":"passed","reason":"passed"}', "bye"],
            Record(state="passed", reason=f"passed (job {JOB_ID})"),
            id="passed",
        ),
        pytest.param(
            Job(status="failed", exit_status=1),
            ['verdict: {"state":"refused","reason":"refused it: unfair"}'],
            Record(state="refused", reason=f"refused it: unfair (job {JOB_ID})"),
            id="refused",
        ),
        pytest.param(
            Job(status="failed", exit_status=1),
            ['verdict: {"state":"unjudged","reason":"raised KeyError: 1"}'],
            Record(state="unjudged", reason=f"raised KeyError: 1 (job {JOB_ID})"),
            id="raised",
        ),
        pytest.param(
            Job(status="succeeded", exit_status=0),
            ["hello"],
            Record(state="unjudged", reason=f"ended with exit status 0 (job {JOB_ID}):\nhello"),
            id="no-verdict-is-none",
        ),
        pytest.param(
            Job(status="failed", exit_status=-11),
            ['verdict: {"state":"passed","reason":"passed"}'],
            Record(
                state="unjudged",
                reason=f"passed and then ended with exit status -11 (job {JOB_ID})",
            ),
            id="crashed-after-it",
        ),
    ],
)
def test_judge_check(job: Job, log: list[str], expected: Record) -> None:
    assert judge_check(RUNNING, job, log) == expected


def test_what_a_job_is_told() -> None:
    gate = ValidationJob(entrypoint="python v.py {envelope_id} --on {deployment} --json '{}'")
    spec = validation_job(gate, ASKED, "OLD")
    assert spec.entrypoint == "python v.py NEW --on ltv --json '{}'"
    assert spec.runtime_env["env_vars"] == {
        "ENVELOPE_CANDIDATE": "NEW",
        "ENVELOPE_DEPLOYMENT": "ltv",
        "ENVELOPE_LIVE": "OLD",
        "ENVELOPE_ACTOR": "validation-job@ltv",
    }


def test_the_id_of_a_job() -> None:
    assert ASKED.job_id == JOB_ID
    assert replace(ASKED, attempt=2).job_id == f"{JOB_ID}--2"


def test_another_config_is_another_gate_and_nothing_else_is() -> None:
    def gate(**config: object) -> list[str]:
        return [each.gate for each in gates_that_run(DeploymentConfig.model_validate(config))]

    job = {"entrypoint": "python v.py"}
    assert gate() == []
    same = gate(gates={"validation_job": job})
    assert gate(gates={"validation_job": job, "proved": True}, max_queue=7) == same
    assert gate(gates={"validation_job": {**job, "timeout_s": 7}}) != same
