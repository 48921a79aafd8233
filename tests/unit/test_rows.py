from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse

from envelope.rows import Which, row_count, take_rows


@dataclass
class Item:
    x: int


FRAME = pd.DataFrame({"a": range(10)})


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        pytest.param({"X": FRAME}, 10, id="frame"),
        pytest.param({"X": FRAME["a"]}, 10, id="series"),
        pytest.param({"X": pa.table({"a": [1, 2]})}, 2, id="arrow"),
        pytest.param({"X": np.ones((4, 3))}, 4, id="matrix"),
        pytest.param({"X": scipy.sparse.eye(5, format="csr")}, 5, id="sparse"),
        pytest.param({"X": [[1, 2], [3, 4], [5, 6]]}, 3, id="list-of-lists"),
        pytest.param({"X": [{"a": 1}]}, 1, id="list-of-dicts"),
        pytest.param({"X": [Item(1), Item(2)]}, 2, id="list-of-dataclasses"),
        pytest.param({"y": 3, "X": FRAME}, 10, id="frame-among-others"),
        pytest.param({"x": [[1]], "X": FRAME}, 10, id="a-frame-comes-before-a-list"),
        pytest.param({"x": [1.0, 2.0]}, None, id="vector-as-list"),
        pytest.param({"x": np.ones(3)}, None, id="vector"),
        pytest.param({"x": []}, None, id="empty-list"),
        pytest.param({"x": 1, "y": "abc"}, None, id="scalars"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_rows_are_counted(arguments: dict[str, Any], count: int | None) -> None:
    assert row_count(arguments) == count


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        pytest.param("first", [0, 1, 2, 3], id="first"),
        pytest.param("spread", [0, 3, 6, 9], id="spread"),
    ],
)
def test_rows_are_taken_from_everything_that_is_as_long(which: Which, expected: list[int]) -> None:
    arguments = {
        "X": FRAME,
        "weights": np.arange(10.0),
        "names": [str(i) for i in range(10)],
        "matrix": scipy.sparse.csc_matrix(np.arange(10).reshape(10, 1)),
        "table": pa.table({"a": range(10)}),
        "k": 3,
        "centre": np.zeros(7),
    }
    taken = take_rows(arguments, 4, which)
    assert taken["X"]["a"].tolist() == expected
    assert taken["weights"].tolist() == expected
    assert taken["names"] == [str(i) for i in expected]
    assert taken["matrix"].toarray().ravel().tolist() == expected
    assert taken["matrix"].format == "csc"
    assert taken["table"]["a"].to_pylist() == expected
    assert taken["k"] == 3
    assert len(taken["centre"]) == 7


@pytest.mark.parametrize("rows", [5, 100], ids=["fewer", "all"])
def test_nothing_done_to_the_copy_reaches_the_example(rows: int) -> None:
    frame = pd.DataFrame({"a": np.arange(10.0)})
    matrix, items = np.zeros((10, 2)), [[0] for _ in range(10)]
    taken = take_rows({"X": frame, "m": matrix, "l": items}, rows)
    taken["X"].loc[:, "a"] = -1.0
    taken["X"]["b"] = 1
    taken["m"][:] = -1.0
    taken["l"][0].append(1)
    assert frame["a"].tolist() == list(range(10))
    assert frame.columns.tolist() == ["a"]
    assert not matrix.any()
    assert items[0] == [0]


@pytest.mark.parametrize("rows", [1, 2, 3, 9, 10])
def test_spread_rows_are_distinct(rows: int) -> None:
    taken = take_rows({"X": FRAME}, rows, "spread")["X"]["a"]
    assert taken.is_unique
    assert len(taken) == rows
