"""What breaks for callers when one function takes another's place."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope.errors import SchemaError
from envelope.schema import compile_checker
from envelope.schema import types as t
from envelope.schema.compatibility import breaking_changes
from envelope.schema.fits import Scope, misfits
from tests.unit.schema.strategies import TYPED
from tests.unit.schema.test_types import EXAMPLES

INT, FLOAT, TEXT = t.Integer(64), t.Float(), t.Text()


def column(name: str, kind: t.Type, dtype: str = "int64") -> t.Column:
    return t.Column(name, kind, dtype, "numpy")


def frame(**columns: t.Type) -> t.Frame:
    return t.Frame(tuple(column(name, kind) for name, kind in columns.items()))


def takes(*parameters: t.Parameter, output: t.Type | None = FLOAT) -> t.FunctionSchema:
    return t.FunctionSchema(parameters, output)


def takes_frame(output: t.Type | None = FLOAT, **columns: t.Type) -> t.FunctionSchema:
    return takes(t.Parameter("X", frame(**columns)), output=output)


def record(*fields: t.Field, path: str | None = None) -> t.Record:
    return t.Record(fields, path=path)


def level(*levels: str) -> t.Categorical:
    return t.Categorical(TEXT, levels)


TREE = record(t.Field("children", t.ListOf(t.Recursion("m:Tree"))), path="m:Tree")
OTHER_TREE = record(
    t.Field("children", t.ListOf(t.Recursion("n:Node"))),
    t.Field("size", INT, required=False),
    path="n:Node",
)
TREE_OF_TEXT = record(
    t.Field("children", t.ListOf(t.Recursion("n:Node"))), t.Field("size", TEXT), path="n:Node"
)


@pytest.mark.parametrize(
    "old, new, changes",
    [
        pytest.param(takes_frame(age=INT), takes_frame(age=INT), [], id="same"),
        pytest.param(
            takes_frame(age=INT),
            takes_frame(age=TEXT),
            ["input column age takes str, it was int64"],
            id="column-of-another-type",
        ),
        pytest.param(
            takes_frame(age=INT, city=TEXT),
            takes_frame(age=INT),
            ["input column city is gone, callers send it"],
            id="column-gone",
        ),
        pytest.param(
            takes_frame(age=INT),
            takes_frame(age=INT, income=FLOAT),
            ["input column income is required, callers need not send it: float"],
            id="column-new",
        ),
        pytest.param(takes_frame(age=INT), takes_frame(age=FLOAT), [], id="int-column-to-float"),
        pytest.param(
            takes_frame(age=FLOAT),
            takes_frame(age=INT),
            ["input column age takes int64, it was float"],
            id="float-column-to-int",
        ),
        pytest.param(
            takes_frame(age=t.Maybe(INT)),
            takes_frame(age=INT),
            ["input column age takes int64, it was int64 or null"],
            id="null-not-taken",
        ),
        pytest.param(
            takes_frame(city=level("Paris", "Rome")),
            takes_frame(city=level("Paris", "Oslo", "Bern")),
            [
                "input column city takes one of 3 levels (without 'Rome') (with 'Oslo', 'Bern'), "
                "it was one of 2 levels"
            ],
            id="level-gone",
        ),
        pytest.param(
            takes_frame(city=level("a", "b")), takes_frame(city=TEXT), [], id="levels-to-any-text"
        ),
        pytest.param(
            takes_frame(age=INT),
            takes(t.Parameter("age", INT)),
            ["the input is a member per parameter, it was one frame"],
            id="frame-to-parameters",
        ),
        pytest.param(
            takes(t.Parameter("a", INT), t.Parameter("b", INT)),
            takes(t.Parameter("a", INT), t.Parameter("c", INT)),
            [
                "input parameter b is gone, callers send it",
                "input parameter c is required, callers need not send it: int64",
            ],
            id="parameter-renamed",
        ),
        pytest.param(
            takes(t.Parameter("a", INT)),
            takes(t.Parameter("a", INT), t.Parameter("b", INT, required=False)),
            [],
            id="new-with-default",
        ),
        pytest.param(
            takes(t.Parameter("a", INT, required=False)),
            takes(t.Parameter("a", INT)),
            ["input parameter a is required, callers need not send it: int64"],
            id="default-gone",
        ),
        pytest.param(
            takes(t.Parameter("a", record(t.Field("x", INT), t.Field("y", INT)))),
            takes(t.Parameter("a", record(t.Field("x", TEXT)))),
            [
                "input parameter a.y is gone, callers send it",
                "input parameter a.x takes str, it was int64",
            ],
            id="members-of-a-record",
        ),
        pytest.param(
            takes_frame(output=frame(score=FLOAT, label=TEXT), a=INT),
            takes_frame(output=frame(score=FLOAT), a=INT),
            ["output column label is gone, callers read it"],
            id="output-column-gone",
        ),
        pytest.param(
            takes_frame(output=frame(score=FLOAT), a=INT),
            takes_frame(output=frame(score=FLOAT, label=TEXT), a=INT),
            [],
            id="output-column-new",
        ),
        pytest.param(
            takes_frame(output=t.Array("float64", FLOAT, (None, 2)), a=INT),
            takes_frame(output=t.Array("float64", FLOAT, (None, 3)), a=INT),
            ["output[] is float64 array of 3, it was float64 array of 2"],
            id="one-more-class",
        ),
        pytest.param(
            takes_frame(output=FLOAT, a=INT),
            takes_frame(output=t.Float(nan=True), a=INT),
            ["output is float or null, it was float"],
            id="output-may-be-null",
        ),
        pytest.param(
            takes_frame(output=FLOAT, a=INT),
            takes_frame(output=None, a=INT),
            ["the output is not known, it was float"],
            id="output-unknown",
        ),
        pytest.param(
            takes(t.Parameter("a", TREE)), takes(t.Parameter("a", OTHER_TREE)), [], id="recursion"
        ),
        pytest.param(
            takes(t.Parameter("a", OTHER_TREE)),
            takes(t.Parameter("a", TREE_OF_TEXT)),
            ["input parameter a.size is required, callers need not send it: str"],
            id="recursion-that-changes",
        ),
    ],
)
def test_breaking_changes(old: t.FunctionSchema, new: t.FunctionSchema, changes: list[str]) -> None:
    assert breaking_changes(old, new) == changes


def test_a_column_that_is_ignored_may_go() -> None:
    old, new = takes_frame(a=INT, b=INT), takes_frame(a=INT)
    assert breaking_changes(old, new, extra_columns="ignore") == []


def fits(sent: t.Type, read: t.Type) -> bool:
    return next(misfits(sent, read, "", Scope(extra="refuse")), None) is None


BOTH, FORWARD, NEITHER = "both", "forward", "neither"


@pytest.mark.parametrize(
    "one, other, which",
    [
        (t.Null(), t.Maybe(INT), FORWARD),
        (t.Null(), t.Float(nan=True), FORWARD),
        (t.Null(), INT, NEITHER),
        (t.Boolean(), INT, NEITHER),
        (t.Integer(8), INT, FORWARD),
        (t.Integer(8, False), t.Integer(16), FORWARD),
        (t.Integer(8, False), t.Integer(8), NEITHER),
        (INT, t.Integer(), FORWARD),
        (t.Integer(8), t.Float(16), FORWARD),
        (t.Integer(32), t.Float(32), NEITHER),
        (t.Float(32), FLOAT, BOTH),
        (t.Float(16), FLOAT, FORWARD),
        (FLOAT, t.Float(nan=True), FORWARD),
        (FLOAT, t.Maybe(FLOAT), FORWARD),
        (t.Maybe(FLOAT), t.Float(nan=True), BOTH),
        (INT, t.Decimal(), FORWARD),
        (t.Integer(8), t.Decimal(5, 2), FORWARD),
        (INT, t.Decimal(5, 2), NEITHER),
        (t.Decimal(5, 2), t.Decimal(), FORWARD),
        (t.Decimal(5, 2), t.Decimal(7, 3), FORWARD),
        (t.Decimal(5, 2), t.Decimal(5, 3), NEITHER),
        (TEXT, t.Bytes(), NEITHER),
        (t.Date(), t.Timestamp(), NEITHER),
        (t.Time("s"), t.Time("us"), FORWARD),
        (t.Timestamp("s"), t.Timestamp("ns"), FORWARD),
        (t.Timestamp(), t.Timestamp(zone="any"), FORWARD),
        (t.Timestamp(zone="UTC"), t.Timestamp(zone="Europe/Rome"), BOTH),
        (t.Timestamp(), t.Timestamp(zone="UTC"), NEITHER),
        (t.Timestamp(pandas=True), t.Timestamp(), BOTH),
        (t.Duration("ms"), t.Duration("us"), FORWARD),
        (t.Uuid(), TEXT, NEITHER),
        (t.OneOf(("a",)), t.OneOf(("a", "b")), FORWARD),
        (t.OneOf((1,)), t.OneOf((True,)), NEITHER),
        (t.OneOf(("a",)), TEXT, FORWARD),
        (t.OneOf((300,)), t.Integer(8), NEITHER),
        (t.OneOf(("a",)), level("a", "b"), FORWARD),
        (t.Enumeration("m:E", (t.Member("A", "a"),)), t.OneOf(("a",)), BOTH),
        (t.Categorical(t.Date(), ("2024-01-01",)), t.Date(), FORWARD),
        (t.NumpyScalar("int8", t.Integer(8)), t.Integer(8), BOTH),
        (t.Maybe(t.NumpyScalar("int8", t.Integer(8))), t.Maybe(INT), FORWARD),
        (INT, t.AnyOf((TEXT, INT)), FORWARD),
        (t.AnyOf((TEXT, INT)), t.AnyOf((INT, t.Boolean(), TEXT)), FORWARD),
        (t.Maybe(INT), t.AnyOf((INT, t.Null())), BOTH),
        (t.Constrained(INT, ge=1, le=5), t.Constrained(INT, gt=0, lt=6), FORWARD),
        (t.Constrained(INT, ge=0), INT, FORWARD),
        (t.Integer(8), t.Constrained(INT, ge=-128), FORWARD),
        (t.Constrained(INT, multiple_of=4), t.Constrained(INT, multiple_of=2), FORWARD),
        (t.Constrained(TEXT, max_length=3), t.Constrained(TEXT, max_length=5), FORWARD),
        (t.Constrained(TEXT, pattern="a"), t.Constrained(TEXT, pattern="b"), NEITHER),
        (t.OneOf((1, 2)), t.Constrained(INT, ge=1), FORWARD),
        (t.OneOf(("a",)), t.Constrained(INT, ge=1), NEITHER),
        (t.ListOf(t.Integer(8)), t.ListOf(INT), FORWARD),
        (t.SetOf(INT), t.ListOf(INT), FORWARD),
        (t.TupleOf((INT, INT)), t.ListOf(INT), FORWARD),
        (t.TupleOf((INT, INT)), t.TupleOf((INT,), INT), FORWARD),
        (t.TupleOf((INT,)), t.TupleOf((INT, INT)), NEITHER),
        (t.ListOf(INT), t.TupleOf(rest=INT), BOTH),
        (t.SeriesOf(column("a", INT)), t.ListOf(INT), BOTH),
        (t.Array("int64", INT, (2,)), t.Array("int64", INT, (None,)), FORWARD),
        (t.Array("int64", INT, (None, 2)), t.ListOf(t.ListOf(INT)), FORWARD),
        (t.Array("int64", INT, (None, 2)), t.Array("float64", FLOAT), FORWARD),
        (t.Array("int64", INT, ()), INT, BOTH),
        (t.MapOf(TEXT, t.Integer(8)), t.MapOf(TEXT, INT), FORWARD),
        (t.MapOf(TEXT, INT), t.MapOf(INT, INT), NEITHER),
        (record(t.Field("a", INT)), record(t.Field("a", INT, required=False)), FORWARD),
        (frame(a=t.Integer(8)), frame(a=INT), FORWARD),
        (
            t.SparseMatrix("csr", "int8", t.Integer(8), 3),
            t.SparseMatrix("coo", "int64", INT, 3),
            FORWARD,
        ),
        (
            t.SparseMatrix("csr", "int8", t.Integer(8), 3),
            t.SparseMatrix("csr", "int8", t.Integer(8), 4),
            NEITHER,
        ),
        (INT, t.Anything(), FORWARD),
    ],
    ids=str,
)
def test_what_fits(one: t.Type, other: t.Type, which: str) -> None:
    assert (fits(one, other), fits(other, one)) == (which != NEITHER, which == BOTH)


@pytest.mark.parametrize("kind", EXAMPLES.values(), ids=lambda kind: type(kind).__name__)
def test_every_type_fits_itself_and_anything_and_nothing_else(kind: t.Type) -> None:
    assert fits(kind, kind)
    assert fits(kind, t.Anything())
    other = t.MapOf(t.Uuid(), t.Uuid())
    assert fits(kind, other) == (kind == other)
    assert not fits(t.Anything(), kind) or isinstance(kind, t.Anything)


def test_every_type_is_in_the_table() -> None:
    assert set(typing.get_args(t.Type)) - set(EXAMPLES) <= {t.Categorical, t.Recursion}


def _variants(kind: t.Type) -> list[t.Type]:
    """Types near another one: what a retrained model's schema becomes."""
    near: list[t.Type] = [kind, t.Maybe(kind), t.Anything(), t.AnyOf((TEXT, kind))]
    match kind:
        case t.Integer():
            near += [INT, t.Integer(), t.Integer(16), FLOAT, t.Decimal(), t.Decimal(30, 2)]
        case t.Float():
            near += [t.Float(nan=True), t.Constrained(FLOAT, ge=0)]
        case t.ListOf(item=item):
            near += [t.ListOf(each) for each in _variants(item)]
            near += [t.TupleOf(rest=item), t.SetOf(item)]
        case t.TupleOf(items=items) if items:
            near += [t.ListOf(items[0]), t.TupleOf(items[:-1]), t.TupleOf(items, TEXT)]
        case t.MapOf(key=key, value=value):
            near += [t.MapOf(key, each) for each in _variants(value)]
        case t.Record(fields=fields) if fields:
            first, *rest = fields
            near += [t.Record((t.Field(first.name, each), *rest)) for each in _variants(first.type)]
            near += [t.Record(tuple(rest)), t.Record((*fields, t.Field("added", INT, False)))]
        case t.OneOf(values=values):
            near += [t.OneOf(values[1:]), t.OneOf((*values, "more")), TEXT]
        case t.Constrained(of=of):
            near += [of, t.Constrained(of, ge=-5), t.Constrained(of, ge=3)]
    return near


@st.composite
def changed_types(draw: st.DrawFn) -> tuple[t.Type, t.Type, Any]:
    kind, values = draw(TYPED)
    return kind, draw(st.sampled_from(_variants(kind))), draw(values)


@given(changed_types())
def test_what_fits_is_accepted(drawn: tuple[t.Type, t.Type, Any]) -> None:
    """Where the types are said to fit, the reader takes every value; integers up to 2**53."""
    old, new, value = drawn
    if not fits(old, new):
        return
    writer = compile_checker(takes(t.Parameter("a", old)))
    body = writer.write_arguments({"a": value})
    reader = compile_checker(takes(t.Parameter("a", new)))
    try:
        reader.read_value(body)
    except SchemaError as exc:
        assert all("would round" in fault.got for fault in exc.faults), exc
