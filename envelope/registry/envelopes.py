"""Envelopes: registered once, then read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from envelope.errors import ConfigError, EnvelopeError, ModelNotFound
from envelope.manifest import Manifest
from envelope.registry import facts
from envelope.registry.changes import Writer, writing
from envelope.registry.engine import Conflict, Database
from envelope.registry.protected_tags import refuse_protected
from envelope.registry.query.tree import Query
from envelope.registry.search import Position, Search, begin
from envelope.registry.tables import envelopes, functions, tag_changes, tags
from envelope.registry.tags import change_tags, check_tags
from envelope.registry.text import MAX_VALUE_BYTES, check_key, check_text

ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
FIRST_PAGE, PAGE = 20, 500  # envelopes; most callers look at a few
MAX_CANDIDATES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeRow:
    """An envelope as the registry knows it.

    created_at: the registry's clock when it was registered. functions: name -> sha256, those that
    were added later included.
    """

    id: str
    name: str
    description: str
    created_at: datetime
    created_by: str
    manifest_sha256: str
    functions: Mapping[str, str]
    default_function: str
    tags: Mapping[str, str]
    python_version: str


def register(
    database: Database,
    manifest: Manifest,
    manifest_sha256: str,
    *,
    actor: str,
    created_at: datetime | None,
) -> EnvelopeRow:
    """Add an envelope with its functions, facts and first tags, all or nothing.

    Registering the same manifest again returns what is there.
    Raises EnvelopeError when another envelope has this id.
    """

    def insert_it(writer: Writer) -> None:
        _insert(writer, manifest, manifest_sha256, created_at)

    insert_once(database, manifest, manifest_sha256, actor=actor, insert_it=insert_it)
    return read_one(database, manifest.id)


def insert_once(
    database: Database,
    manifest: Manifest,
    manifest_sha256: str,
    *,
    actor: str,
    insert_it: Callable[[Writer], None],
) -> bool:
    """Let `insert_it` write an envelope unless it is known. Return whether it was written.

    Raises EnvelopeError when another envelope has this id.
    """
    _check(manifest)
    try:
        with writing(database, actor) as writer:
            known = _sha256_of(writer.connection, manifest.id)
            if known is None:
                refuse_protected(writer.connection, actor, manifest.tags)
                insert_it(writer)
                return True
    except Conflict:  # another process registered this id at the same moment
        with database.reading() as connection:
            known = _sha256_of(connection, manifest.id)
        if known is None:
            raise
    if known != manifest_sha256:
        raise EnvelopeError(
            f"envelope {manifest.id} is registered with another manifest; an envelope is never "
            "altered: save the model again to get a new id"
        )
    return False


def _check(manifest: Manifest) -> None:
    if not ULID.fullmatch(manifest.id):
        raise ConfigError(f"{manifest.id!r} is no envelope id; use a ULID of 26 characters")
    check_text(manifest.name, "the name", max_bytes=MAX_VALUE_BYTES)
    check_text(manifest.description, "the description")
    check_text(manifest.created_by, "created_by", max_bytes=MAX_VALUE_BYTES)
    for name in manifest.functions:
        check_key(name, f"the function name {name!r}")
    check_tags(manifest.tags)


def _sha256_of(connection: Connection, envelope_id: str) -> str | None:
    return connection.execute(
        select(envelopes.c.manifest_sha256).where(envelopes.c.id == envelope_id)
    ).scalar()


def _insert(
    writer: Writer, manifest: Manifest, manifest_sha256: str, created_at: datetime | None
) -> None:
    at = writer.now() if created_at is None else created_at.astimezone(UTC)
    insert_envelope(writer, manifest, manifest_sha256, at=at)
    added = {"envelope_id": manifest.id, "added_at": at, "added_by": writer.actor}
    rows = [{"name": name, "sha256": sha, **added} for name, sha in manifest.functions.items()]
    if rows:
        writer.connection.execute(insert(functions), rows)
    change_tags(writer, manifest.id, manifest.tags, registered_at=at, at=at)


def insert_envelope(
    writer: Writer, manifest: Manifest, manifest_sha256: str, *, at: datetime
) -> None:
    """Write an envelope's row and facts; its functions and tags are the caller's."""
    own, shared = facts.facts_of(manifest)
    environment = facts.environment_key(shared)
    row = {
        "id": manifest.id,
        "name": manifest.name,
        "description": manifest.description,
        "created_at": at,
        "created_by": manifest.created_by,
        "manifest_sha256": manifest_sha256,
        "default_function": manifest.default_function,
        "python_version": manifest.environment.python,
        "environment_sha256": environment,
    }
    writer.connection.execute(insert(envelopes), row)
    facts.write_facts(writer.connection, environment, shared)
    facts.write_facts(writer.connection, manifest.id, own)
    writer.note("envelope", manifest.id, writer.now(), name=manifest.name)


def lock(writer: Writer, envelope_id: str) -> datetime:
    """Lock an envelope's row, so that changes of it follow one another; return its created_at.

    Raises ModelNotFound.
    """
    row = select(envelopes.c.created_at).where(envelopes.c.id == envelope_id)
    created_at: datetime | None = writer.connection.execute(row.with_for_update()).scalar()
    if created_at is None:
        raise not_found(envelope_id)
    return created_at


def not_found(envelope_id: str) -> ModelNotFound:
    return ModelNotFound(
        f"there is no envelope {envelope_id} here; `envelope find` lists what there is"
    )


def resolve(database: Database, id_or_prefix: str) -> str:
    """The id that begins like this. Raises ModelNotFound, naming candidates if several do."""
    prefix = id_or_prefix.strip().upper()
    if not re.fullmatch(r"[0-9A-Z]{1,26}", prefix):
        raise not_found(repr(id_or_prefix))
    ids = select(envelopes.c.id).where(envelopes.c.id >= prefix, envelopes.c.id < prefix + "~")
    with database.reading() as connection:
        few = ids.order_by(envelopes.c.id).limit(MAX_CANDIDATES + 1)
        found: Sequence[str] = connection.scalars(few).all()
    if not found:
        raise not_found(id_or_prefix)
    if len(found) > 1:
        more = " and more" if len(found) > MAX_CANDIDATES else ""
        raise ModelNotFound(
            f"several envelopes begin with {id_or_prefix}: {', '.join(found[:MAX_CANDIDATES])}"
            f"{more}; write more of the id"
        )
    return found[0]


def read_one(database: Database, envelope_id: str) -> EnvelopeRow:
    """Read one envelope by its whole id. Raises ModelNotFound."""
    with database.reading() as connection:
        rows = connection.execute(select(envelopes).where(envelopes.c.id == envelope_id)).all()
        found = _complete(connection, rows, as_of=None)
    if not found:
        raise not_found(envelope_id)
    return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopePage:
    """Some of the envelopes that were asked for. next_cursor: asks for those after them, if any."""

    items: list[EnvelopeRow]
    next_cursor: str | None


def find_page(
    database: Database,
    query: Query,
    *,
    as_of: datetime | None,
    after: Position | None,
    limit: int,
) -> EnvelopePage:
    """Matching envelopes after a position, newest first, at most `limit` of them."""
    items = list(find(database, query, as_of=as_of, limit=limit + 1, after=after, size=limit + 1))
    if len(items) <= limit:
        return EnvelopePage(items=items, next_cursor=None)
    last = items[limit - 1]
    after = Position(created_at=last.created_at, id=last.id)
    return EnvelopePage(items=items[:limit], next_cursor=after.cursor())


def find(
    database: Database,
    query: Query,
    *,
    as_of: datetime | None,
    limit: int | None,
    after: Position | None = None,
    size: int = FIRST_PAGE,
) -> Iterator[EnvelopeRow]:
    """Matching envelopes after a position, newest first, read in pages as the iterator is used.

    size: of the first page.
    """
    search: Search | None = None
    left = limit
    while left is None or left > 0:
        wanted = size if left is None else min(size, left)
        with database.reading() as connection:
            search = search or begin(connection, query, as_of)
            rows = connection.execute(search.page(after, wanted)).all()
            found = _complete(connection, rows, as_of=as_of)
        yield from found
        if len(found) < wanted:
            return
        after = Position(created_at=found[-1].created_at, id=found[-1].id)
        left = None if left is None else left - len(found)
        size = PAGE


def _complete(
    connection: Connection, rows: Sequence[Any], *, as_of: datetime | None
) -> list[EnvelopeRow]:
    """Add tags and functions to rows of `envelopes`."""
    ids = [row.id for row in rows]
    known_tags = _tags_of(connection, ids, as_of)
    known_functions = _functions_of(connection, ids, as_of)
    return [
        EnvelopeRow(
            id=row.id,
            name=row.name,
            description=row.description,
            created_at=row.created_at,
            created_by=row.created_by,
            manifest_sha256=row.manifest_sha256,
            functions=known_functions.get(row.id, {}),
            default_function=row.default_function,
            tags=known_tags.get(row.id, {}),
            python_version=row.python_version,
        )
        for row in rows
    ]


def _tags_of(
    connection: Connection, ids: Sequence[str], as_of: datetime | None
) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    if not ids:
        return found
    if as_of is None:
        now = select(tags.c.envelope_id, tags.c.key, tags.c.value)
        for envelope_id, key, value in connection.execute(now.where(tags.c.envelope_id.in_(ids))):
            found.setdefault(envelope_id, {})[key] = value
        return {each: dict(sorted(pairs.items())) for each, pairs in found.items()}
    history = select(tag_changes.c.envelope_id, tag_changes.c.key, tag_changes.c.new)
    history = history.where(tag_changes.c.envelope_id.in_(ids), tag_changes.c.at <= as_of)
    for envelope_id, key, new in connection.execute(history.order_by(tag_changes.c.id)):
        pairs = found.setdefault(envelope_id, {})
        pairs.pop(key, None)
        if new is not None:
            pairs[key] = new
    return {each: dict(sorted(pairs.items())) for each, pairs in found.items()}


def _functions_of(
    connection: Connection, ids: Sequence[str], as_of: datetime | None
) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    if not ids:
        return found
    mine = select(functions).where(functions.c.envelope_id.in_(ids))
    if as_of is not None:
        mine = mine.where(functions.c.added_at <= as_of)
    for row in connection.execute(mine.order_by(functions.c.added_at, functions.c.name)):
        found.setdefault(row.envelope_id, {})[row.name] = row.sha256
    return found


def add_function(writer: Writer, envelope_id: str, name: str, sha256: str) -> None:
    """Add a function to an envelope. Raises EnvelopeError when it has one of this name."""
    check_key(name, f"the function name {name!r}")
    lock(writer, envelope_id)
    mine = select(functions.c.sha256).where(
        functions.c.envelope_id == envelope_id, functions.c.name == name
    )
    if writer.connection.execute(mine).first():
        raise EnvelopeError(
            f"envelope {envelope_id} has a function {name!r} already, and functions are never "
            "altered; choose another name, or save a new envelope"
        )
    now = writer.now()
    row = {"envelope_id": envelope_id, "name": name, "sha256": sha256}
    writer.connection.execute(insert(functions), {**row, "added_at": now, "added_by": writer.actor})
    writer.note("function", envelope_id, now, name=name, sha256=sha256)
