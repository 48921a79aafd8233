"""What differs between the schemas of two functions: places, in words, and levels by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from envelope.diff.changes import Kind
from envelope.schema import types as t
from envelope.schema.words import describe


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeChange:
    """A place whose type differs. old, new: in words; None where the place is not there.

    place: "frame.age" for a column, "output". levels_added, levels_removed: of a category, a
    Literal or an enumeration.
    """

    place: str
    kind: Kind
    old: str | None = None
    new: str | None = None
    levels_added: tuple[t.Plain, ...] = ()
    levels_removed: tuple[t.Plain, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    type: Any  # what it is exactly, to compare
    words: str
    levels: tuple[t.Plain, ...] = ()


def schema_changes(old: t.FunctionSchema, new: t.FunctionSchema) -> tuple[TypeChange, ...]:
    """Compare two schemas place by place, in the order of the newer one."""
    before, after = dict(_places(old)), dict(_places(new))
    found = []
    for path in [*after, *(path for path in before if path not in after)]:
        if path not in before:
            found.append(TypeChange(place=path, kind="added", new=after[path].words))
        elif path not in after:
            found.append(TypeChange(place=path, kind="removed", old=before[path].words))
        elif before[path].type != after[path].type:
            found.append(_changed(path, before[path], after[path]))
    return tuple(found)


def _changed(path: str, old: _Place, new: _Place) -> TypeChange:
    added = tuple(level for level in new.levels if level not in old.levels)
    removed = tuple(level for level in old.levels if level not in new.levels)
    words = (old.words, new.words)
    if old.words == new.words and not (added or removed):  # words leave out what few have
        words = (_exactly(old), _exactly(new))
    return TypeChange(
        place=path,
        kind="changed",
        old=words[0],
        new=words[1],
        levels_added=added,
        levels_removed=removed,
    )


def _exactly(place: _Place) -> str:
    return msgspec.json.encode(place.type).decode()


def _places(schema: t.FunctionSchema) -> Iterator[tuple[str, _Place]]:
    for parameter in schema.parameters:
        default = "" if parameter.default is msgspec.UNSET else f" = {parameter.default!r}"
        suffix = "" if parameter.required else f", optional{default}"
        yield from _places_of(parameter.name, parameter.type, (), suffix)
    if schema.output is not None:
        yield from _places_of("output", schema.output, (), "")


def _places_of(path: str, kind: Any, more: tuple[Any, ...], suffix: str) -> Iterator[Any]:
    """Yield a place and those within it. more, suffix: what else is exactly so, and its words."""
    match kind:
        case t.Frame(columns=columns, library=library):
            words = f"frame of {library}{suffix}"
            yield path, _Place(type=[library, suffix], words=words)
            for column in columns:
                yield from _column(f"{path}.{column.name}", column)
        case t.SeriesOf(column=column):
            yield from _column(path, column)
        case t.Record(fields=fields) if fields:
            words = f"{describe(kind)} ({kind.kind}){suffix}"
            yield path, _Place(type=[kind.kind, kind.path, suffix], words=words)
            for field in fields:
                optional = "" if field.required else ", optional"
                yield from _places_of(f"{path}.{field.name}", field.type, (), optional)
        case t.ListOf(item=t.Record() as item):
            yield path, _Place(type=["list", suffix], words=f"list of objects{suffix}")
            yield from _places_of(f"{path}[]", item, (), "")
        case _:
            words = f"{describe(kind)}{suffix}"
            exact = [msgspec.to_builtins(kind), *more, suffix]
            yield path, _Place(type=exact, words=words, levels=_levels(kind))


def _column(path: str, column: t.Column) -> Iterator[Any]:
    words = describe(column.type)
    is_told = column.dtype in words or words in column.dtype  # "float" of "float64"
    dtype = "" if is_told else f" as {column.dtype}"
    exact = (column.dtype, column.storage, column.arrow)
    yield from _places_of(path, column.type, exact, dtype)


def _levels(kind: Any) -> tuple[t.Plain, ...]:
    match kind:
        case t.Categorical(levels=levels):
            return levels
        case t.OneOf(values=values):
            return values
        case t.Enumeration(members=members):
            return tuple(member.value for member in members)
        case t.Maybe(of=of) | t.Constrained(of=of):
            return _levels(of)
        case t.ListOf(item=item):
            return _levels(item)
        case _:
            return ()
