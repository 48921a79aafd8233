"""An example of each function's body, in every format that it reads: the saved sample, or values
made from the types where none was kept. Made once, when the replica starts.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from envelope.errors import SchemaError
from envelope.load import LoadedFunction
from envelope.schema import types as t

if TYPE_CHECKING:
    from envelope.schema import Checker


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A body that the function takes. output: None unless it is that of the saved sample."""

    body: Any
    csv: str | None = None
    output: Any = None


def example_of(function: LoadedFunction, checker: Checker) -> Example | None:
    """Return an example; None where none of our making passes the function's own checks."""
    sample = function.sample
    if sample is not None:
        return Example(body=sample.input, csv=csv_of(checker, sample.input), output=sample.output)
    body = body_of(function.schema)
    try:
        checker.read_json(msgspec.json.encode(body))
    except SchemaError:
        return None
    return Example(body=body, csv=csv_of(checker, body))


def csv_of(checker: Checker, body: Any) -> str | None:
    """Return a frame's body as CSV; None where CSV cannot carry it."""
    from envelope.schema.csv_tables import may_be_json, write_csv

    frame = checker.schema.one_frame
    if frame is None or not isinstance(body, list) or not body:
        return None
    names = [str(column.name) for column in frame.columns]
    cells = [[row.get(name) for row in body] for name in names]
    text = write_csv(cells, names, [may_be_json(column.type) for column in frame.columns])
    try:
        checker.read_csv(text)
    except SchemaError:
        return None
    return text.decode().replace("\r\n", "\n")


def body_of(schema: t.FunctionSchema) -> Any:
    """Return a body made from the types alone."""
    if schema.one_frame is not None:
        return value_of(schema.one_frame)
    return {one.name: value_of(one.type) for one in schema.parameters if one.required}


def value_of(kind: t.Type) -> Any:
    """Return a JSON value of a type: the plainest that there is."""
    make = _VALUES.get(type(kind))
    return _PLAIN.get(type(kind)) if make is None else make(kind)


def _constrained(kind: t.Constrained) -> Any:
    value = value_of(kind.of)
    if isinstance(value, str | list) and len(value) < (kind.min_length or 0):
        item = "a" if isinstance(value, str) else [_first_item(kind.of)]
        return item * (kind.min_length or 0)
    if not isinstance(value, int | float):
        return value
    step = kind.multiple_of or 1
    low, high = kind.ge, kind.le
    if low is None and kind.gt is not None:
        low = kind.gt + step if kind.lt is None else (kind.gt + kind.lt) / 2
    if high is None and kind.lt is not None:
        high = kind.lt - step
    if low is not None and value < low:
        value = low if kind.multiple_of is None else -(-low // step) * step
    elif high is not None and value > high:
        value = high if kind.multiple_of is None else high // step * step
    return value


def _first_item(kind: t.Type) -> Any:
    return value_of(kind.item) if isinstance(kind, t.ListOf | t.SetOf) else None


def _array(kind: t.Array) -> Any:
    value = value_of(kind.of)
    for length in reversed(kind.shape or ()):
        value = [value] * (1 if length is None else length)
    return value


_PLAIN: dict[type, Any] = {
    t.Boolean: True,
    t.Integer: 1,
    t.Float: 1.5,
    t.Decimal: "1",
    t.Text: "text",
    t.Bytes: base64.b64encode(b"bytes").decode(),
    t.Date: "2024-01-31",
    t.Time: "12:30:00",
    t.Duration: "PT1H",
    t.Uuid: "00000000-0000-4000-8000-000000000000",
    t.Anything: {},
}

_VALUES: dict[type, Callable[[Any], Any]] = {
    t.Timestamp: lambda kind: "2024-01-31T12:30:00" + ("" if kind.zone is None else "Z"),
    t.OneOf: lambda kind: kind.values[0],
    t.Enumeration: lambda kind: kind.members[0].value,
    t.Categorical: lambda kind: kind.levels[0],
    t.NumpyScalar: lambda kind: value_of(kind.of),
    t.Maybe: lambda kind: value_of(kind.of),
    t.AnyOf: lambda kind: value_of(kind.members[0]),
    t.Constrained: _constrained,
    t.ListOf: lambda kind: [value_of(kind.item)],
    t.SetOf: lambda kind: [value_of(kind.item)],
    t.TupleOf: lambda kind: [value_of(item) for item in kind.items],
    t.MapOf: lambda kind: {},
    t.Record: lambda kind: {one.name: value_of(one.type) for one in kind.fields if one.required},
    t.Frame: lambda kind: [{str(one.name): value_of(one.type) for one in kind.columns}],
    t.SeriesOf: lambda kind: [value_of(kind.column.type)],
    t.Array: _array,
    t.SparseMatrix: lambda kind: {
        "shape": [1, kind.columns],
        "row": [0],
        "column": [0],
        "value": [value_of(kind.of)],
    },
}
