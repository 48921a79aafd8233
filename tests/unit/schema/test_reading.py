"""What each type accepts from JSON, and what it refuses: the fast way and the slow one agree."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid
import zoneinfo
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import annotated_types
import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pydantic
import pytest
import scipy.sparse

from envelope.errors import SchemaError
from envelope.schema import compile_checker, infer_function
from envelope.schema import types as t
from envelope.schema.examples import type_of_examples
from envelope.schema.hints import type_of_hint

D = decimal.Decimal
UTC = datetime.UTC


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x")


class Pair(NamedTuple):
    a: int
    b: str


class Person(TypedDict, total=False):
    name: str


class Order(pydantic.BaseModel):
    number: Annotated[int, pydantic.Field(ge=1, alias="no")]
    notes: list[str] = []

    @pydantic.field_validator("notes")
    @classmethod
    def at_most_two(cls, notes: list[str]) -> list[str]:
        if len(notes) > 2:
            raise ValueError("too many")
        return notes


class Packet(msgspec.Struct):
    body: bytes


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree]


CUT = "NUL at the end, which numpy cuts off"


def checker_of(kind: t.Type, **options: Any) -> Any:
    schema = t.FunctionSchema((t.Parameter("x", kind),), kind)
    return compile_checker(schema, **options)


def hint(annotation: Any) -> t.Type:
    return type_of_hint(annotation, [], "x")


def example(value: Any) -> t.Type:
    return type_of_examples([value], "x")


def same(found: Any, expected: Any) -> bool:
    """Equal, of one type, NaN equal to NaN."""
    if type(found) is not type(expected):
        return False
    if isinstance(found, np.ndarray):
        return found.dtype == expected.dtype and np.array_equal(
            found, expected, equal_nan=found.dtype.kind in "fM"
        )
    if isinstance(found, pd.Series):
        return bool(found.equals(expected)) and found.name == expected.name
    if scipy.sparse.issparse(found):
        return found.dtype == expected.dtype and (found != expected).nnz == 0
    if isinstance(found, float):
        return found == expected or (math.isnan(found) and math.isnan(expected))
    if isinstance(found, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == expected)


BERLIN = t.Timestamp(zone="Europe/Berlin")
IN_BERLIN = datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
NOON = datetime.datetime(2024, 7, 1, 12)
SMALL = hint(Annotated[int, annotated_types.Interval(ge=0, lt=10)])


@pytest.mark.parametrize(
    "kind, body, expected",
    [
        pytest.param(t.Null(), "null", None, id="null"),
        pytest.param(t.Boolean(), "true", True, id="bool"),
        pytest.param(t.Integer(), "3", 3, id="int"),
        pytest.param(t.Integer(), "-0", 0, id="int-minus-zero"),
        pytest.param(t.Integer(), "1.0", 1, id="whole-float-for-int"),
        pytest.param(t.Integer(), "1e3", 1000, id="exponent-for-int"),
        pytest.param(t.Integer(), str(2**200), 2**200, id="huge-int"),
        pytest.param(t.Integer(8), "-128", -128, id="int8-least"),
        pytest.param(t.Integer(64, False), str(2**64 - 1), 2**64 - 1, id="uint64-most"),
        pytest.param(t.Float(), "3", 3.0, id="int-for-float"),
        pytest.param(t.Float(), str(2**53), 2.0**53, id="greatest-int-for-float"),
        pytest.param(t.Float(), str(2**60), 2.0**60, id="exact-int-beyond-2**53"),
        pytest.param(t.Float(), "1e300", 1e300, id="large-float"),
        pytest.param(t.Float(), "-0.0", -0.0, id="minus-zero"),
        pytest.param(t.Float(nan=True), "null", math.nan, id="null-for-nan"),
        pytest.param(t.Float(32), "3.4e38", 3.4e38, id="float32"),
        pytest.param(t.Text(), '"\\ud83d\\ude00\\u0000"', "😀\0", id="str-escapes"),
        pytest.param(t.Bytes(), '"AP8="', b"\x00\xff", id="bytes"),
        pytest.param(t.Date(), '"2024-02-29"', datetime.date(2024, 2, 29), id="date"),
        pytest.param(
            t.Date(), '"2024-02-29T00:00:00"', datetime.date(2024, 2, 29), id="midnight-for-date"
        ),
        pytest.param(t.Time(), '"12:30:00.5"', datetime.time(12, 30, 0, 500000), id="time"),
        pytest.param(t.Timestamp(), '"2024-07-01T12:00:00"', NOON, id="timestamp"),
        pytest.param(t.Timestamp(), '"2024-07-01 12:00"', NOON, id="timestamp-with-a-space"),
        pytest.param(
            t.Timestamp(), '"2024-07-01"', datetime.datetime(2024, 7, 1), id="date-for-timestamp"
        ),
        pytest.param(BERLIN, '"2024-07-01T10:00:00Z"', IN_BERLIN, id="utc-for-zone"),
        pytest.param(BERLIN, '"2024-07-01T15:30:00+05:30"', IN_BERLIN, id="offset-for-zone"),
        pytest.param(
            t.Timestamp(zone="any"),
            '"2024-07-01T12:00:00Z"',
            NOON.replace(tzinfo=UTC),
            id="any-aware",
        ),
        pytest.param(t.Timestamp(zone="any"), '"2024-07-01T12:00:00"', NOON, id="any-naive"),
        pytest.param(
            t.Timestamp("ns", pandas=True),
            '"2024-07-01T12:00:00.123456789"',
            pd.Timestamp("2024-07-01T12:00:00.123456789"),
            id="pandas-ns",
        ),
        pytest.param(t.Duration(), '"P1DT2.5S"', datetime.timedelta(1, 2, 500000), id="duration"),
        pytest.param(t.Duration(), '"-PT1H"', datetime.timedelta(hours=-1), id="negative"),
        pytest.param(
            t.Duration("ns", pandas=True), '"PT0.000000001S"', pd.Timedelta(1, "ns"), id="pandas-td"
        ),
        pytest.param(t.Decimal(), '"1.10"', D("1.10"), id="decimal"),
        pytest.param(t.Decimal(), "1.5", D("1.5"), id="number-for-decimal"),
        pytest.param(t.Decimal(), "2", D(2), id="int-for-decimal"),
        pytest.param(
            t.Timestamp(zone="UTC+05:30"),
            '"2024-07-01T12:00:00Z"',
            datetime.datetime(
                2024, 7, 1, 17, 30, tzinfo=datetime.timezone(datetime.timedelta(minutes=330))
            ),
            id="fixed-offset",
        ),
        pytest.param(
            t.Timestamp("ns", zone="any", pandas=True),
            '"2024-07-01T12:00:00.000000001Z"',
            pd.Timestamp("2024-07-01T12:00:00.000000001Z"),
            id="any-pandas",
        ),
        pytest.param(t.Decimal(5, 2), '"123.45"', D("123.45"), id="decimal-that-fits"),
        pytest.param(t.Uuid(), f'"{uuid.UUID(int=7)}"', uuid.UUID(int=7), id="uuid"),
        pytest.param(hint(Literal["a", 1]), "1", 1, id="literal"),
        pytest.param(hint(Colour), '"red"', Colour.RED, id="enum"),
        pytest.param(hint(np.float32), "0.1", np.float32(0.1), id="numpy-float32"),
        pytest.param(hint(np.int8), "5", np.int8(5), id="numpy-int8"),
        pytest.param(
            example(np.datetime64(1, "s")),
            '"1970-01-01T00:00:02"',
            np.datetime64(2, "s"),
            id="numpy-datetime",
        ),
        pytest.param(t.Maybe(t.Integer()), "null", None, id="optional-null"),
        pytest.param(t.Maybe(t.Integer()), "1", 1, id="optional"),
        pytest.param(hint(int | str), '"a"', "a", id="union-str"),
        pytest.param(hint(str | float), "1", 1.0, id="union-widened"),
        pytest.param(
            t.AnyOf((t.Float(), t.Integer())), "1", 1, id="union-takes-the-unwidened-member"
        ),
        pytest.param(
            hint(datetime.date | str), '"2024-01-01"', datetime.date(2024, 1, 1), id="date-or-str"
        ),
        pytest.param(SMALL, "9", 9, id="bounded"),
        pytest.param(hint(list[int]), "[1, 2]", [1, 2], id="list"),
        pytest.param(hint(list[float]), "[1, 2.5]", [1.0, 2.5], id="list-of-floats"),
        pytest.param(hint(set[int]), "[2, 1]", {1, 2}, id="set"),
        pytest.param(hint(frozenset[str]), '["a"]', frozenset("a"), id="frozenset"),
        pytest.param(hint(tuple[int, str]), '[1, "a"]', (1, "a"), id="tuple"),
        pytest.param(hint(tuple[int, ...]), "[1, 2]", (1, 2), id="tuple-of-any-length"),
        pytest.param(hint(dict[str, int]), '{"a": 1}', {"a": 1}, id="dict"),
        pytest.param(hint(dict[int, str]), '{"-5": "a"}', {-5: "a"}, id="dict-of-int-keys"),
        pytest.param(
            hint(dict[datetime.date, int]),
            '{"2024-01-01": 1}',
            {datetime.date(2024, 1, 1): 1},
            id="dict-of-dates",
        ),
        pytest.param(hint(Point), '{"x": 1}', Point(1.0), id="dataclass"),
        pytest.param(hint(Pair), '{"a": 1, "b": "x"}', Pair(1, "x"), id="named-tuple"),
        pytest.param(hint(Person), "{}", {}, id="typed-dict"),
        pytest.param(hint(Order), '{"number": 1}', Order(no=1), id="pydantic"),
        pytest.param(hint(Packet), '{"body": "AA=="}', Packet(b"\0"), id="msgspec-struct"),
        pytest.param(
            hint(Tree),
            '{"value": 1, "children": [{"value": 2, "children": []}]}',
            Tree(1, [Tree(2, [])]),
            id="recursive",
        ),
        pytest.param(t.Anything(), '{"a": [1, null]}', {"a": [1, None]}, id="anything"),
        pytest.param(example(np.ones(2)), "[1, null]", np.array([1, np.nan]), id="vector"),
        pytest.param(
            example(np.ones((1, 2), np.int8)), "[[1, 2]]", np.array([[1, 2]], np.int8), id="matrix"
        ),
        pytest.param(example(np.ones((1, 2))), "[]", np.empty((0, 2)), id="matrix-of-no-rows"),
        pytest.param(
            example(np.array(["a"])), '["abc", ""]', np.array(["abc", ""]), id="vector-of-texts"
        ),
        pytest.param(
            example(np.array(["2024-01-01"], "M8[s]")),
            '["2024-01-02T00:00:00", null]',
            np.array(["2024-01-02", "NaT"], "M8[s]"),
            id="vector-of-moments",
        ),
        pytest.param(example(np.array(1.5)), "2", np.array(2.0), id="array-of-no-axis"),
        pytest.param(
            hint(npt.NDArray[np.float64]), "[[1], [2]]", np.array([[1.0], [2.0]]), id="any-rank"
        ),
        pytest.param(
            example(pd.Series([1.5], name="y")),
            "[1, 2]",
            pd.Series([1.0, 2.0], name="y"),
            id="series",
        ),
        pytest.param(
            example(pd.Series(["a"], dtype="category")),
            '["a", null]',
            pd.Series(["a", None], dtype=pd.CategoricalDtype(pd.Index(["a"], dtype="str"))),
            id="series-of-category",
        ),
        pytest.param(
            example(scipy.sparse.csr_matrix(np.eye(2))),
            '{"shape": [3, 2], "row": [2], "column": [1], "value": [5]}',
            scipy.sparse.csr_matrix(np.array([[0.0, 0], [0, 0], [0, 5]])),
            id="sparse",
        ),
    ],
)
def test_accepted(kind: t.Type, body: str, expected: Any) -> None:
    checker = checker_of(kind)
    fast = checker.read_json(f'{{"x": {body}}}'.encode()).arguments()["x"]
    assert same(fast, expected)
    slow = checker.read_value({"x": json.loads(body)}).arguments()["x"]
    assert same(slow, expected)
    given = checker.read_arguments((expected,), {}).arguments()["x"]
    assert same(given, expected)
    again = checker.read_json(msgspec.json.encode(checker.write_arguments({"x": expected})))
    assert same(again.arguments()["x"], expected)
    assert msgspec.json.decode(checker.write_json(expected)) == checker.write_value(expected)


@pytest.mark.parametrize(
    "kind, body, path, expected, got",
    [
        pytest.param(t.Null(), "0", "x", "null", "int", id="null"),
        pytest.param(t.Boolean(), "1", "x", "bool", "int", id="int-is-no-bool"),
        pytest.param(t.Integer(), "true", "x", "int", "bool", id="bool-is-no-int"),
        pytest.param(t.Float(), "true", "x", "float", "bool", id="bool-is-no-float"),
        pytest.param(t.Integer(), '"3"', "x", "int", "str", id="str-is-no-int"),
        pytest.param(t.Integer(), "1.5", "x", "int", "float", id="fraction-for-int"),
        pytest.param(t.Integer(), "1e17", "x", "int", "float", id="inexact-float-for-int"),
        pytest.param(t.Integer(8), "300", "x", "int8", "int beyond its range", id="int8"),
        pytest.param(t.Integer(8, False), "-1", "x", "uint8", "int beyond its range", id="uint8"),
        pytest.param(
            t.Integer(64, False), str(2**64), "x", "uint64", "int beyond its range", id="uint64"
        ),
        pytest.param(
            t.Float(), str(2**53 + 1), "x", "float", "int that a float would round", id="2**53+1"
        ),
        pytest.param(
            t.Float(), "1" + "0" * 400, "x", "float", "int that a float would round", id="1e400"
        ),
        pytest.param(
            t.Float(32),
            str(2**24 + 1),
            "x",
            "float32",
            "int that a float would round",
            id="2**24+1",
        ),
        pytest.param(t.Float(32), "1e39", "x", "float32", "float beyond its range", id="float32"),
        pytest.param(t.Float(), "null", "x", "float", "null", id="null-for-float"),
        pytest.param(t.Text(), "1", "x", "str", "int", id="int-is-no-str"),
        pytest.param(
            t.Text(), '"\\ud800"', "x", "str", "str with half a surrogate pair", id="surrogate"
        ),
        pytest.param(t.Text(), "null", "x", "str", "null", id="null-for-str"),
        pytest.param(t.Bytes(), '"?"', "x", "bytes (base64)", "str that is not base64", id="bytes"),
        pytest.param(
            t.Date(), '"2024-02-30"', "x", "date", "str that is no date", id="30-february"
        ),
        pytest.param(
            t.Date(),
            '"2024-02-29T01:00:00"',
            "x",
            "date",
            "timestamp with a time of day",
            id="time-for-date",
        ),
        pytest.param(t.Date(), '"20240229"', "x", "date", "str", id="compact-date"),
        pytest.param(t.Time(), '"25:00"', "x", "time", "str that is no time", id="25-o'clock"),
        pytest.param(t.Time("s"), '"01:00:00.5"', "x", "time[s]", "time finer than s", id="time-s"),
        pytest.param(t.Time(), '"25:00:00"', "x", "time", "str that is no time", id="time-25"),
        pytest.param(t.Time(), "1", "x", "time", "int", id="int-for-time"),
        pytest.param(t.Uuid(), "1", "x", "uuid", "int", id="int-for-uuid"),
        pytest.param(t.Decimal(), "true", "x", "decimal", "bool", id="bool-for-decimal"),
        pytest.param(t.Duration(), "1", "x", "duration", "int", id="int-for-duration"),
        pytest.param(t.Timestamp(zone="any"), "1", "x", "timestamp", "int", id="int-for-any"),
        pytest.param(
            t.Timestamp(zone="UTC"),
            '"9999-12-31T23:59:59-12:00"',
            "x",
            "timestamp[us, UTC]",
            "timestamp outside the years 1 to 9999",
            id="offset-beyond-the-last-year",
        ),
        pytest.param(
            t.Duration("s"),
            '"P2000000000D"',
            "x",
            "duration",
            "duration beyond its range",
            id="long",
        ),
        pytest.param(
            t.Float(16), "70000", "x", "float16", "int that a float would round", id="half-range"
        ),
        pytest.param(
            example(np.array(["a"])), '["a\\u0000"]', "x[0]", "str", CUT, id="nul-at-the-end"
        ),
        pytest.param(
            hint(Annotated[int, pydantic.Field(multiple_of=3)]),
            "4",
            "x",
            "int a multiple of 3",
            "a value outside of that",
            id="multiple-of",
        ),
        pytest.param(
            t.Timestamp(),
            '"2024-01-01T00:00:00Z"',
            "x",
            "timestamp[us]",
            "timestamp with a zone",
            id="zone-for-none",
        ),
        pytest.param(
            BERLIN,
            '"2024-01-01T00:00:00"',
            "x",
            "timestamp[us, Europe/Berlin]",
            "timestamp without a zone",
            id="no-zone",
        ),
        pytest.param(
            t.Timestamp(),
            '"2024-01-01T00:00:00.1234567"',
            "x",
            "timestamp[us]",
            "timestamp finer than us",
            id="too-fine",
        ),
        pytest.param(
            t.Timestamp("ns", pandas=True),
            '"1600-01-01"',
            "x",
            "timestamp[ns]",
            "timestamp beyond 64 bits of ns",
            id="beyond-ns",
        ),
        pytest.param(t.Timestamp(), '"now"', "x", "timestamp[us]", "str", id="now"),
        pytest.param(t.Timestamp(), "5", "x", "timestamp[us]", "int", id="number"),
        pytest.param(t.Timestamp(zone="any"), '"x"', "x", "timestamp", "str", id="any-str"),
        pytest.param(t.Duration(), '"P1M"', "x", "duration", "str", id="months-have-no-length"),
        pytest.param(t.Duration(), '"P"', "x", "duration", "str", id="empty-duration"),
        pytest.param(
            t.Decimal(),
            "0.12345678901234567",
            "x",
            "decimal",
            "float; send decimals of many digits as text",
            id="decimal-of-many-digits",
        ),
        pytest.param(
            t.Decimal(5, 2), '"1.234"', "x", "decimal(5, 2)", "decimal of more digits", id="scale"
        ),
        pytest.param(
            t.Decimal(5, 2), '"1234.5"', "x", "decimal(5, 2)", "decimal of more digits", id="digits"
        ),
        pytest.param(
            t.Decimal(), '"NaN"', "x", "decimal", "str that is no decimal number", id="decimal-nan"
        ),
        pytest.param(t.Uuid(), '"x"', "x", "uuid", "str that is no uuid", id="uuid"),
        pytest.param(hint(Literal[1]), "true", "x", "one of 1", "bool", id="true-is-no-1"),
        pytest.param(hint(Colour), '"green"', "x", "one of 'red', 2", "str", id="enum"),
        pytest.param(hint(int | str), "1.5", "x", "int or str", "float", id="union"),
        pytest.param(SMALL, "10", "x", "int >= 0 and < 10", "a value outside of that", id="bounds"),
        pytest.param(
            hint(Annotated[str, pydantic.Field(pattern="^a", max_length=2)]),
            '"abc"',
            "x",
            "str of length <= 2 and matching '^a'",
            "a value outside of that",
            id="length",
        ),
        pytest.param(
            hint(Annotated[float, annotated_types.MultipleOf(0.5)]),
            "0.7",
            "x",
            "float a multiple of 0.5",
            "a value outside of that",
            id="multiple-of",
        ),
        pytest.param(hint(list[int]), '[1, "a"]', "x[1]", "int", "str", id="item"),
        pytest.param(hint(list[int]), "{}", "x", "list[int]", "object", id="object-for-list"),
        pytest.param(
            hint(set[int]),
            "[1, 1]",
            "x",
            "set[int]",
            "list with an item that is repeated",
            id="set",
        ),
        pytest.param(
            hint(tuple[int, int]), "[1]", "x", "tuple[int, int]", "list of 1", id="short-tuple"
        ),
        pytest.param(hint(tuple[int, int]), '[1, "a"]', "x[1]", "int", "str", id="tuple-item"),
        pytest.param(
            hint(dict[str, int]), '{"a b": null}', "x[entry 0]", "int", "null", id="value"
        ),
        pytest.param(hint(dict[int, int]), '{"a": 1}', "x", "keys of int", "str", id="key"),
        pytest.param(
            hint(dict[int, int]),
            '{"1": 1, "01": 2}',
            "x",
            "keys that differ",
            "two spellings of one key",
            id="keys-of-one-number",
        ),
        pytest.param(hint(Point), '{"y": 1}', "x.x", "float", "nothing", id="missing-field"),
        pytest.param(
            hint(Point), '{"x": 1, "z": 1}', "x.z", "no such member", "a value", id="extra-field"
        ),
        pytest.param(
            hint(Point),
            '{"x": -1}',
            "x",
            "Point",
            "members that it refuses (ValueError)",
            id="refused-by-its-class",
        ),
        pytest.param(
            hint(Order),
            '{"number": 1, "notes": ["", "", ""]}',
            "x.notes",
            "value error",
            "a value outside of that",
            id="refused-by-its-model",
        ),
        pytest.param(
            hint(Tree),
            '{"value": 1, "children": [{"value": "a", "children": []}]}',
            "x.children[0].value",
            "int",
            "str",
            id="deep-in-a-tree",
        ),
        pytest.param(
            example(np.ones((1, 2))),
            "[[1, 2], [3]]",
            "x[1]",
            "lists of one length",
            "a list of another length",
            id="ragged",
        ),
        pytest.param(
            example(np.ones((1, 2))),
            "[[1, 2, 3]]",
            "x",
            "float64 array of n x 2",
            "array of 1 x 3",
            id="shape",
        ),
        pytest.param(example(np.ones((1, 2))), "[1]", "x[0]", "list", "int", id="rank"),
        pytest.param(
            example(np.ones((1, 2))), '[[1, "a"]]', "x[0][1]", "float or null", "str", id="element"
        ),
        pytest.param(
            example(np.ones(2, np.int8)),
            "[1, 300]",
            "x[1]",
            "int8",
            "int beyond its range",
            id="i8",
        ),
        pytest.param(
            example(pd.Series(["a"], dtype="category")),
            '["b"]',
            "x[0]",
            "one of 1 levels",
            "str that is none of them",
            id="level",
        ),
        pytest.param(
            example(scipy.sparse.csr_matrix(np.eye(2))),
            '{"shape": [3, 2], "row": [7], "column": [1], "value": [5]}',
            "x",
            "sparse float64 matrix of n x 2",
            "places outside of its shape",
            id="sparse-place",
        ),
        pytest.param(
            example(scipy.sparse.csr_matrix(np.eye(2))),
            '{"shape": [3, 4], "row": [], "column": [], "value": []}',
            "x.shape",
            "[rows, 2]",
            "another shape",
            id="sparse-shape",
        ),
        pytest.param(
            example(scipy.sparse.csr_matrix(np.eye(2))),
            '{"shape": [3, 2], "row": [1], "column": [], "value": []}',
            "x",
            "row, column and value of one length",
            "different lengths",
            id="sparse-lengths",
        ),
    ],
)
def test_refused(kind: t.Type, body: str, path: str, expected: str, got: str) -> None:
    checker = checker_of(kind)
    with pytest.raises(SchemaError) as caught:
        checker.read_json(f'{{"x": {body}}}'.encode())
    (fault,) = caught.value.faults
    assert (fault.path, fault.expected, fault.got) == (path, expected, got)


@pytest.mark.parametrize(
    "value, kind, expected",
    [
        pytest.param(np.int64(3), t.Integer(), 3, id="numpy-int"),
        pytest.param(np.float32(0.5), t.Float(), 0.5, id="numpy-float"),
        pytest.param(np.bool_(True), t.Boolean(), True, id="numpy-bool"),
        pytest.param(np.array([1, 2]), t.ListOf(t.Integer()), [1, 2], id="array-for-list"),
        pytest.param(pd.Series([1, 2]), t.ListOf(t.Integer()), [1, 2], id="series-for-list"),
        pytest.param((1, 2), t.ListOf(t.Integer()), [1, 2], id="tuple-for-list"),
        pytest.param([1, 2], example(np.ones(1)), np.array([1.0, 2.0]), id="list-for-array"),
        pytest.param(
            np.array([1, 2]), example(np.ones(1)), np.array([1.0, 2.0]), id="ints-for-floats"
        ),
        pytest.param(
            np.array([1.0, 2.0]), example(np.ones(1, int)), np.array([1, 2]), id="floats-for-ints"
        ),
        pytest.param(
            pd.DataFrame({"a": [1.0], "b": [2.0]}),
            example(np.ones((1, 2))),
            np.array([[1.0, 2.0]]),
            id="frame-for-matrix",
        ),
        pytest.param(
            np.array([1.0, 2.0]),
            example(pd.Series([1.0], name="y")),
            pd.Series([1.0, 2.0], name="y"),
            id="array-for-series",
        ),
        pytest.param(pd.Timestamp("2024-07-01T12:00"), t.Timestamp(), NOON, id="pandas-timestamp"),
        pytest.param(np.datetime64("2024-07-01T12:00"), t.Timestamp(), NOON, id="numpy-moment"),
        pytest.param(np.datetime64("2024-07-01"), t.Date(), datetime.date(2024, 7, 1), id="day"),
        pytest.param(
            np.timedelta64(90, "s"), t.Duration(), datetime.timedelta(seconds=90), id="numpy-td"
        ),
        pytest.param(pd.NaT, t.Maybe(t.Timestamp()), None, id="nat-is-null"),
        pytest.param(pd.NA, t.Maybe(t.Text()), None, id="na-is-null"),
        pytest.param(float("nan"), t.Maybe(t.Text()), None, id="nan-is-null"),
        pytest.param({"x": 1, "y": 2}, hint(Point), Point(1.0, 2.0), id="dict-for-dataclass"),
    ],
)
def test_python_values(value: Any, kind: t.Type, expected: Any) -> None:
    found = checker_of(kind).read_arguments((value,), {}).arguments()["x"]
    assert same(found, expected)


@pytest.mark.parametrize(
    "value, kind, got",
    [
        pytest.param(float("nan"), t.Float(), "NaN", id="nan"),
        pytest.param(pd.NaT, t.Timestamp(), "null", id="nat"),
        pytest.param(np.array([1.5]), example(np.ones(1, int)), "float", id="fractions-for-ints"),
        pytest.param(
            np.array([2**53 + 1]), example(np.ones(1)), "int that a float would round", id="big"
        ),
        pytest.param(np.ones((2, 2)), example(np.ones(2)), "float64 array of 2 x 2", id="rank"),
        pytest.param(["a\0"], example(np.array(["a"])), CUT, id="nul-that-numpy-cuts-off"),
        pytest.param([b"a\0"], example(np.array([b"a"])), CUT, id="nul-after-bytes"),
        pytest.param(
            datetime.timedelta.max, t.Duration(), "duration beyond 64 bits of us", id="for-ever"
        ),
        pytest.param(object(), t.Integer(), "object", id="object"),
        pytest.param(pd.Series([1]), t.Integer(), "pandas.Series", id="series-for-int"),
        pytest.param(D("NaN"), t.Decimal(), "decimal that is not finite", id="decimal-nan"),
        pytest.param(Pair(1, "a"), hint(Point), "tests.Pair", id="another-class"),
    ],
)
def test_python_values_refused(value: Any, kind: t.Type, got: str) -> None:
    with pytest.raises(SchemaError) as caught:
        checker_of(kind).read_arguments((value,), {})
    assert caught.value.faults[0].got == got


def test_infinity_is_taken_and_not_written_as_json() -> None:
    checker = checker_of(t.Float())
    assert checker.read_arguments((math.inf,), {}).arguments() == {"x": math.inf}
    with pytest.raises(SchemaError, match="infinity, which JSON cannot hold"):
        checker.write_json(math.inf)


SPARSE = "sparse float64 matrix of n x 2"
MATRIX = example(scipy.sparse.csr_matrix(np.eye(2)))


@pytest.mark.parametrize(
    "value, faults",
    [
        pytest.param(
            scipy.sparse.csr_matrix(np.eye(3)),
            [f"x: expected {SPARSE}, got sparse matrix of another shape or dtype"],
            id="wider",
        ),
        pytest.param([1.0], [f"x: expected {SPARSE}, got list"], id="list"),
        pytest.param(
            {"shape": [1, 2], "row": [0.5], "column": [0], "more": 1},
            [
                "x.row[0]: expected int64, got float",
                "x.value: expected list, got nothing",
                "x.more: expected no such member, got a value",
            ],
            id="members",
        ),
    ],
)
def test_sparse_matrices_refused(value: Any, faults: list[str]) -> None:
    with pytest.raises(SchemaError) as caught:
        checker_of(MATRIX).read_arguments((value,), {})
    assert [str(fault) for fault in caught.value.faults] == faults


def test_sparse_matrix_of_another_format_is_converted() -> None:
    given = scipy.sparse.coo_matrix(np.eye(2))
    found = checker_of(MATRIX).read_arguments((given,), {}).arguments()["x"]
    assert found.format == "csr"
    np.testing.assert_array_equal(found.toarray(), given.toarray())


MANY = pd.DataFrame({"at": pd.to_datetime(["2024-02-29T01:02:03"] * 20).as_unit("s")})


def test_many_moments_are_read_at_once_and_the_wrong_one_is_named() -> None:
    schema = infer_function(lambda df: 1, name="f", api_input=MANY)
    checker = compile_checker(schema)
    rows = [{"at": "2024-02-29T01:02:03"} for _ in range(20)]
    found = checker.read_json(json.dumps(rows).encode()).arguments()["df"]
    pd.testing.assert_frame_equal(found, MANY)
    rows[7]["at"] = "2024-02-30T01:02:03"
    with pytest.raises(SchemaError) as caught:
        checker.read_json(json.dumps(rows).encode())
    assert [str(fault) for fault in caught.value.faults] == [
        "rows[7].at: expected timestamp[s], got str that is no date"
    ]


@pytest.mark.parametrize(
    "change, faults",
    [
        pytest.param({"c0": "x"}, ["rows[0].c0: expected int64, got str"], id="type"),
        pytest.param(
            {"c0": 2**63}, ["rows[0].c0: expected int64, got int beyond its range"], id="range"
        ),
        pytest.param(
            {"more": 1}, ["rows[0].more: expected no such column, got a value"], id="extra"
        ),
        pytest.param({"c0": None}, ["rows[0].c0: expected int64, got null"], id="null"),
    ],
)
def test_wide_frames_name_their_faults(change: dict[str, Any], faults: list[str]) -> None:
    frame = pd.DataFrame(np.zeros((1, 400), np.int64), columns=[f"c{n}" for n in range(400)])
    checker = compile_checker(infer_function(lambda df: 1, name="f", api_input=frame))
    row = {name: 0 for name in frame.columns}
    pd.testing.assert_frame_equal(
        checker.read_json(json.dumps([row]).encode()).arguments()["df"], frame
    )
    assert checker.read_json(b"[]").n_rows == 0
    for body, wanted in (
        ([{**row, **change}], faults),
        (["x"], ["rows[0]: expected row object, got str"]),
    ):
        with pytest.raises(SchemaError) as caught:
            checker.read_json(json.dumps(body).encode())
        assert [str(fault) for fault in caught.value.faults] == wanted
    with pytest.raises(SchemaError, match="c399: expected int64, got nothing"):
        checker.read_json(json.dumps([{k: v for k, v in row.items() if k != "c399"}]).encode())
    with pytest.raises(SchemaError, match="malformed JSON"):
        checker.read_json(b"[{")
