"""What gates that run on the cluster have said of an envelope on a deployment.

A run is recorded before its job is submitted, under the id that the job will have: a controller
that is killed in between, or another that takes over, finds it and submits no second one.

asked -> running -> passed, refused, or unjudged: it ended without a verdict
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import insert, select, update

from envelope.registry.changes import Writer
from envelope.registry.engine import Database
from envelope.registry.tables import gate_runs, releases
from envelope.registry.text import check_text

RunState = Literal["asked", "running", "passed", "refused", "unjudged"]
UNDER_WAY = ("asked", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRun:
    """One gate that ran, or is to run, for an envelope on a deployment.

    gate: its kind and a hash of its config. spec: what is to run, as the controller wrote it.
    attempt: from 1; a deployment by hand begins another. reason: of what it said, or why it has not
    begun. at: since when it is so.
    """

    deployment: str
    envelope_id: str
    gate: str
    spec: Mapping[str, Any]
    attempt: int
    state: RunState
    reason: str
    at: datetime

    @property
    def job_id(self) -> str:
        """The id of its job at the cluster's job server: the same whoever submits it."""
        again = "" if self.attempt == 1 else f"--{self.attempt}"
        return f"{self.deployment}--{self.envelope_id}--{self.gate}{again}"

    @property
    def is_under_way(self) -> bool:
        return self.state in UNDER_WAY


def ask(
    writer: Writer, deployment: str, envelope_id: str, gate: str, spec: Mapping[str, Any]
) -> bool:
    """Ask for a run unless there is one; whether that is new.

    The caller holds the envelope's lock.
    """
    mine = _is(deployment, envelope_id) & (gate_runs.c.gate == gate)
    if writer.connection.execute(select(gate_runs.c.gate).where(mine)).first() is not None:
        return False
    now = writer.now()
    row = {"deployment": deployment, "envelope_id": envelope_id, "gate": gate}
    begun = {"spec": dict(spec), "attempt": 1, "state": "asked", "reason": "", "at": now}
    writer.connection.execute(insert(gate_runs), {**row, **begun})
    writer.note("gate_run", envelope_id, now, deployment=deployment, gate=gate, state="asked")
    return True


def record(writer: Writer, run: GateRun, state: RunState, reason: str) -> bool:
    """Record how far a run is. False, and nothing is written, where it has ended meanwhile."""
    check_text(reason, "the reason")
    now = writer.now()
    mine = _is(run.deployment, run.envelope_id) & (gate_runs.c.gate == run.gate)
    mine &= (gate_runs.c.attempt == run.attempt) & gate_runs.c.state.in_(UNDER_WAY)
    row = {"state": state, "reason": reason, "at": now}
    if not writer.connection.execute(update(gate_runs).where(mine).values(row)).rowcount:
        return False
    detail = {"deployment": run.deployment, "gate": run.gate, "job": run.job_id}
    writer.note("gate_run", run.envelope_id, now, **detail, state=[run.state, state], reason=reason)
    return True


def ask_again(writer: Writer, deployment: str, envelope_id: str) -> None:
    """Let run again, as another attempt, what did not pass."""
    mine = _is(deployment, envelope_id) & gate_runs.c.state.in_(("refused", "unjudged"))
    now = writer.now()
    row = {"attempt": gate_runs.c.attempt + 1, "state": "asked", "reason": "", "at": now}
    if writer.connection.execute(update(gate_runs).where(mine).values(row)).rowcount:
        writer.note("gate_run", envelope_id, now, deployment=deployment, state="asked")


def read_of(database: Database, deployment: str, envelope_id: str) -> list[GateRun]:
    """The runs of an envelope on a deployment."""
    return _read(database, select(gate_runs).where(_is(deployment, envelope_id)))


def read_under_way(database: Database) -> list[GateRun]:
    """What has begun and not ended, and what is asked for by a release that has not ended."""
    is_wanted = (
        select(releases.c.id)
        .where(releases.c.deployment == gate_runs.c.deployment)
        .where(releases.c.envelope_id == gate_runs.c.envelope_id)
        .where(releases.c.ended_at.is_(None))
        .exists()
    )
    is_asked = (gate_runs.c.state == "asked") & is_wanted
    return _read(database, select(gate_runs).where((gate_runs.c.state == "running") | is_asked))


def _is(deployment: str, envelope_id: str) -> Any:
    return (gate_runs.c.deployment == deployment) & (gate_runs.c.envelope_id == envelope_id)


def _read(database: Database, query: Any) -> list[GateRun]:
    with database.reading() as connection:
        rows = connection.execute(query.order_by(gate_runs.c.at, gate_runs.c.gate)).mappings()
        return [GateRun(**row) for row in rows]
