"""What a file holds of columns of numbers, texts and times."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from controller.web.exports import as_csv, as_parquet

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        pytest.param([1, 2.5], [1.0, 2.5], id="numbers"),
        pytest.param(["a", "b"], ["a", "b"], id="texts"),
        pytest.param([True, False], [True, False], id="booleans"),
        pytest.param([1.5, "auto"], ["1.5", "auto"], id="mixed"),
        pytest.param([1, True], ["1", "True"], id="numbers-and-booleans"),
        pytest.param([AT], [pd.Timestamp(AT)], id="times"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_a_column_of_parquet_has_one_type(values: list[Any], kept: list[Any]) -> None:
    found = pd.read_parquet(io.BytesIO(as_parquet({"x": values})))
    assert found["x"].tolist() == kept


def test_csv_has_a_header_and_times_in_iso() -> None:
    assert as_csv({"at": [AT], "a,b": ["x"]}).decode().splitlines() == [
        'at,"a,b"',
        "2026-01-01T00:00:00+00:00,x",
    ]
