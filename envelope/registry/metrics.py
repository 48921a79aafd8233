"""Metrics: every point is kept; the latest of each name is what queries compare."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Select, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from envelope.errors import ConfigError
from envelope.registry.changes import Writer
from envelope.registry.engine import Database
from envelope.registry.query.tree import Query
from envelope.registry.search import Position, Search, begin
from envelope.registry.tables import envelopes, metric_points, metrics_latest
from envelope.registry.text import check_key

MetricKind = Literal["any", "number"]

PAGE = 200  # envelopes whose points are read at once
_COLUMNS = tuple(
    metric_points.c[name]
    for name in ("envelope_id", "name", "number", "value", "at", "logged_at", "actor")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoint:
    """One value of one metric. value: a float, or the JSON of a structured metric.

    at: the time that the value is about; logged_at: when the registry took it in.
    """

    envelope_id: str
    name: str
    value: Any
    at: datetime
    logged_at: datetime
    actor: str


def log_points(
    writer: Writer, envelope_id: str, metrics: Mapping[str, Any], at: datetime | None
) -> None:
    """Add one point per metric. The caller holds the lock of the envelope's row."""
    for name in metrics:
        check_key(name, f"the metric name {name!r}")
    now = writer.now()
    at = now if at is None else check_time(at, "the time of a metric").astimezone(UTC)
    common = {"envelope_id": envelope_id, "at": at, "logged_at": now, "actor": writer.actor}
    rows = [{"name": name, **_stored(value), **common} for name, value in metrics.items()]
    if not rows:
        return
    writer.connection.execute(insert(metric_points), rows)
    latest = [{k: row[k] for k in ("envelope_id", "name", "number", "at")} for row in rows]
    writer.connection.execute(_upsert_latest(writer.database), latest)
    writer.note("metric", envelope_id, now, names=sorted(metrics))


def check_time(at: datetime, what: str) -> datetime:
    """Return an aware time; raise ConfigError for a naive one."""
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise ConfigError(f"{what}, {at!r}, has no time zone; use datetime.now(timezone.utc)")
    try:
        at.astimezone(UTC)
    except OverflowError as exc:
        raise ConfigError(f"{what}, {at!r}, is no year from 1 to 9999 in UTC") from exc
    return at


def _stored(value: Any) -> dict[str, Any]:
    """A finite number goes to `number`, everything else to `value`, as JSON."""
    if isinstance(value, (int, float)):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return {"number": number, "value": None}
        return {"number": None, "value": {"type": "scalar", "value": repr(number)}}
    return {"number": None, "value": value}


def _read_value(number: float | None, value: Any) -> Any:
    if number is not None:
        return number
    match value:
        case {"type": "scalar", "value": str(text)}:
            return float(text)
        case _:
            return value


def _upsert_latest(database: Database) -> Any:
    """A point of the same time as the latest one replaces it; an older one does not."""
    statement: Any = (sqlite.insert if database.is_sqlite else postgresql.insert)(metrics_latest)
    return statement.on_conflict_do_update(
        index_elements=["envelope_id", "name"],
        set_={"number": statement.excluded.number, "at": statement.excluded.at},
        where=metrics_latest.c.at <= statement.excluded.at,
    )


def read_points(database: Database, envelope_id: str) -> list[MetricPoint]:
    """Every point of one envelope: by name, then time."""
    mine = select(*_COLUMNS).where(metric_points.c.envelope_id == envelope_id)
    order = (metric_points.c.name, metric_points.c.at, metric_points.c.id)
    with database.reading() as connection:
        return [_point(row) for row in connection.execute(mine.order_by(*order))]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPage:
    """The points of some envelopes. next_cursor: asks for those of the next ones, if any."""

    items: list[MetricPoint]
    next_cursor: str | None


def find_page(
    database: Database, query: Query, names: Sequence[str] | None, *, after: Position | None
) -> MetricPage:
    """The points of the next PAGE matching envelopes after a position."""
    with database.reading() as connection:
        search = begin(connection, query, as_of=None)
        found = connection.execute(search.page(after, PAGE)).all()
        rows = connection.execute(_points_of([row.id for row in found], names)).all()
    cursor = None
    if len(found) == PAGE:
        cursor = Position(created_at=found[-1].created_at, id=found[-1].id).cursor()
    return MetricPage(items=[_point(row) for row in rows], next_cursor=cursor)


def find_points(
    database: Database,
    query: Query,
    names: Sequence[str] | None,
    *,
    limit: int | None,
    kind: MetricKind,
) -> Iterator[MetricPoint]:
    """The points of matching envelopes: newest envelope first, then name, then time.

    limit: of the newest so many envelopes; None: of all. Read in pages as the iterator is used.
    """
    search: Search | None = None
    after: Position | None = None
    left = limit
    while left is None or left > 0:
        wanted = PAGE if left is None else min(PAGE, left)
        with database.reading() as connection:
            search = search or begin(connection, query, as_of=None)
            found = connection.execute(search.page(after, wanted)).all()
            points = _points_of([row.id for row in found], names)
            if kind == "number":
                points = points.where(metric_points.c.number.is_not(None))
            rows = connection.execute(points).all()
        yield from map(_point, rows)
        if len(found) < wanted:
            return
        after = Position(created_at=found[-1].created_at, id=found[-1].id)
        left = None if left is None else left - len(found)


def _points_of(envelope_ids: Sequence[str], names: Sequence[str] | None) -> Select[Any]:
    points = select(*_COLUMNS).join(envelopes, envelopes.c.id == metric_points.c.envelope_id)
    points = points.where(metric_points.c.envelope_id.in_(envelope_ids))
    if names is not None:
        points = points.where(metric_points.c.name.in_(names))
    newest = (envelopes.c.created_at.desc(), envelopes.c.id.desc())
    return points.order_by(*newest, metric_points.c.name, metric_points.c.at, metric_points.c.id)


def _point(row: Any) -> MetricPoint:
    # Taken apart at once: pages read 10,000 points, and to look up each column doubles the time.
    envelope_id, name, number, value, at, logged_at, actor = row
    return MetricPoint(
        envelope_id=envelope_id,
        name=name,
        value=_read_value(number, value),
        at=at,
        logged_at=logged_at,
        actor=actor,
    )
