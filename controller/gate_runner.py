"""Runs the gates that are jobs of the cluster, on a thread of its own: the loop waits for none.

It follows what is recorded, like the loop does, and remembers nothing: each look takes every run
that has not ended one step further. Two at work at once do no harm, since a job has one id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from threading import Event, Thread
from typing import Any, Protocol

from controller.gate_jobs import (
    MOST_LINES,
    Judge,
    Record,
    RunningGate,
    Stop,
    Submit,
    check_job,
    gate_of,
    judge_check,
    judge_validation,
    next_step,
    validation_job,
)
from controller.view import live_row
from envelope.config import Check
from envelope.errors import ClusterError, EnvelopeError, StorageError
from envelope.registry import EnvelopeRow, GateRun, Registry
from ray_runtime.jobs import Job, JobSpec

ACTOR = "controller"
LOOK_S = 1.0

log = logging.getLogger(__name__)


class Jobs(Protocol):
    """What is needed of a job server. Every call may raise ClusterError."""

    def look(self, job_id: str) -> Job | None:
        """A job as it is now; None when there is none of this id."""

    def submit(self, spec: JobSpec) -> None:
        """Hand a job over, unless there is one of its id. Raises ConfigError for what cannot be."""

    def stop(self, job_id: str) -> None:
        """Ask a job to end."""

    def last_lines(self, job_id: str, count: int) -> Sequence[str]:
        """The end of what a job has written."""


class GateRunner:
    """Takes runs to their end, while this process leads.

    store_url: where candidates lie. environment_of: the runtime_env that one is loaded in.
    """

    def __init__(
        self,
        registry: Registry,
        jobs: Jobs,
        *,
        store_url: str,
        environment_of: Callable[[EnvelopeRow], Mapping[str, Any]],
        clock: Callable[[], datetime],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._registry = registry
        self._jobs = jobs
        self._store_url = store_url
        self._environment_of = environment_of
        self._clock = clock
        self._leads = leads

    def start(self, stop: Event) -> Thread:
        """Run until `stop`, on a thread that does not keep the process."""
        thread = Thread(target=self.run, args=(stop,), name="gates", daemon=True)
        thread.start()
        return thread

    def run(self, stop: Event) -> None:
        """Look again and again until `stop`."""
        while not stop.wait(LOOK_S):
            try:
                if self._leads():
                    self.look()
            except Exception as exc:  # a thread that ends would let releases wait for ever
                log.warning("gates wait", extra={"reason": f"{type(exc).__name__}: {exc}"})

    def look(self) -> None:
        """Take each run that has not ended one step further. Raises StorageError."""
        for run in self._registry.gate_runs_under_way():
            try:
                self._advance(run)
            except ClusterError as exc:
                # What runs goes on running; what has not begun says why.
                if run.state == "asked" and run.reason != str(exc):
                    self._record(run, Record(state="asked", reason=str(exc)))
            except StorageError:
                raise
            except EnvelopeError as exc:
                self._record(run, Record(state="unjudged", reason=f"cannot run: {exc}"))

    def _advance(self, run: GateRun) -> None:
        gate = gate_of(run)
        job = self._jobs.look(run.job_id)
        step = next_step(run, job, gate.timeout_s, self._clock())
        match step:
            case Submit():
                self._submit(run, gate)
            case Stop(reason=reason):
                self._jobs.stop(run.job_id)
                self._record(run, Record(state="unjudged", reason=f"{reason} (job {run.job_id})"))
            case Record():
                self._record(run, step)
            case Judge():
                assert job is not None
                lines = self._jobs.last_lines(run.job_id, MOST_LINES)
                judge = judge_check if isinstance(gate, Check) else judge_validation
                self._record(run, judge(run, job, lines))

    def _submit(self, run: GateRun, gate: RunningGate) -> None:
        if run.state == "running":  # its cluster is gone; its time begins anew
            self._record(run, Record(state="asked"))
        self._jobs.submit(self._job(run, gate))
        log.info("gate submitted", extra={"deployment": run.deployment, "job": run.job_id})

    def _job(self, run: GateRun, gate: RunningGate) -> JobSpec:
        live = self._live(run)
        if not isinstance(gate, Check):
            return validation_job(gate, run, live)
        envelope = self._registry.envelope(run.envelope_id)
        return check_job(
            gate,
            run,
            live,
            envelope=envelope,
            store_url=self._store_url,
            environment=self._environment_of(envelope),
        )

    def _live(self, run: GateRun) -> str | None:
        """The envelope that a candidate would replace: not itself, and none that is rolled back."""
        row = live_row(self._registry.releases(run.deployment, open_only=True))
        excluded = [each.envelope_id for each in self._registry.exclusions(run.deployment)]
        if row is None or row.envelope_id in (run.envelope_id, *excluded):
            return None
        return row.envelope_id

    def _record(self, run: GateRun, record: Record) -> None:
        if self._registry.record_gate_run(run, record.state, record.reason, actor=ACTOR):
            facts = {"deployment": run.deployment, "job": run.job_id, "state": record.state}
            log.info("gate run", extra=facts | {"reason": record.reason})
