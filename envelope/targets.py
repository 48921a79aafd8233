"""Which function is meant: a function, or a method of a model by its name."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from envelope.dataflow import Dataflow, is_driver, make_dataflow
from envelope.errors import EnvelopeError
from envelope.schema import MISSING
from envelope.trial import Target

MAX_SHOWN = 20


def find_target(
    query_function: str | Sequence[str] | Callable[..., Any],
    model: Any = None,
    name: str | None = None,
    *,
    api_input: Any = MISSING,
) -> Target:
    """Find the function to save.

    query_function: the name of a method of `model`, or a function (then `model` is None). A bound
    method stands for its object and its name. Of a Hamilton driver, a variable or several.
    name: what the envelope calls it; None: its own name, "query" for what has none.
    api_input: the example; it tells whether a driver's inputs come as the columns of a frame.
    Raises EnvelopeError saying what can be given instead.
    """
    driver = model.driver if isinstance(model, Dataflow) else model
    if is_driver(driver) and not callable(query_function):
        target = _dataflow(driver, query_function, api_input)
    elif isinstance(query_function, str):
        target = _method(model, query_function)
    elif callable(query_function):
        target = _function(model, query_function)
    else:
        raise EnvelopeError(
            f"query_function is a {type(query_function).__name__}; give a function, or a model "
            "and the name of its method, as in model=model, query_function='predict'"
        )
    chosen = target.name if name is None else name
    if not (isinstance(chosen, str) and chosen.isidentifier()):
        raise EnvelopeError(
            f"{chosen!r} cannot be the name of a function: it becomes part of a URL; use letters, "
            "digits and _"
        )
    return Target(name=chosen, call=target.call, obj=target.obj, attribute=target.attribute)


def _dataflow(driver: Any, variables: str | Sequence[str], api_input: Any) -> Target:
    names = [variables] if isinstance(variables, str) else list(variables)
    flow = make_dataflow(driver, names, api_input)
    return Target(name=flow.__name__, call=flow, obj=flow, attribute=None)


def _method(model: Any, name: str) -> Target:
    if model is None:
        raise EnvelopeError(
            f"query_function={name!r} names a method, and there is no model; give model=, or the "
            "function itself"
        )
    call = getattr(model, name, None)
    if not callable(call):
        kind = "is not callable" if hasattr(model, name) else "does not exist"
        there = _callables(model)
        close = difflib.get_close_matches(name, there, n=3) or there[:MAX_SHOWN]
        more = ", ..." if len(there) > len(close) else ""
        raise EnvelopeError(
            f"{type(model).__name__}.{name} {kind}; query_function can be "
            f"{', '.join(close) or 'a function'}{more}"
        )
    return Target(name=name.strip("_") or "query", call=call, obj=model, attribute=name)


def _function(model: Any, function: Callable[..., Any]) -> Target:
    owner, own_name = getattr(function, "__self__", None), getattr(function, "__name__", None)
    is_method = isinstance(own_name, str) and not isinstance(owner, type | ModuleType | None)
    if is_method and getattr(owner, str(own_name), None) == function and (model in (None, owner)):
        return _method(owner, str(own_name))
    if model is not None:
        raise EnvelopeError(
            "query_function is a function and there is a model too; give the name of the model's "
            "method, or the function alone: the model that it uses travels with it"
        )
    return Target(name=_name_of(function), call=function, obj=function, attribute=None)


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", "")
    return name if name.isidentifier() else "query"


def _callables(model: Any) -> list[str]:
    """List the public methods, those that models usually have first."""
    names = []
    for name in dir(model):
        if name.startswith("_"):
            continue
        try:
            if callable(getattr(model, name)):
                names.append(name)
        except Exception:  # a property that does not apply to this model
            continue
    return sorted(names, key=lambda name: not name.startswith(("predict", "transform", "score")))
