from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

import envelope as me
from tests.unit.runtime.conftest import Answered, Client, as_if_in_a_notebook, frame, serving

ROWS = [{"x": 1.0, "y": 2.0}, {"x": 0.5, "y": 0.0}]


def invoke(envelope: me.Envelope, body: Any, **headers: str) -> Answered:
    async def ask(client: Client) -> Answered:
        return await client.post("/invocations", body, **headers)

    return serving(envelope, ask)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"dataframe_records": ROWS}, id="records"),
        pytest.param(
            {
                "dataframe_split": {
                    "columns": ["x", "y"],
                    "index": [5, 9],
                    "data": [[1, 2], [0.5, 0]],
                }
            },
            id="split",
        ),
        pytest.param(
            {"dataframe_split": {"columns": ["y", "x"], "data": [[2, 1], [0, 0.5]]}}, id="reordered"
        ),
        pytest.param({"inputs": {"x": [1, 0.5], "y": [2, 0]}}, id="inputs-of-columns"),
        pytest.param({"inputs": [[1, 2], [0.5, 0]]}, id="inputs-of-a-matrix"),
        pytest.param({"instances": ROWS}, id="instances-of-rows"),
        pytest.param({"instances": [[1, 2], [0.5, 0]]}, id="instances-of-a-matrix"),
        pytest.param(
            {"dataframe_records": ROWS, "typo": 1, "params": {}}, id="what-mlflow-ignores"
        ),
        pytest.param({"dataframe_split": {"data": [[1, 2], [0.5, 0]]}}, id="split-by-place"),
    ],
)
def test_a_frame_in_each_form(sums: me.Envelope, body: Any) -> None:
    answer = invoke(sums, body)
    assert (answer.status, answer.json) == (200, {"predictions": [6.0, 1.0]})
    assert answer.headers["x-envelope-id"] == sums.id


@pytest.mark.parametrize(
    "body, says",
    [
        pytest.param({"x": 1.0}, "none of dataframe_split", id="bare"),
        pytest.param({"inputs": [], "instances": []}, "instances and inputs", id="two"),
        pytest.param([1], "MLflow", id="a-list"),
        pytest.param({"dataframe_split": {"columns": ["x"]}}, "columns and data", id="no-data"),
        pytest.param(
            {"dataframe_split": {"columns": ["x", "y"], "data": [[1]]}}, "2 values", id="short-row"
        ),
        pytest.param(
            {"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}}, "one name", id="twice"
        ),
        pytest.param({"dataframe_records": [{"x": "secret"}]}, "rows[0].x: expected", id="type"),
        pytest.param({"dataframe_records": ROWS, "params": {"k": 1}}, "params", id="params"),
    ],
)
def test_what_does_not_fit_is_an_error_of_mlflows_form(
    sums: me.Envelope, body: Any, says: str
) -> None:
    answer = invoke(sums, body)
    assert answer.status == 400
    assert answer.json["error_code"] == "INVALID_PARAMETER_VALUE"
    assert says in answer.json["message"]
    assert "secret" not in answer.body.decode()


TWICE = [
    b'{"dataframe_split": {"data": [[1, 2]], "data": [[3, 4]]}}',
    b'{"dataframe_split": {"columns": ["x", "y"], "d\\u0061ta": [[1, 2]], "data": [[3, 4]]}}',
    b'{"dataframe_split": {"data": [[1, {"a": 1, "a": 2}]]}}',
    b'{"instances": [[1, {"a": 1, "a": 2}]]}',
    b'{"inputs": [[1, 2]], "params": null, "params": {}}',
    b'{"inputs": [[1, 2]], "inputs": [[3, 4]]}',
]


def test_two_members_of_one_name_are_refused_wherever_they_are(sums: me.Envelope) -> None:
    async def ask(client: Client) -> list[Answered]:
        return [await client.ask("POST", "/invocations", body) for body in TWICE]

    for body, answer in zip(TWICE, serving(sums, ask), strict=True):
        assert answer.status == 400, body
        assert "two members of one name" in answer.json["message"], body


@pytest.mark.parametrize(
    "body, predictions",
    [
        pytest.param({"inputs": {"a": 3, "b": 4}}, 7, id="members"),
        pytest.param({"inputs": 3}, 5, id="the-first-parameter"),
        pytest.param({"inputs": {"a": 3}, "params": {"b": 10}}, 13, id="params-are-parameters"),
        pytest.param({"dataframe_records": [{"a": 3, "b": 4}]}, 7, id="a-record"),
        pytest.param({"instances": [{"a": 3, "b": 4}]}, 7, id="an-instance"),
        pytest.param({"dataframe_split": {"columns": ["a"], "data": [[3]]}}, 5, id="split"),
    ],
)
def test_plain_parameters(adding: me.Envelope, body: Any, predictions: Any) -> None:
    answer = invoke(adding, body)
    assert (answer.status, answer.json) == (200, {"predictions": predictions})


def test_a_matrix_model(home: Any) -> None:
    @as_if_in_a_notebook
    class Rows:
        def predict(self, x):  # type: ignore[no-untyped-def] # its example says it
            return x.sum(axis=1)

    saved = me.save_model(
        name="m", model=Rows(), query_function="predict", api_input=np.ones((3, 4))
    )
    assert invoke(saved, {"inputs": [[1, 2, 3, 4]]}).json == {"predictions": [10.0]}
    assert invoke(saved, {"instances": [[1, 2, 3, 4]] * 2}).json == {"predictions": [10.0] * 2}


def test_a_frame_out_is_answered_as_records(home: Any) -> None:
    @as_if_in_a_notebook
    class Both:
        def predict(self, frame):  # type: ignore[no-untyped-def] # its example says it
            return pd.DataFrame({"sum": frame["x"] + frame["y"], "x": frame["x"]})

    saved = me.save_model(name="m", model=Both(), query_function="predict", api_input=frame())
    answer = invoke(saved, {"inputs": {"x": [1.0], "y": [2.0]}})
    assert answer.json == {"predictions": [{"sum": 3.0, "x": 1.0}]}


def test_one_column_is_a_list_of_its_values(home: Any) -> None:
    @as_if_in_a_notebook
    class Twice:
        def predict(self, frame):  # type: ignore[no-untyped-def] # its example says it
            return frame["x"] * 2

    example = frame()[["x"]]
    saved = me.save_model(name="m", model=Twice(), query_function="predict", api_input=example)
    assert invoke(saved, {"inputs": [1, 2.5]}).json == {"predictions": [2.0, 5.0]}


def test_rows_of_several_tensors(home: Any) -> None:
    def dot(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
        return float(a @ b)

    example = {"a": np.array([1.0, 2.0]), "b": np.array([1.0, 2.0])}
    saved = me.save_model(name="m", query_function=as_if_in_a_notebook(dot), api_input=example)
    body = {"instances": [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]}
    assert invoke(saved, body).json == {"predictions": 14.0}


def test_callers_share_calls_here_too(sums: me.Envelope) -> None:
    async def ask(client: Client) -> list[Any]:
        bodies = [{"dataframe_records": [{"x": float(n), "y": 0.0}]} for n in range(20, 90)]
        answers = await asyncio.gather(*(client.post("/invocations", body) for body in bodies))
        return [answer.json["predictions"] for answer in answers]

    assert serving(sums, ask) == [[2.0 * n] for n in range(20, 90)]


def test_csv(sums: me.Envelope) -> None:
    async def ask(client: Client) -> Answered:
        return await client.ask("POST", "/invocations", b"x,y\n1,2\n", {"content-type": "text/csv"})

    assert serving(sums, ask).json == {"predictions": [6.0]}


def test_health(sums: me.Envelope) -> None:
    async def ask(client: Client) -> list[Answered]:
        return [await client.ask("GET", path) for path in ("/ping", "/health", "/version")]

    ping, health, version = serving(sums, ask)
    assert (ping.status, ping.body, health.status) == (200, b"\n", 200)
    assert version.body.decode() == sums.id


def test_a_model_that_raises_says_an_error_id(sums: me.Envelope) -> None:
    answer = invoke(sums, {"dataframe_records": [{"x": 13.0, "y": 0.0}]})
    assert (answer.status, answer.json["error_code"]) == (500, "INTERNAL_ERROR")
    assert "error id" in answer.json["message"]
    assert "thirteen" not in json.dumps(answer.json)
