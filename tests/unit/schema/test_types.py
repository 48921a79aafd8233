"""The closed set of records: every table that dispatches on it has every one."""

from __future__ import annotations

import typing

import msgspec
import pytest

from envelope.schema import compile_checker, describe, json_schemas
from envelope.schema import types as t

EXAMPLES: dict[type, t.Type] = {
    t.Null: t.Null(),
    t.Boolean: t.Boolean(),
    t.Integer: t.Integer(8),
    t.Float: t.Float(32, nan=True),
    t.Decimal: t.Decimal(5, 2),
    t.Text: t.Text(),
    t.Bytes: t.Bytes(),
    t.Date: t.Date(),
    t.Time: t.Time(),
    t.Timestamp: t.Timestamp("ns", "Europe/Berlin"),
    t.Duration: t.Duration("ms"),
    t.Uuid: t.Uuid(),
    t.OneOf: t.OneOf(("a", 1)),
    t.Enumeration: t.Enumeration("http:HTTPMethod", (t.Member("GET", "GET"),)),
    t.NumpyScalar: t.NumpyScalar("int8", t.Integer(8)),
    t.Maybe: t.Maybe(t.Text()),
    t.AnyOf: t.AnyOf((t.Text(), t.Integer())),
    t.Constrained: t.Constrained(t.Integer(), ge=0),
    t.ListOf: t.ListOf(t.Integer()),
    t.TupleOf: t.TupleOf((t.Integer(),), t.Text()),
    t.SetOf: t.SetOf(t.Integer()),
    t.MapOf: t.MapOf(t.Text(), t.Integer()),
    t.Record: t.Record((t.Field("a", t.Integer(), required=False),)),
    t.Frame: t.Frame((t.Column("a", t.Text(), "str[pyarrow]", "string"),)),
    t.SeriesOf: t.SeriesOf(t.Column("a", t.Integer(8), "int8", "numpy")),
    t.Array: t.Array("int8", t.Integer(8), (None, 2)),
    t.SparseMatrix: t.SparseMatrix("csr", "int8", t.Integer(8), 3),
    t.Anything: t.Anything(),
}
INSIDE_OF_OTHERS = {t.Categorical, t.Recursion}


def test_every_record_has_an_example_here() -> None:
    assert set(typing.get_args(t.Type)) == set(EXAMPLES) | INSIDE_OF_OTHERS


@pytest.mark.parametrize("kind", [pytest.param(k, id=type(k).__name__) for k in EXAMPLES.values()])
def test_every_table_has_every_record(kind: t.Type) -> None:
    schema = t.FunctionSchema((t.Parameter("x", kind),), kind)
    checker = compile_checker(schema)
    assert checker.schema is schema
    assert json_schemas(schema).output
    assert describe(kind)
    encoded = msgspec.json.encode(schema)
    assert msgspec.json.decode(encoded, type=t.FunctionSchema) == schema


@pytest.mark.parametrize(
    "kind, words",
    [
        pytest.param(t.Maybe(t.Integer(8, False)), "uint8 or null", id="maybe"),
        pytest.param(
            t.OneOf(tuple(range(10))), "one of 0, 1, 2, 3, 4, 5, 6, 7 and 2 more", id="of"
        ),
        pytest.param(t.TupleOf((t.Text(),), t.Integer()), "tuple[str, int, ...]", id="tuple"),
        pytest.param(t.MapOf(t.Text(), t.Float()), "object of str to float", id="map"),
        pytest.param(t.Record((), "dataclass", "m:Outer.Inner"), "Outer.Inner", id="record"),
        pytest.param(t.Recursion("m:Tree"), "Tree", id="recursion"),
        pytest.param(t.Array("int8", t.Integer(8)), "int8 array", id="any-rank"),
        pytest.param(t.Array("int8", t.Integer(8), ()), "int8 array of no dimension", id="rank-0"),
        pytest.param(
            t.Constrained(t.Text(), min_length=1, pattern="a"),
            "str of length >= 1 and matching 'a'",
            id="constrained",
        ),
        pytest.param(t.Frame(()), "frame", id="frame"),
    ],
)
def test_words(kind: t.Type, words: str) -> None:
    assert describe(kind) == words


def test_a_manifest_of_a_newer_record_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="hologram"):
        msgspec.json.decode(
            b'{"parameters": [{"name": "x", "type": {"type": "hologram"}}]}', type=t.FunctionSchema
        )
