"""Fields for what a function takes: as they are shown they make a body that its checks take."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Literal

import cloudpickle
import pandas as pd
import pytest

import envelope as me
from controller.web.questions import body_from, faults_at, questions_of
from envelope.errors import SchemaError
from envelope.manifest import Function
from envelope.schema import Checker


def of_parameters(
    count: int,
    mode: Literal["fast", "exact"],
    day: date,
    size: Literal[1, 2],
    is_new: bool,
    note: str | None,
    weights: list[float],
    share: float = 0.5,
) -> float:
    return count * share


FRAME = pd.DataFrame(
    {
        "age": range(20, 30),
        "first name": list("abcdefghij"),
        "region": pd.Categorical(["US", "UK"] * 5),
        "income": [1.5, None] * 5,
        "at": pd.date_range("2024", periods=10),
    }
)


def of_rows(x: pd.DataFrame) -> pd.Series:
    return x["age"] * 2.0


def of_table(x: pd.DataFrame) -> float:
    return float(len(x))


def of_both(x: pd.DataFrame, scale: float) -> float:
    return len(x) * scale


ARGUMENTS = {
    "count": 3,
    "mode": "exact",
    "day": date(2024, 2, 29),
    "size": 2,
    "is_new": True,
    "note": None,
    "weights": [0.5],
}
SHAPES: dict[str, tuple[Any, Any, Any]] = {
    "rows": (of_rows, FRAME, of_rows(FRAME)),
    "table": (of_table, FRAME, 1.0),
    "both": (of_both, {"x": FRAME, "scale": 2.0}, 1.0),
    "parameters": (of_parameters, ARGUMENTS, 1.0),
}


@pytest.fixture(autouse=True)
def by_value(home: Path) -> Iterator[None]:
    """The functions of this file travel in their pickles."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def saved(shape: str) -> Function:
    call, given, answer = SHAPES[shape]
    model = me.save_model(name="m", query_function=call, api_input=given, api_output=answer)
    return model.functions[call.__name__]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_form_as_it_is_shown_is_a_body_that_the_function_takes(shape: str) -> None:
    function = saved(shape)
    questions = questions_of(function)
    body = body_from(questions, [one.value for one in questions])
    assert body.faults == {}
    checker_of(function).read_json(json.dumps(body.value).encode())


def checker_of(function: Function) -> Checker:
    is_row_wise = function.row_wise.is_row_wise
    return Checker(
        function.schema, extra_columns="refuse", row_wise=is_row_wise, function=function.name
    )


def test_what_a_field_holds_and_what_an_empty_one_is() -> None:
    questions = {one.path: one for one in questions_of(saved("parameters"))}
    assert {path: (one.kind, one.value, one.empty) for path, one in questions.items()} == {
        "count": ("number", "3", "missing"),
        "mode": ("choice", '"exact"', "missing"),
        "day": ("text", "2024-02-29", "missing"),
        "size": ("choice", "2", "missing"),
        "is_new": ("choice", "true", "missing"),
        "note": ("text", "", "null"),
        "weights": ("json", "[0.5]", "missing"),
        "share": ("number", "", "default"),
    }
    typed = {"count": "many", "note": "hi", "weights": "[0.5,", "share": ""}
    body = body_from(
        list(questions.values()), [typed.get(path, one.value) for path, one in questions.items()]
    )
    assert (body.value["count"], body.value["note"]) == ("many", "hi")
    assert "share" not in body.value
    assert list(body.faults) == ["weights"]


def test_levels_are_chosen_and_null_is_one_where_it_is_taken() -> None:
    questions = {one.path: one for one in questions_of(saved("rows"))}
    assert questions["region"].choices == (
        ("null", "null"),
        ('"UK"', "UK"),
        ('"US"', "US"),
    )
    assert (questions["income"].kind, questions["income"].empty) == ("number", "null")
    assert questions['["first name"]'].empty == "text"


def test_faults_are_told_at_their_fields() -> None:
    both, rows = saved("both"), saved("rows")
    with pytest.raises(SchemaError) as caught:
        checker_of(both).read_json(b'{"x": [{"age": "old"}], "scale": "much"}')
    told = faults_at(questions_of(both), caught.value.faults)
    assert told["scale"] == "expected float, got str"
    assert told["x"].splitlines()[0] == "[0].age: expected int64, got str"
    with pytest.raises(SchemaError) as caught:
        checker_of(rows).read_json(b'{"age": "old", "first name": 3, "other": 1}')
    told = faults_at(questions_of(rows), caught.value.faults)
    assert told["age"] == "expected int64, got str"
    assert told['["first name"]'] == "expected str, got int"
    assert told[""] == "other: expected no such column, got a value"
