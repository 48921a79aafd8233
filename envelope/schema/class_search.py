"""The classes that a function's annotations hold, for when they cannot be imported.

A dataclass written in a notebook belongs to `__main__`, which no replica has; the function that
travels with the envelope brings it along in its annotations.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable
from typing import Any

from envelope.errors import SchemaError
from envelope.schema.annotations import Unresolved, annotated, hints_of, resolved_hints
from envelope.schema.examples import class_path
from envelope.schema.record_classes import record_kind


def find_classes(function: Callable[..., Any]) -> dict[str, type]:
    """Return "module:qualified name" -> class of every record and enum that is annotated."""
    found: dict[str, type] = {}
    try:
        hints = hints_of(function, "the function")
    except SchemaError:
        return found
    for hint in hints.values():
        _search(hint, found)
    return found


def settle_annotations(function: Callable[..., Any]) -> None:
    """Replace quoted annotations by what they mean, so that the classes travel with the function.

    `from __future__ import annotations` leaves texts, which a pickle of a script's function carries
    without the classes that they name. To be called before the function is pickled. What cannot be
    followed stays as it is.
    """
    owner = annotated(function)
    for one in (getattr(owner, "__func__", owner), *find_classes(function).values()):
        hints = _hints(one)
        for holder in one.__mro__ if isinstance(one, type) else (one,):
            is_class = isinstance(holder, type)  # of a class, what it has of its own
            own: dict[str, Any] = (
                vars(holder).get("__annotations__", {})
                if is_class
                else getattr(holder, "__annotations__", {})
            )
            for name, hint in own.items():
                is_quoted = isinstance(hint, str | typing.ForwardRef)
                if is_quoted and not isinstance(hints.get(name), Unresolved | None):
                    own[name] = hints[name]


def _hints(owner: Any) -> dict[str, Any]:
    try:
        return resolved_hints(owner, "the function")
    except SchemaError:
        return {}


def _search(hint: Any, found: dict[str, type]) -> None:
    for part in (*typing.get_args(hint), getattr(hint, "__supertype__", None)):
        if part is not None and not isinstance(part, str | bytes | int):
            _search(part, found)
    kind = typing.get_origin(hint) or hint
    if not isinstance(kind, type) or class_path(kind) in found:
        return
    if issubclass(kind, enum.Enum):
        found[class_path(kind)] = kind
    elif record_kind(kind) is not None:
        found[class_path(kind)] = kind
        for inner in _hints(kind).values():
            _search(inner, found)
