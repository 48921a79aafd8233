"""Values of chosen keys of many envelopes, in bulk: tags, metrics, anything of the manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, or_, select

from envelope.errors import ConfigError, QueryError
from envelope.registry.engine import Database
from envelope.registry.facts import Scalar, scalar_of
from envelope.registry.query.parse import parse
from envelope.registry.query.tree import Exists, Key, Query
from envelope.registry.search import Position, begin
from envelope.registry.tables import facts, functions, metrics_latest, tags

if TYPE_CHECKING:
    from envelope.registry import Registry

PAGE = 500  # envelopes whose values are read at once
MAX_FIELDS = 50

Found = dict[tuple[str, Key], Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRow:
    """What one envelope has of the keys that were asked for. values: by key; None where absent."""

    envelope_id: str
    name: str
    created_at: datetime
    values: dict[str, str | float | bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPage:
    """Some envelopes, newest first. next_cursor: asks for the next ones, if any."""

    items: list[FieldRow]
    next_cursor: str | None


def iterate_fields(
    registry: Registry, query: str, fields: Sequence[str], *, limit: int | None = None
) -> Iterator[FieldRow]:
    """The newest `limit` matching envelopes, or all, read in pages as the iterator is used."""
    return islice(_rows(registry, query, fields), limit)


def _rows(registry: Registry, query: str, fields: Sequence[str]) -> Iterator[FieldRow]:
    page = registry.field_page(query, fields)
    yield from page.items
    while page.next_cursor is not None:
        page = registry.field_page(query, fields, cursor=page.next_cursor)
        yield from page.items


def read_fields(fields: Sequence[str]) -> dict[str, Key]:
    """Read keys as a query has them. Raises ConfigError naming the one that is none."""
    if len(fields) > MAX_FIELDS:
        raise ConfigError(f"{len(fields)} fields are too many at once, the limit is {MAX_FIELDS}")
    return {field: _read(field) for field in fields}


def _read(field: str) -> Key:
    try:
        root = parse(f"{field} exists").root
    except QueryError as exc:
        raise ConfigError(f"the field {field!r} is no key of a query: {exc}") from exc
    if not isinstance(root, Exists):
        raise ConfigError(f"the field {field!r} is no key of a query, such as metrics.auc")
    return root.key


def find_page(
    database: Database, query: Query, fields: Mapping[str, Key], *, after: Position | None
) -> FieldPage:
    """The values of the next PAGE matching envelopes after a position."""
    with database.reading() as connection:
        search = begin(connection, query, as_of=None)
        rows = connection.execute(search.page(after, PAGE)).all()
        found = _values(connection, rows, set(fields.values()))
    items = [
        FieldRow(
            envelope_id=row.id,
            name=row.name,
            created_at=row.created_at,
            values={field: found.get((row.id, key)) for field, key in fields.items()},
        )
        for row in rows
    ]
    cursor = None
    if len(rows) == PAGE:
        cursor = Position(created_at=rows[-1].created_at, id=rows[-1].id).cursor()
    return FieldPage(items=items, next_cursor=cursor)


def _values(connection: Connection, rows: Sequence[Any], keys: set[Key]) -> Found:
    """What these envelopes have of these keys: one statement for each place where it is kept."""
    by_source: dict[str, list[Key]] = defaultdict(list)
    for key in keys:
        by_source[key.source].append(key)
    ids = [row.id for row in rows]
    found: Found = {}
    for source, table, name, value in (
        ("tag", tags, "key", "value"),
        ("metric", metrics_latest, "name", "number"),
        ("function", functions, "name", "sha256"),
    ):
        if wanted := {key.name: key for key in by_source[source]}:
            asked = select(table.c.envelope_id, table.c[name], table.c[value])
            asked = asked.where(table.c.envelope_id.in_(ids), table.c[name].in_(wanted))
            found |= {(row[0], wanted[row[1]]): row[2] for row in connection.execute(asked)}
    for key in (*by_source["column"], *by_source["time"]):
        found |= {(row.id, key): _text(getattr(row, key.name)) for row in rows}
    return found | _facts(connection, rows, [*by_source["fact"], *by_source["version"]])


def _facts(connection: Connection, rows: Sequence[Any], keys: Sequence[Key]) -> Found:
    """Facts of an envelope are its own, or those of the environment that it shares with others."""
    if not keys:
        return {}
    wanted = {key.name: key for key in keys}
    by_subject: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_subject[row.id].append(row.id)
        by_subject[row.environment_sha256].append(row.id)
    asked: Select[Any] = select(facts).where(
        facts.c.path.in_(wanted),
        or_(
            facts.c.subject.in_([row.id for row in rows]),
            facts.c.subject.in_({row.environment_sha256 for row in rows}),
        ),
    )
    return {
        (envelope_id, wanted[row.path]): scalar_of(row)
        for row in connection.execute(asked)
        for envelope_id in by_subject[row.subject]
    }


def _text(value: str | datetime) -> str:
    return value if isinstance(value, str) else value.isoformat()
