"""What a query may ask of a manifest: every scalar, by its path.

Objects and lists exist and never compare; null is absent. The elements of a list are named by their
index, in lists of at most MAX_LIST elements. A number is a float64, as it is in SQL.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from envelope.manifest import Manifest, sha256_of
from envelope.registry import tables
from envelope.registry.query.keys import SINGLE_FACTS
from envelope.registry.query.memory import EnvelopeFacts
from envelope.registry.query.paths import join_path
from envelope.registry.query.sql import INDEXED_CHARACTERS
from envelope.registry.query.versions import version_key
from envelope.registry.text import fault_of

MAX_LIST = 100
MAX_PATH_BYTES = 500  # path and text share one index entry of PostgreSQL, 2,704 bytes

Scalar = str | float | bool | None
Facts = dict[str, Scalar]


def facts_of(manifest: Manifest) -> tuple[Facts, Facts]:
    """The facts of the envelope itself, and those of its environment."""
    whole = msgspec.to_builtins(manifest)
    own: Facts = {}
    for root in (*SINGLE_FACTS, "artifact", "context", "datasets", "hyperparameters"):
        own.update(flatten(whole[root], (root,)))
    environment = whole["environment"]
    packages = environment.pop("packages")
    shared = dict(flatten(environment, ("environment",)))
    for package in packages:
        shared.update(flatten(package["version"], ("packages", package["name"])))
    return own, shared


def flatten(value: Any, path: Sequence[str]) -> Iterator[tuple[str, Scalar]]:
    """Every scalar of a JSON value with its canonical path; None for an object or list."""
    name = join_path(path)
    if len(name.encode(errors="replace")) > MAX_PATH_BYTES or fault_of(name):
        return
    match value:
        case dict():
            yield name, None
            for key, member in value.items():
                yield from flatten(member, [*path, str(key)])
        case list() | tuple():
            yield name, None
            for index, member in enumerate(value if len(value) <= MAX_LIST else ()):
                yield from flatten(member, [*path, str(index)])
        case bool():
            yield name, value
        case int() | float():
            number = _number(value)
            if number is not None:
                yield name, number
        case str() if not fault_of(value):
            yield name, value


def _number(value: int | float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def environment_key(shared: Facts) -> str:
    """Name the facts of an environment by their content, so that they are written once."""
    return sha256_of(msgspec.json.encode(sorted(shared.items())))


def write_facts(connection: Connection, subject: str, facts: Facts) -> None:
    """Write the facts of one subject, once: a second call changes nothing."""
    known = select(tables.facts.c.path).where(tables.facts.c.subject == subject).limit(1)
    if not facts or connection.execute(known).first():
        return
    # Sorted, so that two who write the same environment wait for each other in one order.
    rows = [{"subject": subject, **_row(path, facts[path])} for path in sorted(facts)]
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(insert(tables.facts).on_conflict_do_nothing(), rows)


def _row(path: str, value: Scalar) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(("text", "long_text", "number", "version_key"))
    match value:
        case None:
            kind = "nested"
        case bool():
            kind, row["text"] = "boolean", "true" if value else "false"
        case float():
            kind, row["number"] = "number", value
        case str():
            kind, row["text"] = "text", value[:INDEXED_CHARACTERS]
            if len(value) > INDEXED_CHARACTERS:
                row["long_text"] = value
            if path.startswith("packages.") or path == "environment.python":
                row["version_key"] = version_key(value)
    return {"path": path, "kind": kind, **row}


def scalar_of(row: Any) -> Scalar:
    """Read a row of the table of facts."""
    match row.kind:
        case "text":
            return str(row.text if row.long_text is None else row.long_text)
        case "number":
            return float(row.number)
        case "boolean":
            return bool(row.text == "true")
        case _:
            return None


def read_facts(connection: Connection, envelope_id: str) -> EnvelopeFacts | None:
    """All that a query may ask about one envelope as it is now; None when there is none."""
    envelope = connection.execute(
        select(tables.envelopes).where(tables.envelopes.c.id == envelope_id)
    ).first()
    if envelope is None:
        return None
    subjects = (envelope.id, envelope.environment_sha256)
    facts = connection.execute(select(tables.facts).where(tables.facts.c.subject.in_(subjects)))
    return EnvelopeFacts(
        id=envelope.id,
        name=envelope.name,
        description=envelope.description,
        created_at=envelope.created_at,
        created_by=envelope.created_by,
        is_proved=_is_proved(connection, envelope_id),
        tags=_pairs(connection, tables.tags, envelope_id, "key", "value"),
        metrics=_pairs(connection, tables.metrics_latest, envelope_id, "name", "number"),
        functions=_pairs(connection, tables.functions, envelope_id, "name", "sha256"),
        fields={row.path: scalar_of(row) for row in facts},
    )


def _pairs(connection: Connection, table: Any, envelope_id: str, key: str, value: str) -> Any:
    found = select(table.c[key], table.c[value]).where(table.c.envelope_id == envelope_id)
    return {name: content for name, content in connection.execute(found)}


def _is_proved(connection: Connection, envelope_id: str) -> bool:
    proofs = tables.proofs
    found = select(proofs.c.platform, proofs.c.ok).where(proofs.c.envelope_id == envelope_id)
    last = {platform: ok for platform, ok in connection.execute(found.order_by(proofs.c.id))}
    return any(last.values())
