"""Gates that run as jobs of the cluster: what is asked for, and what follows from how a job is.

Pure: values in, values out. `gate_runner` carries it out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from envelope.config import DeploymentConfig, ValidationJob
from envelope.registry import GateRun, RunState
from ray_runtime.jobs import Job

MOST_LINES = 50  # of a job's log that a reason holds
MOST_LETTERS = 4000
SIGNALS = range(129, 193)  # a shell's status for a command that signal n ended is 128 + n


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
    job = config.gates.validation_job
    return [] if job is None else [_asked("validation_job", "the validation job", job)]


def _asked(kind: str, what: str, config: ValidationJob) -> AskedGate:
    spec = config.model_dump(mode="json")
    digest = hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()[:8]
    return AskedGate(gate=f"{kind}-{digest}", what=what, spec={kind: spec})


def entrypoint_of(job: ValidationJob, run: GateRun) -> str:
    """The command of a validation job, for one candidate."""
    command = job.entrypoint.replace("{envelope_id}", run.envelope_id)
    return command.replace("{deployment}", run.deployment)


def variables_of(run: GateRun, live: str | None) -> dict[str, str]:
    """What a job finds in its environment. live: the envelope that is live, which may be none.

    ENVELOPE_ACTOR: who sets the tags and logs the metrics that the job does.
    """
    return {
        "ENVELOPE_CANDIDATE": run.envelope_id,
        "ENVELOPE_DEPLOYMENT": run.deployment,
        "ENVELOPE_LIVE": live or "",
        "ENVELOPE_ACTOR": f"validation-job@{run.deployment}",
    }


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


def _ended(run: GateRun, how: str, *lines: str) -> str:
    """How it ended, and the last lines: at most 50, and 4,000 letters."""
    text = "\n".join(lines[-MOST_LINES:]).strip().replace("\0", "")
    if len(text) > MOST_LETTERS:
        text = f"... {text[-MOST_LETTERS:]}"
    return f"{how} (job {run.job_id})" + (f":\n{text}" if text else "")
