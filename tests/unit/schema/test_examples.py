"""Example values -> records, as a table."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
import zoneinfo
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse

from envelope.errors import SchemaError
from envelope.schema import types as t
from envelope.schema.example_tables import arrow_text
from envelope.schema.examples import type_of_examples

HERE = __name__
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


class Colour(enum.Enum):
    RED = "red"


class Way(enum.Flag):
    ALONG = 1
    BACK = 2


@dataclasses.dataclass
class Point:
    x: float
    label: str | None = None


class Pair(NamedTuple):
    a: int
    b: str


POINT = t.Record(
    (t.Field("x", t.Float()), t.Field("label", t.Maybe(t.Text()), required=False)),
    "dataclass",
    f"{HERE}:Point",
)
PAIR = t.Record((t.Field("a", t.Integer()), t.Field("b", t.Text())), "named_tuple", f"{HERE}:Pair")
MATRIX = t.Array("float32", t.Float(32, nan=True), (None, 2))


def record(**fields: t.Type) -> t.Record:
    return t.Record(tuple(t.Field(name, kind) for name, kind in fields.items()))


@pytest.mark.parametrize(
    "value, expected",
    [
        pytest.param(None, t.Null(), id="none"),
        pytest.param(True, t.Boolean(), id="bool"),
        pytest.param(3, t.Integer(), id="int"),
        pytest.param(3.5, t.Float(), id="float"),
        pytest.param(float("nan"), t.Float(nan=True), id="nan"),
        pytest.param("a", t.Text(), id="str"),
        pytest.param(b"a", t.Bytes(), id="bytes"),
        pytest.param(decimal.Decimal("1.5"), t.Decimal(), id="decimal"),
        pytest.param(uuid.UUID(int=1), t.Uuid(), id="uuid"),
        pytest.param(datetime.date(2024, 1, 1), t.Date(), id="date"),
        pytest.param(datetime.time(1), t.Time(), id="time"),
        pytest.param(datetime.timedelta(1), t.Duration(), id="timedelta"),
        pytest.param(datetime.datetime(2024, 1, 1), t.Timestamp(), id="naive-datetime"),
        pytest.param(
            datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), t.Timestamp(zone="UTC"), id="utc"
        ),
        pytest.param(
            datetime.datetime(2024, 1, 1, tzinfo=BERLIN),
            t.Timestamp(zone="Europe/Berlin"),
            id="zone",
        ),
        pytest.param(
            pd.Timestamp("2024-01-01", tz="UTC").as_unit("ns"),
            t.Timestamp("ns", zone="UTC", pandas=True),
            id="pandas-timestamp",
        ),
        pytest.param(
            pd.Timedelta("1s").as_unit("ms"), t.Duration("ms", pandas=True), id="pandas-timedelta"
        ),
        pytest.param(
            Colour.RED, t.Enumeration(f"{HERE}:Colour", (t.Member("RED", "red"),)), id="enum"
        ),
        pytest.param(np.float32(1), t.NumpyScalar("float32", t.Float(32)), id="numpy-float"),
        pytest.param(np.uint8(1), t.NumpyScalar("uint8", t.Integer(8, False)), id="numpy-int"),
        pytest.param(np.bool_(True), t.NumpyScalar("bool", t.Boolean()), id="numpy-bool"),
        pytest.param(np.str_("a"), t.NumpyScalar("str", t.Text()), id="numpy-str"),
        pytest.param(
            np.datetime64("2024-01-01T00:00", "us"),
            t.NumpyScalar("datetime64[us]", t.Timestamp("us")),
            id="numpy-datetime",
        ),
        pytest.param([1, 2], t.ListOf(t.Integer()), id="list"),
        pytest.param([1, 2.5], t.ListOf(t.Float()), id="int-and-float"),
        pytest.param([1, None], t.ListOf(t.Maybe(t.Integer())), id="list-with-none"),
        pytest.param([1, "a"], t.ListOf(t.AnyOf((t.Integer(), t.Text()))), id="list-mixed"),
        pytest.param([True, 1], t.ListOf(t.AnyOf((t.Boolean(), t.Integer()))), id="bool-is-no-int"),
        pytest.param([[1], []], t.ListOf(t.ListOf(t.Integer())), id="one-list-empty"),
        pytest.param((1, "a"), t.TupleOf((t.Integer(), t.Text())), id="tuple"),
        pytest.param(
            [(1,), (1, 2)], t.ListOf(t.TupleOf(rest=t.Integer())), id="tuples-of-many-lengths"
        ),
        pytest.param({1, 2}, t.SetOf(t.Integer()), id="set"),
        pytest.param(frozenset("a"), t.SetOf(t.Text(), frozen=True), id="frozenset"),
        pytest.param({"a": 1, "b": "x"}, record(a=t.Integer(), b=t.Text()), id="dict"),
        pytest.param({1: "a", 2: "b"}, t.MapOf(t.Integer(), t.Text()), id="dict-of-int-keys"),
        pytest.param({}, t.Record(()), id="empty-dict"),
        pytest.param(
            [{"a": 1, "b": 2}, {"a": 1.5}],
            t.ListOf(
                t.Record((t.Field("a", t.Float()), t.Field("b", t.Integer(), required=False)))
            ),
            id="keys-missing-in-some",
        ),
        pytest.param(
            [{"a": None}, {"a": {"b": [1]}}],
            t.ListOf(record(a=t.Maybe(record(b=t.ListOf(t.Integer()))))),
            id="deep",
        ),
        pytest.param(Point(1.0), POINT, id="dataclass"),
        pytest.param(Pair(1, "x"), PAIR, id="named-tuple"),
        pytest.param([Pair(1, "x"), Pair(2, "y")], t.ListOf(PAIR), id="named-tuples"),
        pytest.param(
            [Pair(1, "x"), (1, 2)],
            t.ListOf(t.AnyOf((PAIR, t.TupleOf((t.Integer(), t.Integer()))))),
            id="named-and-plain-tuples",
        ),
        pytest.param(np.ones((3, 2), np.float32), MATRIX, id="matrix"),
        pytest.param({"v": np.ones((3, 2), np.float32)}, record(v=MATRIX), id="dict-of-arrays"),
        pytest.param(
            [np.ones((3, 2)), np.ones((3, 4))],
            t.ListOf(t.Array("float64", t.Float(nan=True), (None, None))),
            id="arrays-of-many-shapes",
        ),
        pytest.param(np.array(3), t.Array("int64", t.Integer(64), ()), id="array-of-no-axis"),
        pytest.param(
            np.ones((2, 3, 4, 5), np.int8),
            t.Array("int8", t.Integer(8), (None, 3, 4, 5)),
            id="rank-4",
        ),
        pytest.param(np.array(["a", "bc"]), t.Array("str", t.Text(), (None,)), id="texts"),
        pytest.param(np.array([b"a"]), t.Array("bytes", t.Bytes(), (None,)), id="bytes-array"),
        pytest.param(
            np.array(["a", None], object),
            t.Array("object", t.Maybe(t.Text()), (None,)),
            id="object-array",
        ),
        pytest.param(
            scipy.sparse.csr_matrix(np.eye(3)),
            t.SparseMatrix("csr", "float64", t.Float(nan=True), 3),
            id="sparse-matrix",
        ),
        pytest.param(
            scipy.sparse.coo_array(np.eye(2, dtype=np.int32)),
            t.SparseMatrix("coo", "int32", t.Integer(32), 2, is_array=True),
            id="sparse-array",
        ),
        pytest.param(
            scipy.sparse.dok_matrix(np.eye(2)),
            t.SparseMatrix("dok", "float64", t.Float(nan=True), 2),
            id="sparse-dict-of-keys",
        ),
        pytest.param(
            np.float32("nan"), t.NumpyScalar("float32", t.Float(32, nan=True)), id="numpy-nan"
        ),
        pytest.param(
            pa.table({"a": [1]}, pa.schema([pa.field("a", pa.int64(), nullable=False)])),
            t.Frame(
                (t.Column("a", t.Integer(64), "int64", "arrow", arrow=arrow_text(pa.int64())),),
                library="arrow",
            ),
            id="arrow-not-null",
        ),
        pytest.param(
            pd.Series([1.5], name="y"),
            t.SeriesOf(t.Column("y", t.Float(nan=True), "float64", "numpy")),
            id="series",
        ),
    ],
)
def test_type_of_example(value: Any, expected: t.Type) -> None:
    assert type_of_examples([value], "x") == expected


class Odd:
    pass


class Subclass(np.ndarray):
    pass


MULTI = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])


@pytest.mark.parametrize(
    "value, message",
    [
        pytest.param([], "x[0] is empty, so nothing says", id="empty-list"),
        pytest.param({"a": [[]]}, "x.a[0][0] is empty", id="deep-empty-list"),
        pytest.param(Odd(), f"x is a {HERE}.Odd, which has no form outside Python", id="object"),
        pytest.param([1, Odd()], "x[0] is a", id="object-in-list"),
        pytest.param(1 + 2j, "builtins.complex", id="complex"),
        pytest.param(np.ones(2, complex), "dtype complex128", id="complex-array"),
        pytest.param(np.zeros(2, [("a", "i4")]), "convert it", id="structured-array"),
        pytest.param(np.ones(2).view(Subclass), "plain numpy.ndarray", id="array-subclass"),
        pytest.param(np.array(["2024-01"], "M8[M]"), "seconds or finer", id="months"),
        pytest.param({1.5: 1}, "keys that JSON cannot hold", id="float-keys"),
        pytest.param(iter([1]), "make it a list", id="iterator"),
        pytest.param(pd.NA, "use None", id="na"),
        pytest.param(pd.NaT, "use None", id="nat"),
        pytest.param(pd.Index([1]), ".to_series()", id="index"),
        pytest.param(pd.DataFrame({"a": [1, 2]}, index=MULTI), "reset_index()", id="multi-index"),
        pytest.param(pd.DataFrame([[1, 2]], columns=MULTI), "flatten it", id="multi-index-columns"),
        pytest.param(
            pd.DataFrame({"a": [1]}, index=pd.Index([1], name="id")),
            "an index named 'id'",
            id="named-index",
        ),
        pytest.param(pd.DataFrame({"a": [1]}, index=["r"]), "an index of", id="index-of-texts"),
        pytest.param(
            pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns 'a'", id="repeated-label"
        ),
        pytest.param(
            pd.DataFrame([[1, 2]], columns=[1, "1"]), "two columns '1' and 1", id="1-and-'1'"
        ),
        pytest.param(pd.DataFrame([[1]], columns=[1.5]), "label of type float", id="float-label"),
        pytest.param(pd.DataFrame(index=range(3)), "has no columns", id="no-columns"),
        pytest.param(
            pd.DataFrame({"a": [None, None]}, dtype=object),
            "x['a'] has dtype object and no value",
            id="all-null",
        ),
        pytest.param(
            pd.DataFrame({"a": pd.Series([None, np.nan, "x"], dtype=object)}),
            "more than one kind of null (nan, none)",
            id="two-nulls",
        ),
        pytest.param(pd.DataFrame({"a": [Odd()]}), "x['a'] is a", id="objects"),
        pytest.param(
            pd.DataFrame({"a": pd.period_range("2024", periods=2, freq="M")}),
            ".dt.to_timestamp()",
            id="period",
        ),
        pytest.param(
            pd.DataFrame({"a": pd.cut([1, 2], [0, 1, 2])}), "labels=[...]", id="intervals"
        ),
        pytest.param(
            pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}), "to_dense", id="sparse-column"
        ),
        pytest.param(
            pd.DataFrame({"a": pd.Categorical([None])}), "no levels", id="category-of-nothing"
        ),
        pytest.param(
            pa.table([[1], [2]], names=["a", "a"]), "two columns of one name", id="arrow-repeated"
        ),
        pytest.param(
            pd.DataFrame({"a": pd.arrays.ArrowExtensionArray(pa.array([1], pa.time64("ns")))}),
            "Arrow type time64[ns]",
            id="arrow-time-ns",
        ),
        pytest.param(pa.table({"a": pa.nulls(1)}), "its values will have", id="arrow-null"),
        pytest.param(
            pa.table({"a": pa.array(["x"], pa.string_view())}), "cast it to string", id="arrow-view"
        ),
        pytest.param(pa.table({}), "a table that has no columns", id="arrow-no-columns"),
        pytest.param(Way.ALONG | Way.BACK, "Way is a Flag", id="flag"),
        pytest.param(np.array([1], ">i4"), ".astype('int32')", id="byte-order"),
        pytest.param(pd.Series([1], name=("a", "b")), "a name of type tuple", id="series-name"),
        pytest.param(
            pd.DataFrame([[1]], columns=pd.Index(["\ud800"], dtype=object)),
            "half a surrogate pair",
            id="surrogate-label",
        ),
        pytest.param(
            scipy.sparse.csr_matrix(np.eye(2, dtype=complex)), "to numbers", id="sparse-complex"
        ),
        pytest.param(scipy.sparse.coo_array(np.ones(2)), "only 2 are", id="sparse-one-axis"),
    ],
)
def test_undescribable_example_is_refused_with_a_remedy(value: Any, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        type_of_examples([value], "x")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(pd.Index([7, 3]), id="shuffled-integers"),
        pytest.param(pd.RangeIndex(5, 7), id="slice"),
    ],
)
def test_index_of_a_split_is_left_out(index: pd.Index[Any]) -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=index)
    assert type_of_examples([frame], "x") == t.Frame(
        (t.Column("a", t.Integer(64), "int64", "numpy"),)
    )


@pytest.mark.parametrize(
    "values, expected",
    [
        pytest.param(
            ["unknown", datetime.date(2024, 1, 1)],
            t.AnyOf((t.Date(), t.Text())),
            id="a-date-beside-a-text-stays-a-date",
        ),
        pytest.param(
            ["a", uuid.UUID(int=1), None],
            t.Maybe(t.AnyOf((t.Uuid(), t.Text()))),
            id="a-uuid-beside-a-text",
        ),
    ],
)
def test_union_of_examples_brings_each_back(values: list[Any], expected: t.Type) -> None:
    assert type_of_examples(values, "x") == expected


@pytest.mark.parametrize(
    "values, message",
    [
        pytest.param(
            ["2024-01-01", datetime.date(2024, 1, 1)],
            "x holds a str that JSON turns into a date",
            id="a-text-that-reads-like-a-date",
        ),
        pytest.param(
            [(1,), [1]], "x holds a list that JSON turns into a tuple", id="a-list-beside-a-tuple"
        ),
        pytest.param(
            [decimal.Decimal("1.5"), 1.5],
            "x holds a float that JSON turns into a Decimal",
            id="a-float-beside-a-decimal",
        ),
        pytest.param(
            [np.ones(2, "f4"), np.ones(2)], "differ in dtype or rank", id="arrays-of-two-sizes"
        ),
        pytest.param(
            [pa.table({"a": [1]}), pa.table({"a": ["x"]})], "differ in their schema", id="tables"
        ),
        pytest.param(
            [pd.Series([1]), pd.Series(["a"])], "the example Series differ", id="two-series"
        ),
        pytest.param(
            [pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})], "differ in their", id="two-frames"
        ),
    ],
)
def test_examples_that_disagree_are_refused(values: list[Any], message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        type_of_examples(values, "x")
    assert message in str(caught.value)
