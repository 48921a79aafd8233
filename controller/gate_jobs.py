"""Gates that run as jobs of the cluster: what is asked for, and what follows from how a job is.

Pure: values in, values out. `gate_runner` carries it out.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from envelope.check_process import VERDICT, Task, Verdict
from envelope.config import Check, DeploymentConfig, Resources, ValidationJob
from envelope.registry import EnvelopeRow, GateRun, RunState
from ray_runtime.jobs import Job, JobSpec

MOST_LINES = 50  # of a job's log that a reason holds
MOST_LETTERS = 4000
SIGNALS = range(129, 193)  # a shell's status for a command that signal n ended is 128 + n

RunningGate = Check | ValidationJob


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedGate:
    """A gate that runs. gate: its kind and a hash of its config, so that another is another run.

    what: in a few words. spec: what the runner is told.
    """

    gate: str
    what: str
    spec: Mapping[str, Any]


def gates_that_run(config: DeploymentConfig) -> list[AskedGate]:
    """The gates of a deployment that run as jobs."""
    found: list[AskedGate] = []
    if check := config.gates.check:
        # It loads the candidate, so that it needs what a replica needs.
        resources = config.resources.model_dump(mode="json")
        found.append(_asked("check", f"the check {check.function}", check, resources=resources))
    if job := config.gates.validation_job:
        found.append(_asked("validation_job", "the validation job", job))
    return found


def _asked(kind: str, what: str, config: RunningGate, **more: Any) -> AskedGate:
    spec = config.model_dump(mode="json")
    digest = hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()[:8]
    return AskedGate(gate=f"{kind}-{digest}", what=what, spec={kind: spec, **more})


def gate_of(run: GateRun) -> RunningGate:
    """What is to run."""
    if "check" in run.spec:
        return Check.model_validate(run.spec["check"])
    return ValidationJob.model_validate(run.spec["validation_job"])


def validation_job(gate: ValidationJob, run: GateRun, live: str | None) -> JobSpec:
    """The job of a validation job, for one candidate. live: the envelope that is live, if any."""
    command = gate.entrypoint.replace("{envelope_id}", run.envelope_id)
    return JobSpec(
        job_id=run.job_id,
        entrypoint=command.replace("{deployment}", run.deployment),
        runtime_env=_runtime_env(gate, run, live, actor="validation-job"),
        metadata=_metadata(run),
    )


def check_job(
    gate: Check,
    run: GateRun,
    live: str | None,
    *,
    envelope: EnvelopeRow,
    store_url: str,
    environment: Mapping[str, Any],
) -> JobSpec:
    """The job of a check, for one candidate. environment: the runtime_env of the candidate."""
    task = Task(
        function=gate.function,
        is_here=gate.working_dir is not None,
        store_url=store_url,
        envelope_id=envelope.id,
        manifest_sha256=envelope.manifest_sha256,
        function_hashes=dict(envelope.functions),
        live=live,
    )
    resources = Resources.model_validate(run.spec["resources"])
    return JobSpec(
        job_id=run.job_id,
        entrypoint="python -m envelope.check_process "
        + shlex.quote(msgspec.json.encode(task).decode()),
        runtime_env={**environment, **_runtime_env(gate, run, live, actor="check")},
        metadata=_metadata(run),
        num_cpus=resources.num_cpus,
        num_gpus=resources.num_gpus,
        memory_bytes=resources.memory_bytes or 0,
    )


def _runtime_env(gate: RunningGate, run: GateRun, live: str | None, actor: str) -> dict[str, Any]:
    """The folder that a job starts in, and what it finds in its environment.

    ENVELOPE_ACTOR: who sets the tags and logs the metrics that the job does.
    """
    variables = {
        "ENVELOPE_CANDIDATE": run.envelope_id,
        "ENVELOPE_DEPLOYMENT": run.deployment,
        "ENVELOPE_LIVE": live or "",
        "ENVELOPE_ACTOR": f"{actor}@{run.deployment}",
    }
    folder = {} if gate.working_dir is None else {"working_dir": gate.working_dir}
    return {"env_vars": variables, **folder}


def _metadata(run: GateRun) -> dict[str, str]:
    return {"envelope_gate": run.gate, "envelope_candidate": run.envelope_id}


# --- what follows


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """There is no job of this id: it was never submitted, or went with its cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """It has run for longer than it may."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Record how far it is."""

    state: RunState
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """It has ended by itself, and its log says the rest."""


Step = Submit | Stop | Record | Judge | None


def next_step(run: GateRun, job: Job | None, timeout_s: float, now: datetime) -> Step:
    """What is to do about a run that has not ended; None: wait."""
    if job is None:
        return Submit()
    match job.status:
        case "pending":
            return None
        case "running" if run.state == "asked":
            return Record(state="running")
        case "running":
            if (now - run.at).total_seconds() < timeout_s:
                return None
            return Stop(reason=f"did not end within {timeout_s:g} s (timeout_s) and was stopped")
        case "stopped":
            return Record(state="unjudged", reason=f"was stopped by somebody (job {run.job_id})")
        case "succeeded":
            return Judge()
        case "failed":
            if job.exit_status is None:
                return Record(
                    state="unjudged", reason=_ended(run, "could not be started", job.message)
                )
            return Judge()


def judge_validation(run: GateRun, job: Job, log: Sequence[str]) -> Record:
    """What a validation job says that has ended by itself. log: the end of what it wrote.

    One that a signal ended, for want of memory say, has not judged.
    """
    status = job.exit_status
    if job.status == "succeeded":
        return Record(state="passed", reason=f"succeeded (job {run.job_id})")
    if status is None or status < 0 or status in SIGNALS:
        return Record(state="unjudged", reason=_ended(run, "was ended by a signal", *log))
    return Record(state="refused", reason=_ended(run, f"failed with exit status {status}", *log))


def judge_check(run: GateRun, job: Job, log: Sequence[str]) -> Record:
    """What a check says that has ended by itself: what it printed last. log: the end of that.

    Without a verdict there is none, whatever its exit status is.
    """
    line = next((line for line in reversed(log) if line.startswith(VERDICT)), "")
    try:
        verdict = msgspec.json.decode(line.removeprefix(VERDICT), type=Verdict)
    except msgspec.DecodeError:
        status = job.exit_status
        return Record(
            state="unjudged", reason=_ended(run, f"ended with exit status {status}", *log)
        )
    if verdict.state == "passed" and job.status != "succeeded":
        how = f"passed and then ended with exit status {job.exit_status}"
        return Record(state="unjudged", reason=_ended(run, how))
    return Record(state=verdict.state, reason=_ended(run, _cut(verdict.reason)))


def _ended(run: GateRun, how: str, *lines: str) -> str:
    """How it ended, and the last lines: at most 50, and 4,000 letters."""
    text = "\n".join(lines[-MOST_LINES:]).strip().replace("\0", "")
    if len(text) > MOST_LETTERS:
        text = f"... {text[-MOST_LETTERS:]}"
    return f"{how} (job {run.job_id})" + (f":\n{text}" if text else "")


def _cut(text: str) -> str:
    text = text.strip().replace("\0", "")
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]} ..."
