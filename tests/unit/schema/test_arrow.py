"""Arrow tables: which other types are taken, and what is refused."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from envelope.errors import SchemaError
from envelope.schema import Checker, compile_checker, infer_function

TODAY = datetime.datetime(2024, 1, 2)
FRAME = pd.DataFrame(
    {
        "i": [1, 2],
        "f": [0.5, np.nan],
        "b": [True, False],
        "s": ["a", "b"],
        "c": pd.Categorical(["x", "y"]),
        "t": pd.to_datetime(["2024-01-01", "2024-01-02"]).as_unit("us"),
        "z": pd.to_datetime(["2024-01-01", "2024-01-02"])
        .as_unit("us")
        .tz_localize("Europe/Berlin"),
    }
)


def total(df: pd.DataFrame) -> float:
    return 1.0


def checker_of(frame: pd.DataFrame = FRAME, **options: Any) -> Checker:
    return compile_checker(infer_function(total, name="total", api_input=frame), **options)


def table_with(name: str, array: pa.Array) -> pa.Table:
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    return table.set_column(table.column_names.index(name), name, array)


@pytest.mark.parametrize(
    "name, array",
    [
        pytest.param("i", pa.array([1, 2], pa.int8()), id="narrow-int"),
        pytest.param("i", pa.array([1, 2], pa.uint64()), id="uint64"),
        pytest.param("i", pa.array([1.0, 2.0]), id="whole-floats"),
        pytest.param("i", pa.chunked_array([[1], [2]]), id="chunks"),
        pytest.param("f", pa.array([0.5, None], pa.float32()), id="float32"),
        pytest.param("s", pa.array(["a", "b"], pa.large_string()), id="large-string"),
        pytest.param("s", pa.array(["a", "b"]).dictionary_encode(), id="dictionary-of-texts"),
        pytest.param("c", pa.array(["x", "y"]), id="texts-of-levels"),
        pytest.param("c", pa.array(["y", "x"]).dictionary_encode().take([1, 0]), id="levels"),
        pytest.param(
            "t", pa.array([TODAY - datetime.timedelta(1), TODAY], pa.timestamp("ns")), id="ns"
        ),
        pytest.param("t", pa.array(["2024-01-01", "2024-01-02"]), id="texts-of-times"),
        pytest.param(
            "t", pa.array([datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)]), id="dates"
        ),
        pytest.param(
            "z",
            pa.array(["2023-12-31T23:00:00Z", "2024-01-01T23:00:00Z"]).cast(
                pa.timestamp("s", "UTC")
            ),
            id="utc",
        ),
    ],
)
def test_types_that_lose_nothing(name: str, array: Any) -> None:
    found = checker_of().read_arrow(table_with(name, array)).arguments()["df"]
    pd.testing.assert_frame_equal(found, FRAME)


@pytest.mark.parametrize(
    "name, array, fault",
    [
        pytest.param("i", [1, None], "rows[1].i: expected int64, got null", id="null"),
        pytest.param("i", [1.5, 2.0], "rows[0].i: expected int64, got float", id="fraction"),
        pytest.param("i", ["1", "2"], "rows[0].i: expected int64, got str", id="text"),
        pytest.param("i", [True, False], "rows[0].i: expected int64, got bool", id="bool"),
        pytest.param(
            "i", pa.array([2**63, 1], pa.uint64()), "int beyond its range", id="beyond-int64"
        ),
        pytest.param("f", [2**53 + 1, 1], "int that a float would round", id="2**53+1"),
        pytest.param("s", ["a", None], "rows[1].s: expected str, got null", id="null-text"),
        pytest.param("b", [0, 1], "rows[0].b: expected bool, got int", id="int-for-bool"),
        pytest.param("c", ["x", "q"], "rows[1].c: expected one of 2 levels", id="unknown-level"),
        pytest.param(
            "t",
            pa.array([TODAY, TODAY], pa.timestamp("us", "UTC")),
            "timestamp with a zone",
            id="zone-for-none",
        ),
        pytest.param("z", [TODAY, TODAY], "timestamp without a zone", id="none-for-zone"),
        pytest.param(
            "t",
            pa.array([1, 2], pa.timestamp("ns")),
            "rows[0].t: expected timestamp[us] or null",
            id="finer",
        ),
    ],
)
def test_types_that_lose_something(name: str, array: Any, fault: str) -> None:
    array = array if isinstance(array, pa.Array) else pa.array(array)
    with pytest.raises(SchemaError) as caught:
        checker_of().read_arrow(table_with(name, array))
    assert fault.removesuffix(" or null") in str(caught.value)


def test_columns_are_found_by_name() -> None:
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    reordered = table.select(table.column_names[::-1])
    pd.testing.assert_frame_equal(checker_of().read_arrow(reordered).arguments()["df"], FRAME)
    with pytest.raises(SchemaError) as caught:
        checker_of().read_arrow(table.drop_columns(["i"]).append_column("x", pa.array([1, 2])))
    assert [str(fault) for fault in caught.value.faults] == [
        "i: expected int64, got nothing",
        "x: expected no such column, got a value",
    ]
    ignoring = checker_of(extra_columns="ignore")
    extra = table.append_column("x", pa.array([1, 2]))
    pd.testing.assert_frame_equal(ignoring.read_arrow(extra).arguments()["df"], FRAME)
    with pytest.raises(SchemaError, match="two columns of one name"):
        checker_of().read_arrow(table.append_column("i", pa.array([1, 2])))


def test_infinity_travels_as_arrow() -> None:
    frame = pd.DataFrame({"x": [np.inf, -np.inf, np.nan]})
    checker = checker_of(frame)
    table = pa.Table.from_pandas(frame)
    pd.testing.assert_frame_equal(checker.read_arrow(table).arguments()["df"], frame)


def test_function_of_an_arrow_table() -> None:
    def count(table: pa.Table) -> int:
        return int(table.num_rows)

    table = pa.table({"a": pa.array([1, None], pa.int32()), "b": ["x", "y"]})
    schema = infer_function(count, name="count", api_input=table)
    checker = compile_checker(schema)
    assert checker.takes_one_frame
    assert checker.read_arrow(table).arguments()["table"].equals(table)
    assert (
        checker.read_json(b'[{"a": 1, "b": "x"}, {"a": null, "b": "y"}]')
        .arguments()["table"]
        .equals(table)
    )
    assert checker.write_arguments({"table": table}) == [{"a": 1, "b": "x"}, {"a": None, "b": "y"}]
    calls = [checker.read_json(b'{"a": 1, "b": "x"}'), checker.read_arrow(table)]
    assert checker.join(calls)["table"].num_rows == 3


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_column_of_one_chunk_is_not_copied(chunks):
    frame = pd.DataFrame({"f": [0.5, 1.5]})
    sent = [np.arange(4.0) for _ in range(chunks)]
    call = checker_of(frame).read_arrow(pa.table({"f": pa.chunked_array(sent)}))

    found = call.arguments()["df"]["f"].to_numpy()

    assert found.tolist() == np.concatenate(sent).tolist()
    assert np.shares_memory(found, sent[0]) == (chunks == 1)
