"""What went in at save time, sent back, arrives equal: every dtype, every way to write a frame."""

from __future__ import annotations

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from envelope.errors import SchemaError
from envelope.schema import Call, compile_checker, infer_function, with_output
from envelope.schema import types as t
from tests.unit.schema.columns import COLUMNS
from tests.unit.schema.wires import through_arrow, through_csv, through_json


def identity(df):  # type: ignore[no-untyped-def]  # the example is to describe it
    return df


def schema_of(frame: pd.DataFrame) -> t.FunctionSchema:
    schema = infer_function(identity, name="identity", api_input=frame)
    return with_output(schema, frame, function=identity, name="identity")


@pytest.fixture(params=[pytest.param(series, id=name) for name, series in COLUMNS.items()])
def frame(request: pytest.FixtureRequest) -> pd.DataFrame:
    return pd.DataFrame({"x": request.param, "n": range(len(request.param))})


def assert_arrives(call: Call, expected: pd.DataFrame, form: str) -> None:
    assert (call.form, call.n_rows) == (form, len(expected))
    pd.testing.assert_frame_equal(call.arguments()["df"], expected)


def test_json_arrives_equal(frame: pd.DataFrame) -> None:
    schema = schema_of(frame)
    assert msgspec.json.decode(msgspec.json.encode(schema), type=t.FunctionSchema) == schema
    checker = compile_checker(schema)
    rows = checker.write_arguments({"df": frame})
    assert_arrives(checker.read_json(msgspec.json.encode(rows)), frame, "rows")
    assert_arrives(checker.read_value(rows), frame, "rows")
    columns = {name: [row[name] for row in rows] for name in ("x", "n")}
    assert_arrives(checker.read_json(msgspec.json.encode(columns)), frame, "columns")
    assert_arrives(checker.read_value(columns), frame, "columns")
    calls = []
    for place, row in enumerate(rows):
        calls.append(checker.read_json(msgspec.json.encode(row)))
        expected = frame.iloc[[place]].reset_index(drop=True)
        assert_arrives(calls[-1], expected, "row")
        assert_arrives(checker.read_value(row), expected, "row")
    pd.testing.assert_frame_equal(checker.join(calls)["df"], frame)
    calls.append(checker.read_json(msgspec.json.encode(rows)))
    twice = pd.concat([frame, frame], ignore_index=True)
    pd.testing.assert_frame_equal(checker.join(calls)["df"], twice)
    calls.append(checker.read_arguments((frame,), {}))
    thrice = pd.concat([frame, frame, frame], ignore_index=True)
    pd.testing.assert_frame_equal(checker.join(calls)["df"], thrice)


def test_no_rows_keep_their_dtypes(frame: pd.DataFrame) -> None:
    checker = compile_checker(schema_of(frame))
    for body in (b"[]", b'{"x": [], "n": []}'):
        call = checker.read_json(body)
        found = call.arguments()["df"]
        assert (call.n_rows, len(found)) == (0, 0)
        assert list(found.dtypes) == list(frame.dtypes)


def test_python_frames_arrive_equal(frame: pd.DataFrame) -> None:
    checker = compile_checker(schema_of(frame))
    shuffled = frame.iloc[::-1][["n", "x"]]  # another index, another order of columns
    expected = frame.iloc[::-1].reset_index(drop=True)
    assert_arrives(checker.read_arguments((shuffled,), {}), expected, "frame")
    assert_arrives(checker.read_arguments((frame.astype(object),), {}), frame, "frame")


def test_output_has_the_form_of_the_input(frame: pd.DataFrame) -> None:
    checker = compile_checker(schema_of(frame), row_wise=True)
    rows = checker.write_arguments({"df": frame})
    assert checker.write_value(frame, checker.read_value(rows)) == rows
    columns = {name: [row[name] for row in rows] for name in ("x", "n")}
    assert checker.write_value(frame, checker.read_value(columns)) == columns


NOT_IN_ARROW = {
    "category-mixed",
    "object-dates-and-times",
    "object-int",
    "object-int-keys",
    "object-mixed",
    "object-moments-or-not",
    "object-time-zone",
    "object-tuple",
}


def test_arrow_arrives_equal(frame: pd.DataFrame, request: pytest.FixtureRequest) -> None:
    checker = compile_checker(schema_of(frame))
    if any(f"[{name}]" in request.node.name for name in NOT_IN_ARROW):
        with pytest.raises(SchemaError, match="ask for JSON instead"):
            checker.write_arrow(frame, len(frame))
        return
    call = through_arrow(checker, "df", frame)
    assert (call.form, call.n_rows) == ("frame", len(frame))
    pd.testing.assert_frame_equal(call.arguments()["df"], frame)


def test_csv_arrives_equal(frame: pd.DataFrame) -> None:
    checker = compile_checker(schema_of(frame))
    call = checker.read_csv(checker.write_csv(frame, len(frame)))
    assert (call.form, call.n_rows) == ("rows", len(frame))
    pd.testing.assert_frame_equal(call.arguments()["df"], frame)


@pytest.mark.parametrize(
    "label",
    [
        pytest.param('he said "so"', id="quotes"),
        pytest.param("a\\b", id="backslash"),
        pytest.param("two\nlines, one comma", id="newline"),
        pytest.param("", id="empty"),
        pytest.param("ü 😀", id="unicode"),
    ],
)
@pytest.mark.parametrize("others", [pytest.param([], id="alone"), pytest.param(["b"], id="two")])
def test_any_label_arrives(label: str, others: list[str]) -> None:
    frame = pd.DataFrame({name: [1, 2] for name in [label, *others]})
    checker = compile_checker(schema_of(frame))
    for way in (through_json, through_csv, through_arrow):
        pd.testing.assert_frame_equal(way(checker, "df", frame).arguments()["df"], frame)
    columns = {name: [1, 2] for name in frame.columns}
    by_column = checker.read_json(msgspec.json.encode(columns))
    assert_arrives(by_column, frame, "columns")
    with pytest.raises(SchemaError, match="two members of one name"):
        name = msgspec.json.encode(label).decode()
        more = "".join(f', "{other}": 1' for other in others)
        checker.read_json(f"{{{name}: 1, {name}: 2{more}}}".encode())


@pytest.mark.parametrize(
    "values, got",
    [
        pytest.param(
            np.array(["-0044-03-15"], "M8[s]"), "outside the years 1 to 9999", id="caesar"
        ),
        pytest.param(np.array(["10000-01-01"], "M8[s]"), "outside the years 1 to 9999", id="far"),
        pytest.param(np.array([np.inf]), "infinity", id="infinity"),
        pytest.param(pd.Series(["\ud800"], dtype=object), "half a surrogate", id="surrogate"),
        pytest.param(
            pd.arrays.FloatingArray(np.array([np.nan, 1.0]), np.array([False, True])),
            "NaN beside null",
            id="nan-beside-null",
        ),
    ],
)
def test_what_json_and_csv_cannot_hold_is_refused(values: object, got: str) -> None:
    frame = pd.DataFrame({"x": values})
    checker = compile_checker(schema_of(frame))
    for way in (through_json, through_csv):
        with pytest.raises(SchemaError) as caught:
            way(checker, "df", frame)
        assert got in caught.value.faults[0].got


def test_nan_beside_null_arrives_through_arrow() -> None:
    values = pd.arrays.FloatingArray(np.array([np.nan, 1.0]), np.array([False, True]))
    frame = pd.DataFrame({"x": values})
    found = through_arrow(compile_checker(schema_of(frame)), "df", frame).arguments()["df"]
    pd.testing.assert_frame_equal(found, frame)


def test_half_a_surrogate_has_no_arrow_form() -> None:
    frame = pd.DataFrame({"x": pd.Series(["\ud800"], dtype=object)})
    with pytest.raises(SchemaError, match="ask for JSON instead"):
        compile_checker(schema_of(frame)).write_arrow(frame)


def test_arrow_table_keeps_what_may_not_be_null() -> None:
    table = pa.table({"a": [1]}, pa.schema([pa.field("a", pa.int64(), nullable=False)]))
    schema = infer_function(identity, name="identity", api_input=table)
    checker = compile_checker(with_output(schema, table, function=identity, name="identity"))
    found = through_arrow(checker, "df", table).arguments()["df"]
    assert found.equals(table)
    with pytest.raises(SchemaError, match=r"rows\[0\].a: expected int64, got null"):
        checker.read_json(b'[{"a": null}]')


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([1, 2**70], id="integers"),
        pytest.param([b"a"], id="bytes"),
        pytest.param([[1]], id="lists"),
        pytest.param(["a"], id="texts"),
        pytest.param([1, "a"], id="mixed"),
    ],
)
def test_null_is_refused_where_the_example_had_none(values: list[object]) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object)})
    checker = compile_checker(schema_of(frame))
    for body in (b'{"x": null}', b'[{"x": null}]'):
        with pytest.raises(SchemaError) as caught:
            checker.read_json(body)
        assert [fault.got for fault in caught.value.faults] == ["null"]
