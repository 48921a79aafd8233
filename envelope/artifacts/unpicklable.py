"""Find the part of an object that cannot be pickled, by trying its members one by one."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any

import cloudpickle

from envelope.artifacts.native import find_codec

DEADLINE_S = 10.0  # a search through gigabytes ends with the deepest place known by then
MAX_DEPTH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """path: e.g. `model.steps[1].connection`. type: its class. reason: what pickle said of it."""

    path: str
    type: str
    reason: str


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Passes over what a codec writes, which a pickle alone may not be able to."""

    def reducer_override(self, obj: Any) -> Any:
        return (bool, ()) if find_codec(type(obj)) else super().reducer_override(obj)


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


def find_culprit(obj: Any, name: str) -> Culprit:
    """Return the innermost member of an unpicklable object that fails by itself.

    name: how the object is called; paths begin with it.
    """
    ends_at = time.monotonic() + DEADLINE_S
    path, reason = name, _failure(obj) or ""
    seen = {id(obj)}
    for _ in range(MAX_DEPTH):
        for step, member in _members(obj):
            if time.monotonic() > ends_at:
                break
            if id(member) in seen or (failure := _failure(member)) is None:
                continue
            seen.add(id(member))
            path, obj, reason = path + step, member, failure
            break
        else:
            break
    kind = type(obj)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return Culprit(path=path, type=f"{module}{kind.__qualname__}", reason=reason)


def _failure(obj: Any) -> str | None:
    try:
        _Pickler(_Nowhere(), protocol=5).dump(obj)
    except Exception as exc:  # anything may be raised by the object's own hooks
        return str(exc) or type(exc).__name__
    return None


def _members(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is pickled with an object, each with how its place is written."""
    if isinstance(obj, dict):
        for key, value in obj.items():
            yield f"[{key!r}]", value
            yield f" key {key!r}", key
    elif isinstance(obj, list | tuple):
        yield from ((f"[{index}]", item) for index, item in enumerate(obj))
    elif isinstance(obj, set | frozenset):
        yield from ((f" element {item!r}", item) for item in obj)
    elif isinstance(obj, FunctionType):
        yield from _members_of_function(obj)
    elif isinstance(obj, MethodType):
        yield ".__self__", obj.__self__
    elif isinstance(obj, functools.partial):
        yield ".func", obj.func
        yield from ((f" argument {index}", item) for index, item in enumerate(obj.args))
        yield from ((f" argument {key}", item) for key, item in obj.keywords.items())
    elif isinstance(obj, type):
        yield from ((f".{name}", item) for name, item in vars(obj).items())
    else:
        yield from _members_of_instance(obj)


def _members_of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            yield f" variable {name!r}", cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            continue
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield f" global {name!r}", function.__globals__[name]
    yield from ((f" default {i}", item) for i, item in enumerate(function.__defaults__ or ()))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # a comprehension or an inner function
            yield from _names(constant)


def _members_of_instance(obj: Any) -> Iterator[tuple[str, Any]]:
    try:
        state = obj.__getstate__()
    except Exception:  # the object's own; its raw attributes are the next best
        state = getattr(obj, "__dict__", None)
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    for part in parts:
        if isinstance(part, dict):
            yield from ((f".{name}", item) for name, item in part.items())
