"""A diff as people read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from envelope.diff.changes import Change, Kind, TextChange
from envelope.diff.difference import Diff, FunctionChange, Side
from envelope.diff.moments import ColumnChange
from envelope.diff.schemas import TypeChange

SIGNS: dict[Kind, str] = {"added": "+", "removed": "-", "changed": "~"}
MAX_CHARACTERS = 60  # of a value in a line
SHORT_HASH = 12


def as_text(diff: Diff) -> str:
    """Return a diff in lines: +, - and ~ for what was added, removed and changed."""
    lines = [f"a  {_side(diff.a)}", f"b  {_side(diff.b)}"]
    sections: list[tuple[str, Iterable[str]]] = [
        ("model", _changes(diff.model)),
        *((f"function {one.name}", _function(one)) for one in diff.functions),
        ("environment", _changes(diff.environment)),
        ("packages", _changes(diff.packages)),
        ("modules", _texts(diff.modules)),
        ("hyperparameters", _changes(diff.hyperparameters)),
        ("fitted", _changes(diff.fitted)),
        ("datasets", _changes(diff.datasets)),
        ("tags", _changes(diff.tags)),
        ("metrics", _changes(diff.metrics)),
    ]
    for title, content in sections:
        inner = [f"  {line}".rstrip() for line in content]
        if inner:
            lines += ["", title, *inner]
    if len(lines) == 2:
        lines += ["", "no difference"]
    return "\n".join(lines)


def _side(side: Side) -> str:
    return f"{side.id}  {side.created_at:%Y-%m-%d %H:%M}  {side.name}"


def _changes(changes: Iterable[Change]) -> Iterator[str]:
    for change in changes:
        yield f"{SIGNS[change.kind]} {change.name}: {_sides(change)}"


def _sides(change: Change) -> str:
    shown = {"added": (change.new,), "removed": (change.old,)}
    return " -> ".join(_value(value) for value in shown.get(change.kind, (change.old, change.new)))


def _value(value: Any) -> str:
    match value:
        case str():
            text = value
        case float():
            text = f"{value:.6g}"
        case {"type": str(kind)}:  # a structured metric
            text = kind
        case [str(sha256)] if len(sha256) == 64:
            text = sha256[:SHORT_HASH]
        case _:
            text = json.dumps(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 3]}..."


def _function(change: FunctionChange) -> Iterator[str]:
    if change.kind != "changed":
        yield change.kind
    yield from map(_type, change.schema)
    if change.answers is not None:
        yield f"~ answers: {change.answers.old} -> {change.answers.new}"
    if change.source is not None:
        yield "~ source"
        yield from _indented(change.source.text)
    if change.statistics:
        yield "statistics"
        yield from (f"  {_column(column)}" for column in change.statistics)


def _type(change: TypeChange) -> str:
    sides = [words for words in (change.old, change.new) if words is not None]
    parts = [" -> ".join(dict.fromkeys(sides))]
    for word, levels in (("new", change.levels_added), ("gone", change.levels_removed)):
        if levels:
            parts.append(f"{word} {_value(', '.join(map(str, levels)))}")
    return f"{SIGNS[change.kind]} {change.place}: {'; '.join(parts)}"


def _column(change: ColumnChange) -> str:
    moments = ", ".join(f"{moment.name} {_moment(moment)}" for moment in change.moments)
    return f"{SIGNS[change.kind]} {change.column}{': ' if moments else ''}{moments}"


def _moment(change: Change) -> str:
    old = "none" if change.kind == "added" else _value(change.old)
    new = "none" if change.kind == "removed" else _value(change.new)
    return f"{old} -> {new}"


def _texts(changes: Iterable[TextChange]) -> Iterator[str]:
    for change in changes:
        yield f"{SIGNS[change.kind]} {change.name}"
        yield from _indented(change.text)


def _indented(text: str) -> Iterator[str]:
    return (f"  {line}" for line in text.splitlines())
