"""Proofs: what came of rebuilding an envelope's environment and replaying its sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import insert, select

from envelope.registry.changes import Writer
from envelope.registry.engine import Database
from envelope.registry.tables import proofs
from envelope.registry.text import check_key, check_text
from envelope.replay import Replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a proof was made with, and what came of it.

    environment: the key of the environment. functions: the replay of each, by name; none where it
    was not reached.
    """

    python: str
    environment: str
    took_s: float
    functions: Mapping[str, Replay]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One attempt on one platform. detail: what failed, in the words of who tried."""

    envelope_id: str
    platform: str
    ok: bool
    detail: str
    report: Report | None
    at: datetime
    actor: str


def add_proof(
    writer: Writer, envelope_id: str, platform: str, ok: bool, detail: str, report: Report | None
) -> Proof:
    """Record a proof. The last one of a platform counts; the caller holds the envelope's lock."""
    proof = Proof(
        envelope_id=envelope_id,
        platform=check_key(platform, "the platform of a proof"),
        ok=ok,
        detail=check_text(detail, "the detail of a proof"),
        report=report,
        at=writer.now(),
        actor=writer.actor,
    )
    writer.connection.execute(insert(proofs), row_of(proof))
    writer.note("proof", envelope_id, proof.at, platform=platform, ok=ok)
    return proof


def row_of(proof: Proof) -> dict[str, Any]:
    """Return what a proof is as a row of its table."""
    return {name: getattr(proof, name) for name in Proof.__dataclass_fields__}


def read_proofs(database: Database, envelope_id: str) -> list[Proof]:
    """Every proof of an envelope, oldest first."""
    mine = select(proofs).where(proofs.c.envelope_id == envelope_id).order_by(proofs.c.id)
    with database.reading() as connection:
        return [
            Proof(
                envelope_id=row.envelope_id,
                platform=row.platform,
                ok=row.ok,
                detail=row.detail,
                report=None if row.report is None else msgspec.convert(row.report, Report),
                at=row.at,
                actor=row.actor,
            )
            for row in connection.execute(mine)
        ]
