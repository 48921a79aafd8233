"""Annotations -> records, as a table."""

# ruff: noqa: UP006, UP007, UP045 (both spellings of a hint are one type: that is what is tested)

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import typing
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, Union

import annotated_types
import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pydantic
import pytest

from envelope.errors import SchemaError
from envelope.schema import types as t
from envelope.schema.hints import type_of_hint
from envelope.schema.open_hints import NeedsExample

HERE = __name__


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Opaque(enum.Enum):
    ONE = object()


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree]


@dataclasses.dataclass
class Batch:
    rows: pd.DataFrame
    weight: float = 1.0


class Place(NamedTuple):
    name: str
    position: Point


Unhinted = collections.namedtuple("Unhinted", "a b")


class Person(TypedDict):
    name: str
    age: typing.NotRequired[int]


class Loose(TypedDict, total=False):
    name: typing.Required[str]
    age: int


class Order(pydantic.BaseModel):
    number: int = pydantic.Field(ge=1)
    note: str | None = None


class Packet(msgspec.Struct):
    size: int
    body: bytes = b""


ClientId = NewType("ClientId", int)
Number = typing.TypeVar("Number", int, float)
Bound = typing.TypeVar("Bound", bound=str)
Free = typing.TypeVar("Free")

POINT = t.Record(
    (t.Field("x", t.Float()), t.Field("y", t.Float(), required=False)),
    "dataclass",
    f"{HERE}:Point",
)
NULLABLE_INT = t.Maybe(t.Integer())


@pytest.mark.parametrize(
    "hint, expected",
    [
        pytest.param(None, t.Null(), id="none"),
        pytest.param(type(None), t.Null(), id="none-type"),
        pytest.param(bool, t.Boolean(), id="bool"),
        pytest.param(int, t.Integer(), id="int"),
        pytest.param(float, t.Float(), id="float"),
        pytest.param(str, t.Text(), id="str"),
        pytest.param(bytes, t.Bytes(), id="bytes"),
        pytest.param(decimal.Decimal, t.Decimal(), id="decimal"),
        pytest.param(datetime.date, t.Date(), id="date"),
        pytest.param(datetime.time, t.Time(), id="time"),
        pytest.param(datetime.datetime, t.Timestamp(zone="any"), id="datetime"),
        pytest.param(datetime.timedelta, t.Duration(), id="timedelta"),
        pytest.param(uuid.UUID, t.Uuid(), id="uuid"),
        pytest.param(
            pd.Timestamp, t.Timestamp("ns", zone="any", pandas=True), id="pandas-timestamp"
        ),
        pytest.param(pd.Timedelta, t.Duration("ns", pandas=True), id="pandas-timedelta"),
        pytest.param(Any, t.Anything(), id="any"),
        pytest.param(object, t.Anything(), id="object"),
        pytest.param(np.float64, t.NumpyScalar("float64", t.Float(64)), id="numpy-float64"),
        pytest.param(np.int8, t.NumpyScalar("int8", t.Integer(8)), id="numpy-int8"),
        pytest.param(np.bool_, t.NumpyScalar("bool", t.Boolean()), id="numpy-bool"),
        pytest.param(np.str_, t.NumpyScalar("str", t.Text()), id="numpy-str"),
        pytest.param(Optional[int], NULLABLE_INT, id="optional"),
        pytest.param(int | None, NULLABLE_INT, id="optional-bar"),
        pytest.param(Union[None, int], NULLABLE_INT, id="optional-union"),
        pytest.param(int | str, t.AnyOf((t.Integer(), t.Text())), id="union-bar"),
        pytest.param(Union[int, str], t.AnyOf((t.Integer(), t.Text())), id="union"),
        pytest.param(int | float, t.Float(), id="int-or-float-is-float"),
        pytest.param(
            int | str | None, t.Maybe(t.AnyOf((t.Integer(), t.Text()))), id="optional-union"
        ),
        pytest.param(Literal["a", 1, None], t.OneOf(("a", 1, None)), id="literal"),
        pytest.param(
            Colour,
            t.Enumeration(f"{HERE}:Colour", (t.Member("RED", "red"), t.Member("BLUE", "blue"))),
            id="enum",
        ),
        pytest.param(
            Level,
            t.Enumeration(f"{HERE}:Level", (t.Member("LOW", 1), t.Member("HIGH", 2))),
            id="int-enum",
        ),
        pytest.param(list[int], t.ListOf(t.Integer()), id="list"),
        pytest.param(typing.List[int], t.ListOf(t.Integer()), id="typing-list"),
        pytest.param(Sequence[int], t.ListOf(t.Integer()), id="sequence"),
        pytest.param(typing.Sequence[int], t.ListOf(t.Integer()), id="typing-sequence"),
        pytest.param(typing.Iterable[int], t.ListOf(t.Integer()), id="iterable"),
        pytest.param(set[str], t.SetOf(t.Text()), id="set"),
        pytest.param(typing.FrozenSet[str], t.SetOf(t.Text(), True), id="frozenset"),
        pytest.param(dict[str, float], t.MapOf(t.Text(), t.Float()), id="dict"),
        pytest.param(typing.Dict[str, float], t.MapOf(t.Text(), t.Float()), id="typing-dict"),
        pytest.param(Mapping[int, str], t.MapOf(t.Integer(), t.Text()), id="mapping"),
        pytest.param(
            dict[Colour, int],
            t.MapOf(
                t.Enumeration(f"{HERE}:Colour", (t.Member("RED", "red"), t.Member("BLUE", "blue"))),
                t.Integer(),
            ),
            id="enum-keys",
        ),
        pytest.param(tuple[int, str], t.TupleOf((t.Integer(), t.Text())), id="tuple"),
        pytest.param(tuple[int, ...], t.TupleOf(rest=t.Integer()), id="tuple-of-any-length"),
        pytest.param(tuple[()], t.TupleOf(), id="empty-tuple"),
        pytest.param(
            typing.Tuple[int, str],
            t.TupleOf((t.Integer(), t.Text())),
            id="typing-tuple",
        ),
        pytest.param(
            list[dict[str, int | None]],
            t.ListOf(t.MapOf(t.Text(), NULLABLE_INT)),
            id="nested",
        ),
        pytest.param(Point, POINT, id="dataclass"),
        pytest.param(
            Tree,
            t.Record(
                (
                    t.Field("value", t.Integer()),
                    t.Field("children", t.ListOf(t.Recursion(f"{HERE}:Tree"))),
                ),
                "dataclass",
                f"{HERE}:Tree",
            ),
            id="recursive-dataclass",
        ),
        pytest.param(
            Place,
            t.Record(
                (t.Field("name", t.Text()), t.Field("position", POINT)),
                "named_tuple",
                f"{HERE}:Place",
            ),
            id="named-tuple",
        ),
        pytest.param(
            Person,
            t.Record(
                (t.Field("name", t.Text()), t.Field("age", t.Integer(), required=False)),
                "typed_dict",
                f"{HERE}:Person",
            ),
            id="typed-dict",
        ),
        pytest.param(
            Loose,
            t.Record(
                (t.Field("name", t.Text()), t.Field("age", t.Integer(), required=False)),
                "typed_dict",
                f"{HERE}:Loose",
            ),
            id="typed-dict-not-total",
        ),
        pytest.param(
            Order,
            t.Record(
                (
                    t.Field("number", t.Constrained(t.Integer(), ge=1)),
                    t.Field("note", t.Maybe(t.Text()), required=False),
                ),
                "pydantic",
                f"{HERE}:Order",
            ),
            id="pydantic",
        ),
        pytest.param(
            Packet,
            t.Record(
                (t.Field("size", t.Integer()), t.Field("body", t.Bytes(), required=False)),
                "struct",
                f"{HERE}:Packet",
            ),
            id="msgspec-struct",
        ),
        pytest.param(ClientId, t.Integer(), id="new-type"),
        pytest.param(Number, t.Float(), id="constrained-type-variable"),
        pytest.param(Bound, t.Text(), id="bound-type-variable"),
        pytest.param(
            Annotated[int, annotated_types.Ge(0), annotated_types.Lt(10)],
            t.Constrained(t.Integer(), ge=0, lt=10),
            id="annotated",
        ),
        pytest.param(
            Annotated[float, annotated_types.Interval(gt=0, le=1)],
            t.Constrained(t.Float(), gt=0, le=1),
            id="annotated-interval",
        ),
        pytest.param(
            Annotated[str, pydantic.Field(min_length=1, max_length=3, pattern="^a")],
            t.Constrained(t.Text(), min_length=1, max_length=3, pattern="^a"),
            id="annotated-pydantic-field",
        ),
        pytest.param(
            Annotated[int, msgspec.Meta(multiple_of=5)],
            t.Constrained(t.Integer(), multiple_of=5),
            id="annotated-msgspec-meta",
        ),
        pytest.param(
            Annotated[list[int], annotated_types.Len(2, 4)],
            t.Constrained(t.ListOf(t.Integer()), min_length=2, max_length=4),
            id="annotated-length",
        ),
        pytest.param(
            Annotated[int | None, annotated_types.Ge(0)],
            t.Maybe(t.Constrained(t.Integer(), ge=0)),
            id="annotated-optional",
        ),
        pytest.param(Annotated[int, "the age in years"], t.Integer(), id="annotated-note"),
        pytest.param(
            npt.NDArray[np.float32],
            t.Array("float32", t.Float(32, nan=True)),
            id="ndarray-of-dtype",
        ),
        pytest.param(npt.NDArray[np.int64], t.Array("int64", t.Integer(64)), id="ndarray-of-int"),
    ],
)
def test_type_of_hint(hint: Any, expected: t.Type) -> None:
    assert type_of_hint(hint, [], "x") == expected


FRAME = pd.DataFrame({"a": [1, 2]})
FRAME_TYPE = t.Frame((t.Column("a", t.Integer(64), "int64", "numpy"),))
VECTOR = t.Array("float64", t.Float(nan=True), (None,))


@pytest.mark.parametrize(
    "hint, example, expected",
    [
        pytest.param(pd.DataFrame, FRAME, FRAME_TYPE, id="frame"),
        pytest.param(pd.DataFrame | None, FRAME, t.Maybe(FRAME_TYPE), id="optional-frame"),
        pytest.param(np.ndarray, np.ones(3), VECTOR, id="array"),
        pytest.param(np.array, np.ones(3), VECTOR, id="np.array-the-function"),
        pytest.param(np.ndarray, [1.0, 2.0], VECTOR, id="array-from-list"),
        pytest.param(npt.ArrayLike, [1.0, 2.0], VECTOR, id="array-like"),
        pytest.param(
            npt.NDArray[np.float64],
            np.ones((2, 3)),
            t.Array("float64", t.Float(nan=True), (None, 3)),
            id="ndarray-of-dtype-takes-the-shape",
        ),
        pytest.param(npt.NDArray[Any], np.ones(3), VECTOR, id="ndarray-of-any-dtype"),
        pytest.param(list, [1, 2], t.ListOf(t.Integer()), id="bare-list"),
        pytest.param(list, (1, 2), t.ListOf(t.Integer()), id="bare-list-from-tuple"),
        pytest.param(dict, {"a": 1}, t.Record((t.Field("a", t.Integer()),)), id="bare-dict"),
        pytest.param(tuple, (1, "a"), t.TupleOf((t.Integer(), t.Text())), id="bare-tuple"),
        pytest.param(
            dict[str, np.ndarray], {"v": np.ones(3)}, t.MapOf(t.Text(), VECTOR), id="dict-of-arrays"
        ),
        pytest.param(list[pd.DataFrame], [FRAME], t.ListOf(FRAME_TYPE), id="list-of-frames"),
        pytest.param(
            Batch,
            Batch(FRAME),
            t.Record(
                (t.Field("rows", FRAME_TYPE), t.Field("weight", t.Float(), required=False)),
                "dataclass",
                f"{HERE}:Batch",
            ),
            id="field-of-dataclass",
        ),
        pytest.param(list | np.ndarray | pd.DataFrame, FRAME, FRAME_TYPE, id="union-of-open-types"),
        pytest.param(
            float | pd.DataFrame, FRAME, t.AnyOf((t.Float(), FRAME_TYPE)), id="union-with-frame"
        ),
        pytest.param(
            pa.Table,
            pa.table({"a": pa.array([1], pa.int32())}),
            t.Frame,
            id="arrow-table",
        ),
        pytest.param(
            Unhinted,
            Unhinted(1, "x"),
            t.Record(
                (t.Field("a", t.Integer()), t.Field("b", t.Text())),
                "named_tuple",
                f"{HERE}:Unhinted",
            ),
            id="namedtuple-without-hints",
        ),
        pytest.param(Any, {"a": [1, None, "x"]}, t.Anything(), id="any-with-json"),
        pytest.param(object, 1.5, t.Anything(), id="object-with-json"),
        pytest.param(Any, FRAME, FRAME_TYPE, id="any-with-a-frame"),
        pytest.param(Any, (1, 2), t.TupleOf((t.Integer(), t.Integer())), id="any-with-a-tuple"),
        pytest.param(Any, float("nan"), t.Float(nan=True), id="any-with-nan"),
        pytest.param(
            dict[str, Any], {"v": np.ones(3)}, t.MapOf(t.Text(), VECTOR), id="any-of-a-dict"
        ),
        pytest.param(float, 3.5, t.Float(), id="example-adds-nothing"),
        pytest.param(float, float("nan"), t.Float(nan=True), id="example-states-nan"),
    ],
)
def test_open_hint_takes_its_example(hint: Any, example: Any, expected: Any) -> None:
    found = type_of_hint(hint, [example], "x")
    if isinstance(expected, type):
        assert isinstance(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize(
    "hint, message",
    [
        pytest.param(pd.DataFrame, "x is annotated with DataFrame, which does not say", id="frame"),
        pytest.param(np.ndarray, "give an example", id="array"),
        pytest.param(list, "annotate it in full", id="bare-list"),
        pytest.param(list[np.ndarray], "x[0] is annotated with ndarray", id="nested"),
        pytest.param(Batch, "x.rows is annotated with DataFrame", id="field"),
    ],
)
def test_open_hint_without_example_is_refused(hint: Any, message: str) -> None:
    with pytest.raises(NeedsExample) as caught:
        type_of_hint(hint, [], "x")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "hint, message",
    [
        pytest.param(complex, "has no form outside Python", id="complex"),
        pytest.param(Iterator[int], "one by one", id="iterator"),
        pytest.param(
            typing.Callable[[int], int], "not a type that a caller can send", id="callable"
        ),
        pytest.param(Free, "unbound", id="type-variable"),
        pytest.param(np.floating, "leaves the size open", id="abstract-numpy-scalar"),
        pytest.param(Opaque, "has a value of type object", id="enum-of-objects"),
        pytest.param(Literal[b"a"], "Literal of type bytes", id="literal-bytes"),
        pytest.param(dict[float, int], "keys that JSON cannot hold", id="float-keys"),
        pytest.param(
            Annotated[int, annotated_types.Predicate(bool)],
            "which no schema can state",
            id="predicate",
        ),
        pytest.param(
            Annotated[datetime.datetime, annotated_types.Ge(datetime.datetime.min)],
            "bound of type datetime",
            id="bound-that-is-no-number",
        ),
        pytest.param(collections.deque, "has no form outside Python", id="deque"),
    ],
)
def test_undescribable_hint_is_refused_with_a_remedy(hint: Any, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        type_of_hint(hint, [], "x")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "hint, example, message",
    [
        pytest.param(pd.DataFrame, [1], "its example is a list; make them agree", id="frame-list"),
        pytest.param(np.ndarray, FRAME, "its example is a DataFrame", id="array-frame"),
        pytest.param(
            npt.NDArray[np.float32],
            np.ones(2),
            "an array of float32, its example is of float64",
            id="dtype",
        ),
        pytest.param(list, [], "x[0] is empty", id="empty-list"),
    ],
)
def test_example_that_contradicts_its_hint_is_refused(
    hint: Any, example: Any, message: str
) -> None:
    with pytest.raises(SchemaError) as caught:
        type_of_hint(hint, [example], "x")
    assert message in str(caught.value)
