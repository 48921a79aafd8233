"""docs/formats.md says what the code does, row by row."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from envelope.errors import SchemaError
from envelope.schema import compile_checker, infer_function, with_output
from envelope.schema import types as t
from tests.unit.schema.columns import COLUMNS
from tests.unit.schema.wires import through_arrow, through_csv, through_json

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
