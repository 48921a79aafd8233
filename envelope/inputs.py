"""What a function takes, line by line, as people read it: types, and what was seen in training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from envelope.manifest import Function
from envelope.schema import types as t
from envelope.schema.words import describe

MAX_SHOWN_LEVELS = 8
MAX_SHOWN_CHARACTERS = 80


class Input(NamedTuple):
    """One line of a function's inputs, in words."""

    name: str
    type: str
    seen: str
    null: str


def inputs_of(function: Function) -> list[Input]:
    """Return the inputs of a function: a frame's columns, or parameters and the columns in them."""
    schema = function.schema
    known = function.statistics.get("input") or {}
    if schema.one_frame is not None:
        return list(_columns("", schema.one_frame, known))
    members = known.get("members") or {}
    found: list[Input] = []
    for one in schema.parameters:
        about = members.get(one.name) or (known if len(schema.parameters) == 1 else {})
        if isinstance(one.type, t.Frame):
            found += _columns(f"{one.name}.", one.type, about)
            continue
        wanted = "" if one.required else f", optional, else {json.dumps(one.default, default=str)}"
        found.append(
            Input(one.name, _plain(one.type) + wanted, seen(_merged(about)), _null(one.type))
        )
    return found


def _columns(prefix: str, frame: t.Frame, known: Mapping[str, Any]) -> Iterator[Input]:
    about = known.get("columns") or {}
    for column in frame.columns:
        name = str(column.name)
        yield Input(
            prefix + name, _plain(column.type), seen(about.get(name) or {}), _null(column.type)
        )


def _merged(known: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the statistics of all columns of an array as those of one."""
    if "column" in known:
        return known["column"]  # type: ignore[no-any-return]
    columns = [one for one in (known.get("columns") or {}).values() if "min" in one]
    if not columns:
        return {}
    return {"min": min(c["min"] for c in columns), "max": max(c["max"] for c in columns)}


def seen(column: Mapping[str, Any]) -> str:
    """Return what was observed in training: a range, or levels."""
    if column.get("is_sensitive"):
        return "kept private"
    if "min" in column:
        return f"{_short(column['min'])} to {_short(column['max'])}"
    levels = [str(level) for level, _ in column.get("levels") or []]
    if levels:
        shown = levels[:1]
        for level in levels[1:MAX_SHOWN_LEVELS]:
            if len(", ".join([*shown, level])) <= MAX_SHOWN_CHARACTERS:
                shown.append(level)
        more = column.get("distinct", len(levels)) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    if "distinct" in column:
        return f"{column['distinct']} different values"
    return ""


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(kind: t.Type) -> str:
    return describe(kind.of if isinstance(kind, t.Maybe) else kind).removesuffix(" or null")


def _null(kind: t.Type) -> str:
    return "yes" if isinstance(kind, t.Maybe) or getattr(kind, "nan", False) else "no"
