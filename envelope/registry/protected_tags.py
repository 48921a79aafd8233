"""Tags that only some may set: what gates and rules trust, such as `approved`.

An actor says itself who it is (ENVELOPE_ACTOR), so this keeps mistakes out, not malice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from sqlalchemy import Connection, delete, insert, select

from envelope.errors import ConfigError
from envelope.registry.changes import Writer
from envelope.registry.tables import protected_tags
from envelope.registry.text import check_key


def read_protected(connection: Connection) -> dict[str, tuple[str, ...]]:
    """Who may set each protected tag, by key."""
    columns = (protected_tags.c.key, protected_tags.c.actors)
    rows = connection.execute(select(*columns).order_by(protected_tags.c.key))
    return {row.key: tuple(row.actors) for row in rows}


def refuse_protected(connection: Connection, actor: str, keys: Iterable[str]) -> None:
    """Raise ConfigError when the actor may not set one of these tags."""
    protected = read_protected(connection)
    for key in keys:
        allowed = protected.get(key)
        if allowed is None or any(fnmatchcase(actor, pattern) for pattern in allowed):
            continue
        who = ", ".join(allowed) or "nobody"
        raise ConfigError(
            f"tag {key!r} is protected and {actor} may not set it; {who} may; it is changed "
            "under `protected_tags` in YAML"
        )


def put_protected(
    writer: Writer, wanted: Mapping[str, Sequence[str]], *, is_whole: bool
) -> list[str]:
    """Write who may set what; return a line for each change. is_whole: others are free again."""
    known = read_protected(writer.connection)
    lines: list[str] = []
    for key, actors in wanted.items():
        check_key(key, f"the protected tag {key!r}")
        if known.get(key) != tuple(actors):
            before = list(known[key]) if key in known else "anybody"
            _write(writer, key, known.get(key), actors)
            lines.append(f"protected tag {key}: {before} -> {list(actors)}")
    for key in known.keys() - wanted.keys() if is_whole else ():
        _write(writer, key, known[key], None)
        lines.append(f"protected tag {key}: removed")
    return lines


def _write(
    writer: Writer, key: str, before: Sequence[str] | None, actors: Sequence[str] | None
) -> None:
    writer.connection.execute(delete(protected_tags).where(protected_tags.c.key == key))
    now = writer.now()
    if actors is not None:
        row = {"key": key, "actors": list(actors), "at": now, "actor": writer.actor}
        writer.connection.execute(insert(protected_tags), row)
    writer.note("protected_tag", key, now, actors=[_listed(before), _listed(actors)])


def _listed(actors: Sequence[str] | None) -> list[str] | None:
    return None if actors is None else list(actors)
