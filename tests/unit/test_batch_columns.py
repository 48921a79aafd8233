from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from envelope.errors import ConfigError, SchemaError
from envelope.schema import compile_checker, infer_function, with_output
from envelope.schema import types as t
from ray_runtime.batch.columns import answers_schema, check_types, csv_types

EXAMPLE = pd.DataFrame(
    {
        "code": ["007", "008"],
        "age": np.array([41, 42], np.int32),
        "income": [1.0, np.nan],
        "segment": pd.Categorical(["a", "b"]),
        "note": pd.Series(["x", None], dtype="string"),
        "is_new": [True, False],
        "seen": pd.to_datetime(["2024-01-31", "2024-02-01"], utc=True),
    }
)


def predict(frame):  # type: ignore[no-untyped-def]  # as a data scientist writes it
    return frame["age"].to_numpy(float)


def frame_of(example: pd.DataFrame) -> t.Frame:
    frame = infer_function(predict, name="predict", api_input=example).one_frame
    assert frame is not None
    return frame


FRAME = frame_of(EXAMPLE)


def test_csv_is_read_as_the_function_wants_it_and_as_text_else() -> None:
    found = csv_types(FRAME, ["client_id", *EXAMPLE.columns])
    kinds = {name: str(kind) for name, kind in found.types.items()}
    assert kinds.pop("code") in ("string", "large_string")
    assert kinds == {
        "client_id": "string",
        "age": "int32",
        "income": "double",
        "segment": "string",
        "note": "string",
        "is_new": "bool",
        "seen": "timestamp[us, tz=UTC]",
    }
    assert found.null_texts == {"note", "segment"}


def test_what_csv_cannot_hold_is_named() -> None:
    frame = frame_of(
        pd.DataFrame({"x": [1.0], "vector": [[1.0, 2.0]], "took": pd.to_timedelta([1])})
    )
    with pytest.raises(ConfigError, match=r"use Parquet:\n  vector: list.*\n  took: duration"):
        csv_types(frame, ["x", "vector", "took"])


def schema(**changes: pa.DataType) -> pa.Schema:
    own = {
        "code": pa.string(),
        "age": pa.int32(),
        "income": pa.float64(),
        "segment": pa.string(),
        "note": pa.string(),
        "is_new": pa.bool_(),
        "seen": pa.timestamp("us", tz="UTC"),
    }
    return pa.schema(list((own | changes).items()))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="the-same"),
        pytest.param({"age": pa.int64(), "income": pa.float32()}, id="other-numbers"),
        pytest.param({"age": pa.float64()}, id="floats-that-may-be-whole"),
        pytest.param({"code": pa.large_string()}, id="large-string"),
        pytest.param({"segment": pa.dictionary(pa.int8(), pa.string())}, id="dictionary"),
        pytest.param({"seen": pa.string()}, id="texts-that-may-be-dates"),
        pytest.param({"extra": pa.list_(pa.int8())}, id="extra-column"),
    ],
)
def test_types_that_can_fit(changes: dict[str, pa.DataType]) -> None:
    check_types(schema(**changes), FRAME, where="a.parquet")


def test_every_column_that_can_never_fit_is_named() -> None:
    with pytest.raises(SchemaError) as caught:
        check_types(
            schema(age=pa.string(), code=pa.int64(), is_new=pa.float64(), seen=pa.int64()),
            FRAME,
            where="a.parquet",
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "a.parquet does not fit the function"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["code", "age", "is_new"]
    assert lines[2] == "  age: expected int32, got string"


@pytest.mark.parametrize(
    "output, expected",
    [
        pytest.param(pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}), {"a": "double"}, id="frame"),
        pytest.param(pd.Series([1, 2], name="n"), {"output": "int64"}, id="series"),
        pytest.param(np.array([1.0, 2.0], np.float32), {"output": "float"}, id="array"),
        pytest.param(
            np.array([[0.1, 0.9], [0.5, 0.5]]),
            {"output_0": "double", "output_1": "double"},
            id="matrix",
        ),
        pytest.param([True, False], {"output": "bool"}, id="list"),
        pytest.param(0.5, {"output": "double"}, id="one-value"),
        pytest.param(
            pd.Series(pd.Categorical(["x", "y"])),
            {"output": "dictionary<values=large_string, indices=int8, ordered=0>"},
            id="category",
        ),
    ],
)
def test_columns_of_the_answers_are_known_before_there_are_any(
    output: Any, expected: dict[str, str]
) -> None:
    known = infer_function(predict, name="predict", api_input=EXAMPLE)
    known = with_output(known, output, function=predict, name="predict")
    checker = compile_checker(known)
    found = answers_schema(checker)
    assert found is not None
    assert found == checker.write_arrow(output).schema.remove_metadata()
    kinds = {name: str(found.field(name).type) for name in found.names}
    for name, kind in expected.items():
        assert kinds[name].replace("large_", "") == kind.replace("large_", "")


def test_columns_of_records_are_known_from_the_answers_alone() -> None:
    known = infer_function(predict, name="predict", api_input=EXAMPLE)
    known = with_output(known, [{"a": 1}, {"a": 2}], function=predict, name="predict")
    assert answers_schema(compile_checker(known)) is None
