"""Proofs: what came of rebuilding an envelope's environment and replaying its sample."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from envelope.registry.changes import Writer
from envelope.registry.engine import Database
from envelope.registry.tables import proofs
from envelope.registry.text import check_key, check_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One attempt on one platform. detail: what failed, in the words of who tried."""

    envelope_id: str
    platform: str
    ok: bool
    detail: str
    at: datetime
    actor: str


def add_proof(writer: Writer, envelope_id: str, platform: str, ok: bool, detail: str) -> None:
    """Record a proof. The last one of a platform counts; the caller holds the envelope's lock."""
    check_key(platform, "the platform of a proof")
    check_text(detail, "the detail of a proof")
    now = writer.now()
    row = {"envelope_id": envelope_id, "platform": platform, "ok": ok, "detail": detail}
    writer.connection.execute(insert(proofs), {**row, "at": now, "actor": writer.actor})
    writer.note("proof", envelope_id, now, platform=platform, ok=ok)


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
                at=row.at,
                actor=row.actor,
            )
            for row in connection.execute(mine)
        ]
