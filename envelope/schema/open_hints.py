"""Annotations that say what holds the values and not what they are: frames, arrays, a bare list.

The examples given for such a place describe it; `Any` too, as soon as they are more than JSON.
"""

from __future__ import annotations

import collections.abc
import inspect
import math
import typing
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import typing_inspect

from envelope.errors import SchemaError
from envelope.schema import types as t
from envelope.schema.example_tables import dtype_name, numpy_element
from envelope.schema.examples import numpy_scalar, type_of_examples

Examples = Sequence[Any]


class NeedsExample(SchemaError):
    """An annotation that leaves a place open, and no example that fills it."""


# What holds the values, without what they are. The value: how another example is made into one.
OPEN: dict[Any, Callable[[Any], Any] | None] = {
    pd.DataFrame: None,
    pd.Series: pd.Series,
    np.ndarray: np.asarray,
    pa.Table: None,
    list: list,
    tuple: None,
    set: set,
    frozenset: frozenset,
    dict: None,
    typing.List: list,  # noqa: UP006 (people write it)
    typing.Tuple: None,  # noqa: UP006
    typing.Set: set,  # noqa: UP006
    typing.FrozenSet: frozenset,  # noqa: UP006
    typing.Dict: None,  # noqa: UP006
    typing.Sequence: list,
    typing.Iterable: list,
    typing.Mapping: None,
    collections.abc.Sequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    collections.abc.Mapping: None,
    inspect.Parameter.empty: None,
}


def is_array_like(hint: Any) -> bool:
    """Tell whether the hint is numpy's ArrayLike, a union of half of Python."""
    from numpy.typing import ArrayLike

    return typing_inspect.is_union_type(hint) and bool(hint == ArrayLike)


def from_examples(hint: Any, examples: Examples, where: str) -> t.Type:
    if not examples:
        name = (
            "nothing" if hint is inspect.Parameter.empty else getattr(hint, "__name__", str(hint))
        )
        raise NeedsExample(
            f"{where} is annotated with {name}, which does not say what it holds; give an example "
            "(api_input for parameters, api_output for the answer), or annotate it in full, "
            "for example list[float]"
        )
    if hint is inspect.Parameter.empty:
        return type_of_examples(examples, where)
    convert = OPEN.get(hint, np.asarray)
    kind = typing_inspect.get_origin(hint) or hint
    kind = np.ndarray if kind is np.array else kind
    values = [
        value
        if isinstance(value, kind) or convert is None or isinstance(value, str | pd.DataFrame)
        else convert(value)
        for value in examples
    ]
    for value in values:
        if not isinstance(value, kind):
            raise SchemaError(
                f"{where} is annotated with {kind.__name__}, its example is a "
                f"{type(value).__qualname__}; make them agree"
            )
    return type_of_examples(values, where)


def array_hint(hint: Any, examples: Examples, where: str) -> t.Type:
    """Describe np.ndarray[shape, np.dtype[scalar]], which NDArray[scalar] is short for."""
    arguments = typing_inspect.get_args(hint)
    dtype_arguments = typing_inspect.get_args(arguments[1]) if len(arguments) > 1 else ()
    scalar = dtype_arguments[0] if dtype_arguments else Any
    if not (isinstance(scalar, type) and issubclass(scalar, np.generic)):
        return from_examples(np.ndarray, examples, where)
    stated = numpy_hint(scalar, where)
    if examples:
        seen = cast(t.Array, from_examples(np.ndarray, examples, where))
        if seen.dtype != stated.dtype:
            raise SchemaError(
                f"{where} is annotated as an array of {stated.dtype}, its example is of "
                f"{seen.dtype}; make them agree"
            )
        return seen
    return t.Array(stated.dtype, numpy_element(np.dtype(scalar), where))


def numpy_hint(hint: type[np.generic], where: str) -> t.NumpyScalar:
    if hint in _ABSTRACT or np.dtype(hint).kind in "Mm":
        raise SchemaError(
            f"{where} is annotated with numpy.{hint.__name__}, which leaves the size open; name "
            "one type, for example np.float64"
        )
    dtype: Any = np.dtype(hint)
    return t.NumpyScalar(dtype_name(dtype), numpy_scalar(dtype, where).of)


_ABSTRACT = {
    np.generic,
    np.number,
    np.integer,
    np.signedinteger,
    np.unsignedinteger,
    np.inexact,
    np.floating,
    np.complexfloating,
    np.flexible,
    np.character,
}


def any_hint(examples: Examples, where: str) -> t.Type:
    """Describe `Any`: any JSON value, unless an example is something that JSON does not hold.

    Libraries annotate with it what takes frames and arrays (xgboost's `predict(X: Any)`).
    """
    if all(map(_is_json, examples)):
        return t.Anything()
    return type_of_examples(examples, where)


def _is_json(value: Any) -> bool:
    """Tell whether JSON brings a value back as it is."""
    if type(value) is list:
        return all(map(_is_json, value))
    if type(value) is dict:
        return all(type(key) is str and _is_json(item) for key, item in value.items())
    if type(value) is float:
        return math.isfinite(value)
    return type(value) in (type(None), bool, int, str)
