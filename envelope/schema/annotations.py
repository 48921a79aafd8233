"""The annotations of functions and classes, forward references followed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

from envelope.errors import SchemaError


@dataclasses.dataclass(frozen=True, slots=True)
class Unresolved:
    """An annotation that refers to a name which is not there at run time."""

    name: str

    def error(self, where: str) -> SchemaError:
        """Return what to raise where no example can stand in for it."""
        return SchemaError(
            f"{where} is annotated with {self.name!r}, which is not defined where it is used; "
            "define or import it in the module (not only under TYPE_CHECKING), or give an example"
        )


def hints_of(function: Callable[..., Any], where: str) -> dict[str, Any]:
    """Return the annotations of a function, method, partial, or object that can be called.

    An object with a `__signature__` of its own is annotated by that. Raises as `resolved_hints`.
    """
    owner = annotated(function)
    signature = getattr(function, "__signature__", None)
    if owner is function or not isinstance(signature, inspect.Signature):
        return resolved_hints(owner, where)
    said = {name: one.annotation for name, one in signature.parameters.items()}
    said["return"] = signature.return_annotation
    return {name: hint for name, hint in said.items() if hint is not inspect.Signature.empty}


def annotated(function: Callable[..., Any]) -> Any:
    """Return the function or method that holds the annotations."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def resolved_hints(owner: Any, where: str) -> dict[str, Any]:
    """Return the annotations of a function or class, forward references followed.

    One that leads nowhere is `Unresolved`. Raises SchemaError for one that is no Python.
    """
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except NameError:
        holders = reversed(owner.__mro__) if isinstance(owner, type) else (owner,)
        return {
            name: _resolved(scope, name, hint)
            for holder in holders
            for scope in (_scope(holder),)
            for name, hint in inspect.get_annotations(holder).items()
        }
    except (TypeError, SyntaxError, AttributeError) as exc:
        raise SchemaError(
            f"the annotations of {where} cannot be read: {exc}; correct them"
        ) from exc


def _scope(owner: Any) -> dict[str, Any]:
    """Return the names around the place where a function or class was written.

    Those of its module, those that it closes over, and, while the function that defines it is still
    running (a notebook's helper, a test), the local ones there: quoted annotations keep no hold on
    what they name.
    """
    plain = inspect.unwrap(owner) if callable(owner) else owner
    plain = getattr(plain, "__func__", plain)
    module = sys.modules.get(getattr(plain, "__module__", ""))
    scope = dict(getattr(plain, "__globals__", None) or vars(module or types))
    outer = getattr(plain, "__qualname__", "").rpartition(".<locals>.")[0]
    frame = inspect.currentframe() if outer else None
    while frame is not None:
        is_there = frame.f_code.co_qualname == outer
        if is_there and frame.f_globals.get("__name__") == plain.__module__:
            scope.update(frame.f_locals)
            break
        frame = frame.f_back
    if isinstance(plain, types.FunctionType):
        scope.update(_closed_over(plain))
    return scope


def _closed_over(function: types.FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not assigned yet
            found[name] = cell.cell_contents
    return found


def _resolved(scope: dict[str, Any], name: str, hint: Any) -> Any:
    alone = types.SimpleNamespace(__annotations__={name: hint})
    try:
        return typing.get_type_hints(alone, globalns=scope, include_extras=True)[name]
    except NameError as exc:
        return Unresolved(str(exc.name))
