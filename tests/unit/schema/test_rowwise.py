"""The proof that a function answers row by row, on functions that do and that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

from envelope.manifest import RowWise
from envelope.schema import compile_checker, infer_function, prove_row_wise, with_output

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"a": np.arange(20), "b": RNG.normal(size=20), "c": list("abcd") * 5})
NUMBERS = FRAME[["a", "b"]]


def prove(function: Callable[..., Any], frame: pd.DataFrame) -> RowWise:
    schema = infer_function(function, name="f", api_input=frame)
    if schema.output is None:
        output = function(frame.reset_index(drop=True))
        schema = with_output(schema, output, function=function, name="f")
    return prove_row_wise(function, compile_checker(schema), frame)


# mypy: the examples describe these functions, as they do for people who write no annotations.
def doubled(df):  # type: ignore[no-untyped-def]
    return df["b"].to_numpy() * 2


def series(df):  # type: ignore[no-untyped-def]
    return df["b"] * 2


def listed(df):  # type: ignore[no-untyped-def]
    return [f"{row.a}-{row.c}" for row in df.itertuples()]


def framed(df):  # type: ignore[no-untyped-def]
    return pd.DataFrame({"p": df["b"] / 3, "name": df["c"].str.upper()})


def none_at_times(df):  # type: ignore[no-untyped-def]
    return [None if a % 3 else float(a) for a in df["a"]]


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(doubled, id="array"),
        pytest.param(series, id="series"),
        pytest.param(listed, id="list-of-texts"),
        pytest.param(framed, id="frame"),
        pytest.param(none_at_times, id="list-with-nulls"),
    ],
)
def test_row_wise(function: Callable[..., Any]) -> None:
    found = prove(function, FRAME)
    assert (found.is_row_wise, found.rows, found.max_difference) == (True, 16, 0.0), found.reason


def test_the_difference_of_a_linear_model_is_recorded() -> None:
    wide = pd.DataFrame(RNG.normal(size=(50, 40)))
    model = LinearRegression().fit(wide, wide.sum(axis=1) + 0.1)
    found = prove(model.predict, wide)
    assert found.is_row_wise
    assert 0 <= found.max_difference < 1e-9


def test_trees_agree_exactly() -> None:
    model = RandomForestClassifier(5, random_state=0).fit(NUMBERS, FRAME["a"] > 9)
    found = prove(model.predict_proba, NUMBERS)
    assert (found.is_row_wise, found.max_difference) == (True, 0.0)


def centred(df):  # type: ignore[no-untyped-def]
    return df["b"] - df["b"].mean()


def ranked(df):  # type: ignore[no-untyped-def]
    return df["a"].rank().to_numpy()


def lagged(df):  # type: ignore[no-untyped-def]
    return df["a"].diff().fillna(0.0)


def numbered(df):  # type: ignore[no-untyped-def]
    return np.arange(len(df))


def positive(df):  # type: ignore[no-untyped-def]
    return df[df["b"] > 0]["b"].reset_index(drop=True)


def distinct(df):  # type: ignore[no-untyped-def]
    return [float(value) for value in dict.fromkeys(df["b"])]


def noisy(df):  # type: ignore[no-untyped-def]
    return RNG.normal(size=len(df))


def share(df):  # type: ignore[no-untyped-def]
    return df["a"] / df["a"].sum()  # of its first row, 0, alone: NaN


def fails_alone(df):  # type: ignore[no-untyped-def]
    if len(df) < 2:
        raise ValueError("secret")
    return df["b"]


def total(df) -> float:  # type: ignore[no-untyped-def]
    return float(df["b"].sum())


def labels(df) -> list[str]:  # type: ignore[no-untyped-def]
    return ["a", "b"]


def slightly_off(df):  # type: ignore[no-untyped-def]
    return df["b"] * (1 + 1e-6 * len(df))


def narrow(df):  # type: ignore[no-untyped-def]
    return (df["b"] * (1 + 1e-7 * len(df))).to_numpy(np.float32)


def text_lengths_differ(df):  # type: ignore[no-untyped-def]
    return [[1.0] * len(df) for _ in range(len(df))]


@pytest.mark.parametrize(
    "function, reason",
    [
        pytest.param(centred, "row 0 alone: an output differs by", id="centred"),
        pytest.param(ranked, "an output differs by", id="ranked"),
        pytest.param(lagged, "an output differs by", id="lagged"),
        pytest.param(numbered, "row 2 alone: an output differs from", id="numbered"),
        pytest.param(positive, "outputs for 16 rows", id="filtered"),
        pytest.param(distinct, "every row twice: 16 outputs for 32 rows", id="distinct"),
        pytest.param(noisy, "the same call again: an output differs", id="random"),
        pytest.param(fails_alone, "row 0 alone: it raised ValueError", id="fails-alone"),
        pytest.param(total, "one output per call, not one per row", id="float"),
        pytest.param(labels, "all rows at once: 2 outputs for 16 rows", id="fixed-list"),
        pytest.param(share, "row 0 alone: an output differs", id="zero-beside-nan"),
        pytest.param(slightly_off, "more than 1e-09", id="beyond-the-tolerance"),
        pytest.param(text_lengths_differ, "another length", id="lists-of-other-lengths"),
    ],
)
def test_not_row_wise(function: Callable[..., Any], reason: str) -> None:
    found = prove(function, FRAME)
    assert not found.is_row_wise
    assert reason in found.reason
    assert "secret" not in found.reason


def test_float32_has_a_wider_tolerance() -> None:
    found = prove(narrow, FRAME)
    assert found.is_row_wise
    assert 1e-7 < found.max_difference < 1e-5


@pytest.mark.parametrize(
    "frame, rows, more",
    [
        pytest.param(FRAME[:3], 3, 5, id="three-rows"),
        pytest.param(pd.concat([FRAME[:2]] * 10), 2, 6, id="repeated-rows"),
        pytest.param(FRAME[:0], 0, 8, id="no-rows"),
    ],
)
def test_too_few_rows_say_how_many_more(frame: pd.DataFrame, rows: int, more: int) -> None:
    schema = infer_function(doubled, name="f", api_input=FRAME)
    schema = with_output(schema, doubled(FRAME), function=doubled, name="f")
    found = prove_row_wise(doubled, compile_checker(schema), frame)
    assert found == RowWise(
        is_row_wise=False,
        reason=(
            f"the sample has {rows} distinct rows; {more} more are needed to prove that rows can "
            "share a call"
        ),
        rows=rows,
    )


def test_rare_distinct_rows_of_a_large_sample_are_found() -> None:
    frame = pd.DataFrame({"a": np.repeat(np.arange(10), 5_000), "b": 0.5, "c": "x"})
    found = prove(doubled, frame)
    assert (found.is_row_wise, found.rows) == (True, 10)


def test_function_of_plain_parameters() -> None:
    def scaled(x: float) -> list[float]:
        return [x]

    found = prove_row_wise(scaled, compile_checker(infer_function(scaled, name="f")), 1.0)
    assert found == RowWise(is_row_wise=False, reason="it does not take one DataFrame")
