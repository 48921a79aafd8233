"""docs/formats.md says what the code does, row by row."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import re
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest
import scipy.sparse

from envelope.errors import SchemaError
from envelope.schema import compile_checker, infer_function, with_output
from envelope.schema import types as t
from ray_runtime.protocols.tensors import datatype_of
from tests.unit.schema.columns import COLUMNS
from tests.unit.schema.wires import (
    through_arrow,
    through_binary_tensors,
    through_csv,
    through_json,
    through_tensors,
)

PAGE = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()


def table_after(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    lines = PAGE.partition(f"\n{heading}\n")[2].partition("\n## ")[0].splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


COLUMN_ROWS = [
    pytest.param(name, *row[1:], id=name)
    for row in table_after("## Columns")
    for name in re.findall(r"`([^`]+)`", row[0])
]


def identity(df):  # type: ignore[no-untyped-def]  # the example is to describe it
    return df


def test_every_column_has_a_row() -> None:
    assert {str(row.values[0]) for row in COLUMN_ROWS} == set(COLUMNS)
    assert len(COLUMN_ROWS) == len(COLUMNS)


@pytest.mark.parametrize("name, in_json, in_csv, in_arrow", COLUMN_ROWS)
def test_column(name: str, in_json: str, in_csv: str, in_arrow: str) -> None:
    frame = pd.DataFrame({"x": COLUMNS[name]})
    schema = infer_function(identity, name="identity", api_input=frame)
    schema = with_output(schema, frame, function=identity, name="identity")
    checker = compile_checker(schema)
    for said, way in ((in_json, through_json), (in_csv, through_csv), (in_arrow, through_arrow)):
        if said == "no":
            with pytest.raises(SchemaError):
                way(checker, "df", frame)
        else:
            pd.testing.assert_frame_equal(way(checker, "df", frame).arguments()["df"], frame)


TYPES: dict[str, t.Type] = {
    "float": t.Float(),
    "int": t.Integer(),
    "int8": t.Integer(8),
    "timestamp without a zone": t.Timestamp(),
    "timestamp in microseconds": t.Timestamp(),
    "timestamp with a zone": t.Timestamp(zone="Europe/Berlin"),
    "timestamp in another zone": t.Timestamp(zone="Europe/Berlin"),
}


@pytest.mark.parametrize(
    "sent, kind, verdict",
    [
        pytest.param(row[0].strip("`"), row[1], row[2], id=f"{row[0]}-{row[1]}")
        for row in table_after("## What is widened, and what is refused")
    ],
)
def test_widening(sent: str, kind: str, verdict: str) -> None:
    checker = compile_checker(t.FunctionSchema((t.Parameter("x", TYPES[kind]),)))
    body = json.dumps({"x": json.loads(sent)}).encode()
    if verdict == "accepted":
        checker.read_json(body)
    else:
        assert verdict.startswith("refused")
        with pytest.raises(SchemaError):
            checker.read_json(body)


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: float
    label: str | None = None


class Pair(NamedTuple):
    a: int
    b: str


class Client(pydantic.BaseModel):
    age: int


class Money(msgspec.Struct):
    cents: int


NAMES = {
    **{one.__name__: one for one in (Colour, Point, Pair, Client, Money, Decimal, uuid.UUID)},
    **{name: getattr(datetime, name) for name in ("date", "time", "datetime", "timedelta", "UTC")},
    "np": np,
    "pd": pd,
    "csr_matrix": scipy.sparse.csr_matrix,
}


@pytest.mark.parametrize(
    "example, text",
    [
        pytest.param(row[1].strip("`"), row[2].strip("`"), id=row[0])
        for row in table_after("## Values")
    ],
)
def test_value(example: str, text: str) -> None:
    value = eval(example, NAMES)
    schema = infer_function(lambda x, y=0: x, name="same", api_input={"x": value})
    schema = with_output(schema, value, function=lambda x: x, name="same")
    checker = compile_checker(schema, function=None)
    assert checker.write_json(value) == text.encode()
    call = checker.read_json(f'{{"x": {text}}}'.encode())
    assert_same(call.arguments()["x"], value)
    assert_same(checker.read_arguments((value,), {}).arguments()["x"], value)


def assert_same(found: Any, value: Any) -> None:
    assert type(found) is type(value)
    if isinstance(value, np.ndarray):
        np.testing.assert_array_equal(found, value, strict=True)
    elif isinstance(value, pd.Series):
        pd.testing.assert_series_equal(found, value)
    elif scipy.sparse.issparse(value):
        assert (found.format, found.dtype) == (value.format, value.dtype)
        assert_same(found.toarray(), value.toarray())
    elif isinstance(value, dict):
        assert list(found) == list(value)
        for key in value:
            assert_same(found[key], value[key])
    else:
        assert found == value


TENSOR_ROWS = [
    pytest.param(name, row[1], id=name)
    for row in table_after("## Open Inference Protocol")
    for name in re.findall(r"`([^`]+)`", row[0])
]


@pytest.mark.parametrize("name, datatype", TENSOR_ROWS)
def test_tensor(name: str, datatype: str) -> None:
    frame = pd.DataFrame({"x": COLUMNS[name]})
    schema = infer_function(identity, name="identity", api_input=frame)
    schema = with_output(schema, frame, function=identity, name="identity")
    assert isinstance(schema.output, t.Frame)
    assert datatype_of(schema.output.columns[0].type) == datatype
    checker = compile_checker(schema)
    for way in (through_tensors, through_binary_tensors):
        pd.testing.assert_frame_equal(way(checker, "df", frame).arguments()["df"], frame)
