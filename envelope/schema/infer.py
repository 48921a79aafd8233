"""A function and its examples -> its schema.

Annotations win; where they do not say it all (`pd.DataFrame`, nothing) the example does; where
neither does, SchemaError says what to add. A parameter with a default is left out of the schema, so
that the function's own default applies, when it has neither hint nor example, or when it is a
library's (`lightgbm`'s `predict(X, raw_score: bool = False, ...)`) and no example names it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import typing_inspect

from envelope.errors import SchemaError
from envelope.schema import types as t
from envelope.schema.annotations import Unresolved, hints_of
from envelope.schema.hints import type_of_hint
from envelope.schema.open_hints import NeedsExample

MISSING = t.MISSING
_NOTHING: Final = inspect.Parameter.empty


def infer_function(
    function: Callable[..., Any],
    *,
    name: str,
    api_input: Any = MISSING,
    api_output: Any = MISSING,
) -> t.FunctionSchema:
    """Return the schema of a function.

    api_input: the example itself for a function of one parameter; a dict of parameter name ->
    example for several. api_output: an example of what the function returns; without one, and
    without a full annotation, the schema `needs_output`: call the function and use `with_output`.
    Raises SchemaError for what neither annotation nor example describes, with the remedy.
    """
    _require_callable_by_name(function, name)
    parameters = _parameters(function, name)
    hints = hints_of(function, name)
    is_library = _is_library_code(function)
    taken = {
        key: parameter
        for key, parameter in parameters.items()
        if parameter.default is _NOTHING or not (is_library or hints.get(key) is None)
    }
    examples = _examples_by_name(api_input, parameters, taken, hints, name)
    schema_parameters = tuple(
        _parameter(parameter, hints.get(key, _NOTHING), examples, name)
        for key, parameter in parameters.items()
        if key in taken or key in examples
    )
    return t.FunctionSchema(
        tuple(parameter for parameter in schema_parameters if parameter is not None),
        _output(hints.get("return", _NOTHING), api_output, name),
    )


def needs_output(schema: t.FunctionSchema) -> bool:
    """Tell whether only a call of the function can tell what it returns."""
    return schema.output is None


def says_any(kind: t.Type | None) -> bool:
    """Tell whether `Any` was written somewhere in a type, which a value may say more of."""
    return any(isinstance(part, t.Anything) for part in t.walk(kind))


def with_output(
    schema: t.FunctionSchema, output: Any, *, function: Callable[..., Any], name: str
) -> t.FunctionSchema:
    """Return the schema with its output described by what the function returned.

    Raises SchemaError when that has no form outside Python.
    """
    hint = hints_of(function, name).get("return", _NOTHING)
    hint = _NOTHING if isinstance(hint, Unresolved) else hint
    kind = type_of_hint(hint, [output], f"the output of {name}")
    return msgspec.structs.replace(schema, output=kind)


def example_arguments(schema: t.FunctionSchema, api_input: Any) -> dict[str, Any] | None:
    """Return the arguments by name that an example stands for; None when it is not a whole call."""
    names = [parameter.name for parameter in schema.parameters]
    required = {parameter.name for parameter in schema.parameters if parameter.required}
    if not names:
        return {}
    if api_input is MISSING:
        return {} if not required else None
    if _is_by_name(api_input, names, required, may_be_itself=_takes_dict(schema)):
        return dict(api_input)
    if len(names) == 1 or len(required) == 1:
        return {next(iter(required), names[0]): api_input}
    return None


def _takes_dict(schema: t.FunctionSchema) -> bool:
    only = schema.parameters[0].type
    return len(schema.parameters) == 1 and isinstance(only, t.Record | t.MapOf | t.Anything)


def _require_callable_by_name(function: Callable[..., Any], name: str) -> None:
    if not callable(function):
        raise SchemaError(
            f"{name} is a {type(function).__name__}, not a function; pass a function, or a model "
            "and the name of its method"
        )
    if isinstance(function, type):
        raise SchemaError(
            f"{name} is a class; pass an instance that can be called, or a function that makes one"
        )
    plain = inspect.unwrap(function)
    while isinstance(plain, functools.partial):
        plain = inspect.unwrap(plain.func)
    plain = plain if inspect.isroutine(plain) else getattr(type(plain), "__call__", plain)  # noqa: B004
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise SchemaError(
            f"{name} is a generator, whose answers come one by one; return a list instead"
        )


def _is_library_code(function: Callable[..., Any]) -> bool:
    """Tell whether the function was installed, not written by whoever saves it."""
    plain = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(plain, "__code__", None)
    folders = Path(code.co_filename).parts if code is not None else ()
    return "site-packages" in folders or "dist-packages" in folders


def _parameters(function: Callable[..., Any], name: str) -> dict[str, inspect.Parameter]:
    """Return the parameters that a caller can name. `self`, *args and **kwargs are not among them.

    Raises SchemaError for a function that cannot be called by name, or says nothing of itself.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as exc:
        raise SchemaError(
            f"{name} does not say what parameters it takes ({exc}); wrap it, for example "
            "def predict(X): return model.predict(X)"
        ) from exc
    found = {}
    if next(iter(signature.parameters), None) == "self" and inspect.isfunction(function):
        raise SchemaError(
            f"{name} is a method of no object; pass the method of an instance, or the model and "
            "the method's name"
        )
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise SchemaError(
                f"parameter {parameter.name} of {name} is positional-only, and callers send "
                "members by name; wrap it in a function without the /"
            )
        found[parameter.name] = parameter
    if not found and signature.parameters:
        raise SchemaError(
            f"{name} takes only *args or **kwargs, which have no names; wrap it in a function "
            "with named parameters"
        )
    return found


def _examples_by_name(
    api_input: Any,
    parameters: Mapping[str, inspect.Parameter],
    taken: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],
    name: str,
) -> dict[str, Any]:
    """Return parameter name -> example, however api_input gave it."""
    if api_input is MISSING:
        return {}
    if not parameters:
        raise SchemaError(f"{name} takes no parameters; leave api_input out")
    required = {key for key, parameter in taken.items() if parameter.default is _NOTHING}
    only_hint = hints.get(next(iter(parameters)), _NOTHING)
    itself = len(parameters) == 1 and _holds_dicts(only_hint)
    if _is_by_name(api_input, parameters, required, may_be_itself=itself):
        return dict(api_input)
    open_ones = [key for key in taken if _leaves_open(hints.get(key, _NOTHING))]
    for candidates in (list(required), open_ones, list(taken)):
        if len(candidates) == 1:
            return {candidates[0]: api_input}
    given = (
        f"the keys {', '.join(map(str, api_input))}"
        if isinstance(api_input, dict)
        else (f"a {type(api_input).__name__}")
    )
    raise SchemaError(
        f"api_input of {name} is {given}; give a dict of parameter name -> example, "
        f"for {', '.join(taken or parameters)}"
    )


def _is_by_name(
    api_input: Any,
    names: Sequence[str] | Mapping[str, Any],
    required: set[str],
    *,
    may_be_itself: bool,
) -> bool:
    """Tell whether an example is a dict of parameter name -> example."""
    if not isinstance(api_input, dict) or not api_input or may_be_itself:
        return False
    return required <= api_input.keys() <= set(names)


def _holds_dicts(hint: Any) -> bool:
    """Tell whether a parameter with this hint takes dicts itself."""
    if hint is _NOTHING or isinstance(hint, Unresolved):
        return False
    origin = typing_inspect.get_origin(hint) or hint
    return hint is Any or not isinstance(origin, type) or issubclass(origin, Mapping | dict)


def _leaves_open(hint: Any) -> bool:
    """Tell whether only an example can describe this. A hint that is wrong is not open."""
    if isinstance(hint, Unresolved):
        return True
    try:
        type_of_hint(hint, [], "")
    except NeedsExample:
        return True
    except SchemaError:
        return False
    return False


def _parameter(
    parameter: inspect.Parameter, hint: Any, examples: Mapping[str, Any], name: str
) -> t.Parameter | None:
    where = f"parameter {parameter.name} of {name}"
    has_default = parameter.default is not _NOTHING
    has_example = parameter.name in examples
    if isinstance(hint, Unresolved):
        if not has_example:
            raise hint.error(where)
        hint = _NOTHING
    if hint is _NOTHING and not has_example:
        raise SchemaError(
            f"{where} has no annotation and no example; annotate it, or give one in api_input"
        )
    seen = [examples[parameter.name]] if has_example else []
    try:
        kind = type_of_hint(hint, seen, where)
    except NeedsExample:
        if has_default:
            return None
        raise
    if parameter.default is None and not isinstance(kind, t.Maybe | t.Null | t.Anything):
        kind = t.Maybe(kind)  # `x: int = None` means that None may be passed
    default = parameter.default if has_default else msgspec.UNSET
    if default is not msgspec.UNSET and not isinstance(default, str | int | float | bool | None):
        default = msgspec.UNSET
    return t.Parameter(parameter.name, kind, not has_default, default)


def _output(hint: Any, api_output: Any, name: str) -> t.Type | None:
    where = f"the output of {name}"
    if isinstance(hint, Unresolved):
        hint = _NOTHING
    if api_output is not MISSING:
        return type_of_hint(hint, [api_output], where)
    if hint is _NOTHING or _leaves_open(hint):
        return None
    return type_of_hint(hint, [], where)
