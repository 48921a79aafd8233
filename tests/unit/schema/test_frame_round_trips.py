"""What went in at save time, sent back, arrives equal: every dtype, every way to write a frame."""

from __future__ import annotations

import msgspec
import pandas as pd
import pyarrow as pa
import pytest

from envelope.errors import SchemaError
from envelope.schema import Call, compile_checker, infer_function, with_output
from envelope.schema import types as t
from tests.unit.schema.columns import COLUMNS


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


NOT_IN_ARROW = {"object-int", "object-mixed"}


def test_arrow_arrives_equal(frame: pd.DataFrame, request: pytest.FixtureRequest) -> None:
    checker = compile_checker(schema_of(frame))
    if any(f"[{name}]" in request.node.name for name in NOT_IN_ARROW):
        with pytest.raises(SchemaError, match="ask for JSON instead"):
            checker.write_arrow(frame, len(frame))
        return
    table = checker.write_arrow(frame, len(frame))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    again = pa.ipc.open_stream(sink.getvalue()).read_all()
    call = checker.read_arrow(again)
    assert (call.form, call.n_rows) == ("frame", len(frame))
    pd.testing.assert_frame_equal(call.arguments()["df"], frame)


def test_csv_arrives_equal(frame: pd.DataFrame) -> None:
    checker = compile_checker(schema_of(frame))
    call = checker.read_csv(checker.write_csv(frame, len(frame)))
    assert (call.form, call.n_rows) == ("rows", len(frame))
    pd.testing.assert_frame_equal(call.arguments()["df"], frame)
