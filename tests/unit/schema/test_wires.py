"""Any value of a generated type survives each wire format that carries the type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envelope.schema import Checker, compile_checker, infer_function, with_output
from tests.unit.schema.wires import (
    through_arrow,
    through_binary_tensors,
    through_csv,
    through_json,
    through_tensors,
)

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
WORDS = TEXTS.filter(lambda text: not text.endswith("\0"))  # numpy cuts NULs off
UNITS = st.sampled_from(["s", "ms", "us", "ns"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"])
SECONDS = st.integers(-(2**33), 2**33)  # the years 1697 to 2242, which nanoseconds hold too


@st.composite
def numbers(draw: st.DrawFn, n_rows: int) -> pd.Series[Any]:
    kind = draw(st.sampled_from(["bool", "float32", "float64", "int8", "int64", "uint64"]))
    dtype = np.dtype(kind)
    elements: st.SearchStrategy[Any]
    if dtype.kind == "b":
        elements = st.booleans()
    elif dtype.kind == "f":
        elements = st.floats(width=8 * dtype.itemsize, allow_infinity=False)
    else:
        info = np.iinfo(dtype)
        elements = st.integers(int(info.min), int(info.max))
    return pd.Series(draw(rows_of(elements, n_rows)), dtype=dtype)


@st.composite
def nullable_numbers(draw: st.DrawFn, n_rows: int) -> pd.Series[Any]:
    dtype = draw(st.sampled_from(["boolean", "Int16", "UInt64", "Float64"]))
    elements = {
        "boolean": st.booleans(),
        "Int16": st.integers(-(2**15), 2**15 - 1),
        "UInt64": st.integers(0, 2**64 - 1),
        "Float64": st.floats(allow_nan=False, allow_infinity=False),
    }[dtype]
    return pd.Series(draw(rows_of(st.none() | elements, n_rows)), dtype=dtype)


@st.composite
def texts(draw: st.DrawFn, n_rows: int) -> pd.Series[Any]:
    dtype = draw(st.sampled_from(["string", object]))
    return pd.Series(draw(rows_of(TEXTS, n_rows)), dtype=dtype)


@st.composite
def categories(draw: st.DrawFn, n_rows: int) -> pd.Series[Any]:
    levels = draw(
        st.lists(TEXTS, min_size=1, max_size=4, unique=True)
        | st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4, unique=True)
    )
    dtype = pd.CategoricalDtype(levels, ordered=draw(st.booleans()))
    cells = draw(rows_of(st.none() | st.sampled_from(levels), n_rows))
    return pd.Series(cells, dtype=dtype)


@st.composite
def moments(draw: st.DrawFn, n_rows: int) -> pd.Series[Any]:
    unit = draw(UNITS)
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    counts = draw(rows_of(SECONDS.map(lambda seconds: seconds * per_second + 7), n_rows))
    series = pd.Series(np.array(counts, np.int64).view(f"M8[{unit}]"))
    return (
        series if draw(st.booleans()) else series.dt.tz_localize("UTC").dt.tz_convert(draw(ZONES))
    )


@st.composite
def durations(draw: st.DrawFn, n_rows: int) -> pd.Series[Any]:
    counts = draw(rows_of(st.integers(-(2**62), 2**62), n_rows))
    return pd.Series(np.array(counts, np.int64).view(f"m8[{draw(UNITS)}]"))


@st.composite
def arrow_lists(draw: st.DrawFn, n_rows: int) -> pd.Series[Any]:
    cells = draw(rows_of(st.none() | st.lists(st.none() | TEXTS, max_size=3), n_rows))
    array = pa.array(cells, pa.list_(pa.string()))
    return pd.Series(pd.arrays.ArrowExtensionArray(array))  # type: ignore[attr-defined]


def rows_of(cells: st.SearchStrategy[Any], n_rows: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(cells, min_size=n_rows, max_size=n_rows)


FAMILIES = [numbers, nullable_numbers, texts, categories, moments, durations, arrow_lists]


@st.composite
def frames(draw: st.DrawFn, families: list[Any]) -> pd.DataFrame:
    n_rows = draw(st.integers(1, 4))
    labels = draw(st.lists(TEXTS, min_size=1, max_size=3, unique=True))
    columns = [draw(draw(st.sampled_from(families))(n_rows)) for _ in labels]
    frame = pd.concat(columns, axis=1)
    frame.columns = pd.Index(labels)
    return frame


def identity(df):  # type: ignore[no-untyped-def]  # the example is to describe it
    return df


def checker_of(frame: pd.DataFrame) -> Checker:
    schema = infer_function(identity, name="identity", api_input=frame)
    return compile_checker(with_output(schema, frame, function=identity, name="identity"))


@pytest.mark.parametrize("way", [through_json, through_csv, through_arrow])
@settings(max_examples=settings.default.max_examples // 3)
@given(frame=frames(FAMILIES))
def test_any_frame_survives(way: Any, frame: pd.DataFrame) -> None:
    found = way(checker_of(frame), "df", frame).arguments()["df"]
    pd.testing.assert_frame_equal(found, frame)


@pytest.mark.parametrize("way", [through_tensors, through_binary_tensors])
@settings(max_examples=settings.default.max_examples // 3)
@given(frame=frames([numbers, texts]))
def test_any_frame_of_numbers_and_texts_survives_as_tensors(way: Any, frame: pd.DataFrame) -> None:
    found = way(checker_of(frame), "df", frame).arguments()["df"]
    pd.testing.assert_frame_equal(found, frame)


@pytest.mark.parametrize("way", [through_tensors, through_binary_tensors])
@settings(max_examples=settings.default.max_examples // 3)
@given(data=st.data())
def test_any_array_survives_as_a_tensor(way: Any, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    flat = data.draw(numbers(int(np.prod(shape)))).to_numpy()
    array = flat.reshape(shape)
    schema = infer_function(identity, name="identity", api_input=array)
    checker = compile_checker(with_output(schema, array, function=identity, name="identity"))
    found = way(checker, "df", array).arguments()["df"]
    np.testing.assert_array_equal(found, array, strict=True)
