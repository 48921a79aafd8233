"""An envelope's whole history: read from one registry, written into another as it was."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Table, insert, select

from envelope.manifest import Manifest
from envelope.registry import envelopes, proofs, tags
from envelope.registry.changes import Writer
from envelope.registry.engine import Database
from envelope.registry.proofs import Proof
from envelope.registry.tables import functions, metric_points, metrics_latest, tag_changes
from envelope.registry.tables import proofs as proofs_table
from envelope.registry.tables import tags as tags_table
from envelope.registry.tags import TagChange
from envelope.registry.text import check_key, check_text


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedFunction:
    """A function, and who added it: those of the first hour have the envelope's own time."""

    name: str
    sha256: str
    added_at: datetime
    added_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A value of a metric as it is stored: `number`, or the JSON of what is no finite number."""

    name: str
    number: float | None
    value: Any
    at: datetime
    logged_at: datetime
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that a registry knows of an envelope and its manifest does not say; oldest first."""

    created_at: datetime
    functions: tuple[AddedFunction, ...]
    tags: tuple[TagChange, ...]
    metrics: tuple[Point, ...]
    proofs: tuple[Proof, ...]


def read_history(database: Database, envelope_id: str) -> History:
    """Read the history of one envelope by its whole id. Raises ModelNotFound."""
    created_at = envelopes.read_one(database, envelope_id).created_at
    with database.reading() as connection:

        def rows_of(table: Table, *order: Any) -> Any:
            mine = select(table).where(table.c.envelope_id == envelope_id).order_by(*order)
            return connection.execute(mine).mappings()

        added = rows_of(functions, functions.c.added_at, functions.c.name)
        points = rows_of(metric_points, metric_points.c.id)
        return History(
            created_at=created_at,
            functions=tuple(AddedFunction(**_fields(row, AddedFunction)) for row in added),
            tags=tuple(tags.read_history(database, envelope_id)),
            metrics=tuple(Point(**_fields(row, Point)) for row in points),
            proofs=tuple(proofs.read_proofs(database, envelope_id)),
        )


def write_history(
    writer: Writer, manifest: Manifest, manifest_sha256: str, history: History
) -> None:
    """Register an envelope that is not known here, with all that happened to it elsewhere.

    Raises ConfigError for text that cannot be stored.
    """
    _check(history)
    envelopes.insert_envelope(writer, manifest, manifest_sha256, at=history.created_at)
    mine = {"envelope_id": manifest.id}
    latest: dict[str, Point] = {}
    for point in history.metrics:
        if point.name not in latest or latest[point.name].at <= point.at:
            latest[point.name] = point
    now = {change.key: change.new for change in history.tags}  # the last one of a key wins
    rows: dict[Table, list[dict[str, Any]]] = {
        functions: [{**mine, **asdict(one)} for one in history.functions],
        tag_changes: [{**mine, **asdict(one)} for one in history.tags],
        tags_table: [
            {**mine, "key": key, "value": value, "registered_at": history.created_at}
            for key, value in now.items()
            if value is not None
        ],
        metric_points: [{**mine, **asdict(one)} for one in history.metrics],
        metrics_latest: [
            {**mine, "name": one.name, "number": one.number, "at": one.at}
            for one in latest.values()
        ],
        proofs_table: [{**proofs.row_of(one), **mine} for one in history.proofs],
    }
    for table, content in rows.items():
        if content:
            writer.connection.execute(insert(table), content)


def _check(history: History) -> None:
    """Refuse what this registry would have refused when it happened."""
    for change in history.tags:
        tags.check_tags({change.key: change.old})
        tags.check_tags({change.key: change.new})
    for point in history.metrics:
        check_key(point.name, f"the metric name {point.name!r}")
    for function in history.functions:
        check_key(function.name, f"the function name {function.name!r}")
    for proof in history.proofs:
        check_key(proof.platform, "the platform of a proof")
        check_text(proof.detail, "the detail of a proof")
    actors = [
        *(change.actor for change in history.tags),
        *(point.actor for point in history.metrics),
        *(function.added_by for function in history.functions),
        *(proof.actor for proof in history.proofs),
    ]
    for actor in actors:
        check_text(actor, "the actor")


def _fields(row: Any, kind: type) -> dict[str, Any]:
    return {name: row[name] for name in kind.__dataclass_fields__}  # type: ignore[attr-defined]  # of dataclasses
