"""The classes that a function's annotations hold, for when they cannot be imported.

A dataclass written in a notebook belongs to `__main__`, which no replica has; the function that
travels with the envelope brings it along in its annotations.
"""

from __future__ import annotations

import enum
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

from envelope.errors import SchemaError
from envelope.schema.annotations import resolved_hints
from envelope.schema.examples import class_path
from envelope.schema.record_classes import record_kind


def find_classes(function: Callable[..., Any]) -> dict[str, type]:
    """Return "module:qualified name" -> class of every record and enum that is annotated."""
    while isinstance(function, functools.partial):
        function = function.func
    owner = function if inspect.isroutine(function) else type(function).__call__
    found: dict[str, type] = {}
    for hint in _hints(owner).values():
        _search(hint, found)
    return found


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
