"""Outputs -> answers: what is written, per form, per caller, and what breaks the schema."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pydantic
import pytest
import scipy.sparse

from envelope.errors import SchemaError
from envelope.schema import Checker, compile_checker
from envelope.schema import types as t
from envelope.schema.examples import type_of_examples
from envelope.schema.hints import type_of_hint

INPUT = t.Parameter("df", t.Frame((t.Column("n", t.Integer(64), "int64", "numpy"),)))


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: float
    when: datetime.date


class Score(pydantic.BaseModel):
    value: float


def checker_of(kind: t.Type, *, row_wise: bool = False) -> Checker:
    return compile_checker(t.FunctionSchema((INPUT,), kind), row_wise=row_wise)


def example(value: Any) -> t.Type:
    return type_of_examples([value], "output")


def hint(annotation: Any) -> t.Type:
    return type_of_hint(annotation, [], "output")


@pytest.mark.parametrize(
    "kind, output, expected",
    [
        pytest.param(t.Float(), 1.5, "1.5", id="float"),
        pytest.param(t.Float(), np.float64(1.5), "1.5", id="numpy-float64-for-float"),
        pytest.param(t.Float(), np.float32(1.5), "1.5", id="numpy-float32-for-float"),
        pytest.param(t.Float(), 3, "3.0", id="int-for-float"),
        pytest.param(t.Float(nan=True), float("nan"), "null", id="nan"),
        pytest.param(t.Integer(), np.int64(3), "3", id="numpy-int"),
        pytest.param(t.Integer(), 2**200, str(2**200), id="huge-int"),
        pytest.param(t.Boolean(), np.bool_(True), "true", id="numpy-bool"),
        pytest.param(t.Null(), None, "null", id="none"),
        pytest.param(hint(np.float32), np.float32(0.5), "0.5", id="numpy-scalar"),
        pytest.param(t.Text(), 'ü"', '"ü\\""', id="str"),
        pytest.param(t.Bytes(), b"\xff", '"/w=="', id="bytes"),
        pytest.param(t.Date(), datetime.date(2024, 1, 2), '"2024-01-02"', id="date"),
        pytest.param(t.Time(), datetime.time(1, 2, 3), '"01:02:03"', id="time"),
        pytest.param(
            hint(datetime.datetime),
            datetime.datetime(2024, 1, 2, 3, 4, 5, 600),
            '"2024-01-02T03:04:05.000600"',
            id="datetime",
        ),
        pytest.param(
            t.Timestamp(zone="UTC"),
            datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
            '"2024-01-02T00:00:00Z"',
            id="aware-datetime",
        ),
        pytest.param(
            hint(pd.Timestamp),
            pd.Timestamp("2024-01-02T00:00:00.123456789"),
            '"2024-01-02T00:00:00.123456789"',
            id="pandas-timestamp",
        ),
        pytest.param(t.Duration(), datetime.timedelta(1, 2), '"P1DT2S"', id="timedelta"),
        pytest.param(t.Duration(), datetime.timedelta(0), '"PT0S"', id="no-time"),
        pytest.param(t.Decimal(), decimal.Decimal("1.10"), '"1.10"', id="decimal"),
        pytest.param(t.Uuid(), uuid.UUID(int=1), f'"{uuid.UUID(int=1)}"', id="uuid"),
        pytest.param(hint(Colour), Colour.RED, '"red"', id="enum"),
        pytest.param(hint(list[float]), np.array([1.0, 2.0]), "[1.0,2.0]", id="array-for-list"),
        pytest.param(hint(list[int]), pd.Series([1, 2]), "[1,2]", id="series-for-list"),
        pytest.param(hint(tuple[int, str]), (1, "a"), '[1,"a"]', id="tuple"),
        pytest.param(hint(set[int]), {3, 1}, "[1,3]", id="set-is-sorted"),
        pytest.param(hint(dict[int, float]), {1: 2}, '{"1":2.0}', id="dict"),
        pytest.param(hint(dict[Colour, int]), {Colour.RED: 2}, '{"red":2}', id="enum-keys"),
        pytest.param(
            hint(Point),
            Point(1, datetime.date(2024, 1, 2)),
            '{"x":1.0,"when":"2024-01-02"}',
            id="dataclass",
        ),
        pytest.param(hint(Score), Score(value=1), '{"value":1.0}', id="pydantic"),
        pytest.param(hint(int | str), "a", '"a"', id="union"),
        pytest.param(hint(str | float), 1, "1.0", id="union-widened"),
        pytest.param(hint(float | None), None, "null", id="optional"),
        pytest.param(t.Anything(), {"a": [1, None]}, '{"a":[1,null]}', id="anything"),
        pytest.param(
            example(np.ones(2)), np.array([1.5, np.nan]), "[1.5,null]", id="vector-with-nan"
        ),
        pytest.param(example(np.ones(2)), np.array([1, 2]), "[1.0,2.0]", id="ints-for-floats"),
        pytest.param(example(np.ones(2)), pd.Series([1.5]), "[1.5]", id="series-for-array"),
        pytest.param(
            example(np.ones((2, 2, 1), int)),
            np.array([[[1], [2]], [[3], [4]]]),
            "[[[1],[2]],[[3],[4]]]",
            id="rank-3",
        ),
        pytest.param(example(np.ones((2, 2))), np.ones((0, 2)), "[]", id="no-rows"),
        pytest.param(example(np.array(1.5)), np.array(2.5), "2.5", id="array-of-no-axis"),
        pytest.param(example(np.array(["a"])), np.array(["bc"]), '["bc"]', id="texts"),
        pytest.param(
            example(pd.Series([1], name="y")), np.array([1, 2]), "[1,2]", id="array-for-series"
        ),
        pytest.param(
            example(pd.DataFrame({"p": [0.5]})),
            np.array([0.5, 0.25]),
            '[{"p":0.5},{"p":0.25}]',
            id="vector-for-frame-of-one-column",
        ),
        pytest.param(
            example(pd.DataFrame({"p": [0.5], "q": [1.0]})),
            np.array([[0.5, 0.25]]),
            '[{"p":0.5,"q":0.25}]',
            id="matrix-for-frame",
        ),
        pytest.param(
            example(pd.DataFrame({"p": [0.5]})),
            pd.Series([0.5], name="x"),
            '[{"p":0.5}]',
            id="series-for-frame",
        ),
        pytest.param(
            example(scipy.sparse.csr_matrix(np.eye(2))),
            scipy.sparse.csr_matrix(np.array([[0, 2.0]])),
            '{"shape":[1,2],"row":[0],"column":[1],"value":[2.0]}',
            id="sparse",
        ),
    ],
)
def test_written(kind: t.Type, output: Any, expected: str) -> None:
    checker = checker_of(kind)
    checker.check_output(output)
    assert checker.write_json(output).decode() == expected
    assert checker.write_value(output) == json.loads(expected)


@pytest.mark.parametrize(
    "kind, output, fault",
    [
        pytest.param(t.Float(), "a", "body: expected float, got str", id="str-for-float"),
        pytest.param(t.Float(), float("nan"), "body: expected float, got NaN", id="nan"),
        pytest.param(t.Float(), None, "body: expected float, got null", id="none"),
        pytest.param(t.Float(), np.array([1.0]), "got float64 array of 1", id="array-for-float"),
        pytest.param(t.Integer(), 1.5, "body: expected int, got float", id="fraction"),
        pytest.param(
            t.Float(), float("inf"), "infinity, which JSON cannot hold", id="infinite-float"
        ),
        pytest.param(
            example(np.ones(2)),
            np.array([np.inf]),
            "infinity, which JSON cannot hold",
            id="infinite-array",
        ),
        pytest.param(
            example(pd.DataFrame({"p": [0.5]})),
            pd.DataFrame({"p": [np.inf]}),
            "expected values that JSON can hold, got infinity",
            id="infinite-frame",
        ),
        pytest.param(example(np.ones(2)), np.ones((2, 2)), "got float64 array of 2 x 2", id="rank"),
        pytest.param(
            example(np.ones(2, np.int8)), np.array([1, 300]), "[1]: expected int8", id="int8"
        ),
        pytest.param(
            example(pd.DataFrame({"p": [0.5]})),
            pd.DataFrame({"q": [0.5]}),
            "p: expected float or null, got nothing",
            id="other-columns",
        ),
        pytest.param(
            example(pd.DataFrame({"p": [0.5]})), np.ones((2, 3)), "p: expected", id="wide-matrix"
        ),
        pytest.param(hint(list[int]), 3, "body: expected list[int], got int", id="no-list"),
        pytest.param(hint(tuple[int, int]), (1,), "got tuple of 1", id="short-tuple"),
        pytest.param(hint(dict[str, int]), [], "got list", id="no-dict"),
        pytest.param(
            hint(dict[str, int]), {"a": "b"}, "[entry 0]: expected int, got str", id="value"
        ),
        pytest.param(hint(Point), {"x": 1}, "when: expected date, got nothing", id="field"),
        pytest.param(hint(Point), 3, "body: expected Point, got int", id="no-record"),
        pytest.param(
            hint(Point),
            {"x": 1, "when": datetime.date(2024, 1, 1), "z": 1},
            "z: expected no such member, got a value",
            id="extra-field",
        ),
        pytest.param(hint(int | str), 1.5, "expected int or str, got float", id="union"),
        pytest.param(hint(Colour), "green", "expected one of 'red', got str", id="enum"),
        pytest.param(t.Text(), "\ud800", "half a surrogate", id="surrogate"),
        pytest.param(
            t.Anything(), {1.5: object()}, "a value that JSON cannot hold", id="object-in-anything"
        ),
        pytest.param(t.Anything(), ["\ud800"], "that JSON cannot hold", id="surrogate-in-anything"),
    ],
)
def test_outputs_that_break_the_schema(kind: t.Type, output: Any, fault: str) -> None:
    with pytest.raises(SchemaError) as caught:
        checker_of(kind).write_json(output)
    assert fault in str(caught.value)
    assert "the output does not fit the function's own schema" in str(caught.value)


VECTOR = example(np.ones(2))
FRAME = example(pd.DataFrame({"p": [0.5], "k": ["a"]}))
FRAME_OUT = pd.DataFrame({"p": [0.5, 0.25], "k": ["a", "b"]})


@pytest.mark.parametrize(
    "kind, row_wise, body, output, expected",
    [
        pytest.param(VECTOR, True, '{"n": 1}', np.array([0.5]), "0.5", id="row"),
        pytest.param(VECTOR, True, '[{"n": 1}]', np.array([0.5]), "[0.5]", id="rows-of-one"),
        pytest.param(VECTOR, True, '{"n": [1, 2]}', np.array([1, 2.0]), "[1.0,2.0]", id="columns"),
        pytest.param(VECTOR, True, "[]", np.array([]), "[]", id="no-rows"),
        pytest.param(VECTOR, False, '{"n": 1}', np.array([0.5]), "[0.5]", id="whole-frame-row"),
        pytest.param(t.Float(), False, '{"n": 1}', 0.5, "0.5", id="whole-frame-float"),
        pytest.param(
            FRAME, True, '{"n": 1}', FRAME_OUT[:1], '{"p":0.5,"k":"a"}', id="frame-of-a-row"
        ),
        pytest.param(
            FRAME,
            True,
            '[{"n": 1}, {"n": 2}]',
            FRAME_OUT,
            '[{"p":0.5,"k":"a"},{"p":0.25,"k":"b"}]',
            id="frame-of-rows",
        ),
        pytest.param(
            FRAME,
            True,
            '{"n": [1, 2]}',
            FRAME_OUT,
            '{"p":[0.5,0.25],"k":["a","b"]}',
            id="frame-of-columns",
        ),
        pytest.param(
            FRAME,
            False,
            '{"n": [1]}',
            FRAME_OUT,
            '{"p":[0.5,0.25],"k":["a","b"]}',
            id="whole-frame-frame-of-columns",
        ),
        pytest.param(
            FRAME,
            False,
            '{"n": 1}',
            FRAME_OUT[:1],
            '[{"p":0.5,"k":"a"}]',
            id="whole-frame-frame-of-a-row",
        ),
    ],
)
def test_answer_has_the_form_of_the_question(
    kind: t.Type, row_wise: bool, body: str, output: Any, expected: str
) -> None:
    checker = checker_of(kind, row_wise=row_wise)
    call = checker.read_json(body.encode())
    assert checker.write_json(output, call).decode() == expected


@pytest.mark.parametrize(
    "kind, output, expected",
    [
        pytest.param(
            VECTOR,
            np.array([1.0, 2.0, 3.0, 4.0]),
            [b"1.0", b"[2.0,3.0]", b"[]", b"[4.0]"],
            id="vector",
        ),
        pytest.param(
            hint(list[str]), list("abcd"), [b'"a"', b'["b","c"]', b"[]", b'["d"]'], id="list"
        ),
        pytest.param(
            example(np.ones((1, 2), int)),
            np.arange(8).reshape(4, 2),
            [b"[0,1]", b"[[2,3],[4,5]]", b"[]", b"[[6,7]]"],
            id="matrix",
        ),
        pytest.param(
            example(pd.DataFrame({"p": [1]})),
            pd.DataFrame({"p": [1, 2, 3, 4]}),
            [b'{"p":1}', b'[{"p":2},{"p":3}]', b"[]", b'{"p":[4]}'],
            id="frame",
        ),
    ],
)
def test_each_caller_gets_its_own_rows(kind: t.Type, output: Any, expected: list[bytes]) -> None:
    checker = checker_of(kind, row_wise=True)
    bodies = [b'{"n": 1}', b'[{"n": 2}, {"n": 3}]', b"[]", b'{"n": [4]}']
    calls = [checker.read_json(body) for body in bodies]
    assert checker.join(calls)["df"]["n"].tolist() == [1, 2, 3, 4]
    assert checker.write_json_each(output, calls) == expected
    parts = checker.split(output, calls)
    assert [len(part) for part in parts] == [1, 2, 0, 1]
    for part, call, answer in zip(parts, calls, expected, strict=True):
        assert checker.write_json(part, call) == answer


@pytest.mark.parametrize(
    "kind, output, fault",
    [
        pytest.param(VECTOR, np.ones(3), "expected 2 outputs, one per row, got 3 outputs", id="3"),
        pytest.param(t.Float(), 1.0, "one per row, got one output", id="one"),
        pytest.param(
            example(pd.DataFrame({"p": [1]})), pd.DataFrame({"p": [1]}), "got 1 outputs", id="frame"
        ),
    ],
)
def test_another_number_of_outputs_is_refused(kind: t.Type, output: Any, fault: str) -> None:
    checker = checker_of(kind, row_wise=True)
    calls = [checker.read_json(b'{"n": 1}') for _ in range(2)]
    with pytest.raises(SchemaError, match=fault):
        checker.write_json_each(output, calls)
    with pytest.raises(SchemaError, match="expected 2 outputs, one per row"):
        checker.split(output, calls)


@pytest.mark.parametrize(
    "kind, output, names, columns",
    [
        pytest.param(VECTOR, np.array([1.5, np.nan]), ["output"], [[1.5, None]], id="vector"),
        pytest.param(
            example(np.ones((1, 2), np.int8)),
            np.array([[1, 2], [3, 4]], np.int8),
            ["output_0", "output_1"],
            [[1, 3], [2, 4]],
            id="matrix",
        ),
        pytest.param(
            example(np.ones((1, 1, 2))),
            np.array([[[1.0, 2.0]]]),
            ["output"],
            [[[[1.0, 2.0]]]],
            id="rank-3",
        ),
        pytest.param(
            example(pd.Series([1], name="y")), pd.Series([1, 2]), ["output"], [[1, 2]], id="series"
        ),
        pytest.param(hint(list[str]), ["a", "b"], ["output"], [["a", "b"]], id="list"),
        pytest.param(
            hint(list[dict[str, int]]), [{"a": 1}], ["output"], [[{"a": 1}]], id="list-of-dicts"
        ),
        pytest.param(t.Float(), 1.5, ["output"], [[1.5]], id="float"),
        pytest.param(FRAME, FRAME_OUT, ["p", "k"], [[0.5, 0.25], ["a", "b"]], id="frame"),
    ],
)
def test_outputs_as_arrow(
    kind: t.Type, output: Any, names: list[str], columns: list[list[Any]]
) -> None:
    table = checker_of(kind).write_arrow(output, len(columns[0]))
    assert table.column_names == names
    assert [
        [None if value != value else value for value in column]
        for column in table.to_pydict().values()
    ] == columns
    with pytest.raises(SchemaError, match=f"expected 9 rows, got {len(columns[0])} rows"):
        checker_of(kind).write_arrow(output, 9)
