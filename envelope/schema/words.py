"""Types and values in the words that people read in faults and docs."""

from __future__ import annotations

import json
import re
from typing import Any

from envelope.schema import types as t

_IDENTIFIER = re.compile(r"[^\W\d]\w*")
MOST_OF_A_NAME = 64  # characters: what a caller names without need is not sent back at any length
Path = tuple[Any, Any] | None  # a linked list of steps: (the path before it, name, index or entry)


class Entry(int):
    """The place of an entry in an object of free keys, which are data and so never shown."""


def show_path(path: Path) -> str:
    """Return a path as people write it: `rows[3].age`, `rows[0]["first name"]`, `x[entry 2]`."""
    steps: list[str] = []
    while path is not None:
        path, step = path
        if isinstance(step, Entry):
            steps.append(f"[entry {step}]")
        elif isinstance(step, int):
            steps.append(f"[{step}]")
        else:
            steps.append(_show_name(step))
    return "".join(reversed(steps)).removeprefix(".")


def _show_name(name: str) -> str:
    if len(name) > MOST_OF_A_NAME:
        name = name[:MOST_OF_A_NAME] + "..."
    if _IDENTIFIER.fullmatch(name):
        return f".{name}"
    name = name.encode("utf-8", "replace").decode()  # half a surrogate pair
    return f"[{json.dumps(name, ensure_ascii=False)}]"


def describe(kind: t.Type) -> str:
    """Return a type in words: "int64", "list[float]", "one of 'a', 'b'"."""
    match kind:
        case t.Integer(bits=bits, signed=signed):
            return "int" if bits is None else f"{'' if signed else 'u'}int{bits}"
        case t.Float(bits=bits, nan=nan):
            name = "float" if bits == 64 else f"float{bits}"
            return f"{name} or null" if nan else name
        case t.Decimal(precision=precision, scale=scale):
            return "decimal" if precision is None else f"decimal({precision}, {scale})"
        case t.Timestamp(unit=unit, zone=zone):
            if zone == "any":
                return "timestamp"
            return f"timestamp[{unit}{'' if zone is None else ', ' + zone}]"
        case t.OneOf(values=values):
            return "one of " + _shorten([repr(value) for value in values])
        case t.Enumeration(members=members):
            return "one of " + _shorten([repr(member.value) for member in members])
        case t.Categorical(levels=levels):
            return f"one of {len(levels)} levels"
        case t.NumpyScalar(dtype=dtype):
            return dtype
        case t.Maybe(of=of):
            return f"{describe(of)} or null"
        case t.AnyOf(members=members):
            return " or ".join(describe(member) for member in members)
        case t.Constrained():
            return f"{describe(kind.of)} {_bounds(kind)}"
        case t.ListOf(item=item):
            return f"list[{describe(item)}]"
        case t.SetOf(item=item):
            return f"set[{describe(item)}]"
        case t.TupleOf(items=items, rest=rest):
            inner = [describe(item) for item in items]
            return f"tuple[{', '.join(inner if rest is None else [*inner, describe(rest), '...'])}]"
        case t.MapOf(key=key, value=value):
            return f"object of {describe(key)} to {describe(value)}"
        case t.Record(path=path):
            return "object" if path is None else path.rpartition(":")[2]
        case t.Recursion(path=path):
            return path.rpartition(":")[2]
        case t.Frame():
            return "frame"
        case t.SeriesOf(column=column):
            return f"list[{describe(column.type)}]"
        case t.Array(dtype=dtype, shape=shape):
            if shape is None:
                return f"{dtype} array"
            lengths = " x ".join("n" if length is None else str(length) for length in shape)
            return f"{dtype} array of {lengths}" if shape else f"{dtype} array of no dimension"
        case t.SparseMatrix(dtype=dtype, columns=columns):
            return f"sparse {dtype} matrix of n x {columns}"
        case _:
            return _SIMPLE[type(kind)]


_SIMPLE: dict[type, str] = {
    t.Null: "null",
    t.Boolean: "bool",
    t.Text: "str",
    t.Bytes: "bytes (base64)",
    t.Date: "date",
    t.Time: "time",
    t.Duration: "duration",
    t.Uuid: "uuid",
    t.Anything: "any JSON value",
}


def describe_value(value: Any) -> str:
    """Return what a value is, without the value: "str", "int", "float64 array of 3 x 2"."""
    if value is None:
        return "null"
    if isinstance(value, float) and value != value:
        return "NaN"
    if isinstance(value, dict):
        return "object"
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(value, "shape") and kind.__name__ == "ndarray":
        lengths = " x ".join(map(str, value.shape))
        return f"{value.dtype} array of {lengths or 'no dimension'}"
    if kind.__module__ in ("builtins", "datetime", "decimal", "uuid"):
        return kind.__name__
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


def _shorten(values: list[str], most: int = 8) -> str:
    shown = ", ".join(values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"


def _bounds(kind: t.Constrained) -> str:
    words = {
        "ge": ">= {}",
        "gt": "> {}",
        "le": "<= {}",
        "lt": "< {}",
        "multiple_of": "a multiple of {}",
        "min_length": "of length >= {}",
        "max_length": "of length <= {}",
        "pattern": "matching {!r}",
    }
    stated = ((word, getattr(kind, name)) for name, word in words.items())
    return " and ".join(word.format(bound) for word, bound in stated if bound is not None)
