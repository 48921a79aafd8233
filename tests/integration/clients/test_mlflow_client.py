"""MLflow's scoring client against a replica, and MLflow's own server beside it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.integration.clients.client import client_python, run_program
from tests.integration.clients.conftest import Served
from tests.integration.clients.programs.functions import double, greet, repeat, weigh

JSON, CSV = "application/json", "text/csv"
SPLIT = {"columns": ["x", "y"], "index": [4, 9], "data": [[1.0, 2.0], [0.5, 0.0]]}
RECORDS = [{"x": 1.0, "y": 2.0}, {"x": 0.5, "y": 0.0}]
PERSON = {"name": "Zoë", "age": 44, "vip": False, "score": 1.5}
MATRIX = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]

# Bodies that MLflow's own server answers, and ours the same. label: (model, body, Content-Type).
SAME: dict[str, tuple[str, Any, str]] = {
    "split": ("numbers", {"dataframe_split": SPLIT}, JSON),
    "split with a charset": ("numbers", {"dataframe_split": SPLIT}, f"{JSON}; charset=utf-8"),
    "records": ("numbers", {"dataframe_records": RECORDS}, JSON),
    "records reordered": ("numbers", {"dataframe_records": [{"y": 2.0, "x": 1.0}]}, JSON),
    "unknown key": ("numbers", {"dataframe_records": RECORDS, "typo": 1}, JSON),
    "instances": ("numbers", {"instances": RECORDS}, JSON),
    "inputs of columns": ("numbers", {"inputs": {"x": [1.0, 0.5], "y": [2.0, 0.0]}}, JSON),
    "csv": ("numbers", "x,y\n1,2\n0.5,0\n", CSV),
    "people split": (
        "people",
        {"dataframe_split": {"columns": list(PERSON), "data": [list(PERSON.values())]}},
        JSON,
    ),
    "people records": ("people", {"dataframe_records": [PERSON, PERSON]}, JSON),
    "people csv": ("people", "name,age,vip,score\nZoë,44,True,1.5\n", CSV),
    "matrix inputs": ("matrix", {"inputs": MATRIX}, JSON),
    "matrix instances": ("matrix", {"instances": MATRIX}, JSON),
}
# Bodies that both refuse.
REFUSED: dict[str, tuple[str, Any, str]] = {
    "no json": ("numbers", "{", JSON),
    "bare row": ("numbers", RECORDS[0], JSON),
    "a list": ("numbers", RECORDS, JSON),
    "two keys": ("numbers", {"instances": RECORDS, "inputs": RECORDS}, JSON),
    "missing column": ("numbers", {"dataframe_records": [{"x": 1.0}]}, JSON),
    "wrong type": ("numbers", {"dataframe_records": [{"x": "secret", "y": 1.0}]}, JSON),
    "short row": ("numbers", {"dataframe_split": {"columns": ["x", "y"], "data": [[1]]}}, JSON),
    "wrong width": ("matrix", {"inputs": [[1.0, 2.0]]}, JSON),
    "media type": ("numbers", "x", "text/plain"),
}
# Of plain parameters, which MLflow has no counterpart of: answered with the function's own answer.
PLAIN: dict[str, tuple[str, Any, str]] = {
    "members": ("plain", {"inputs": {"text": "ab", "times": 3}}, JSON),
    "params": ("plain", {"inputs": {"text": "ab"}, "params": {"times": 3}}, JSON),
    "a row": ("plain", {"dataframe_records": [{"text": "ab", "times": 3}]}, JSON),
    "split": (
        "plain",
        {"dataframe_split": {"columns": ["text", "times"], "data": [["ab", 3]]}},
        JSON,
    ),
    "instances": ("plain", {"instances": [{"text": "ab", "times": 3}]}, JSON),
}


@pytest.fixture(scope="module")
def found(replicas: dict[str, Served]) -> Any:
    """What the client's program got."""
    urls = json.dumps({name: replica.url for name, replica in replicas.items()})
    python = client_python("mlflow-client", "mlflow==3.17.2")
    bodies = {
        label: (model, body if isinstance(body, str) else json.dumps(body), media)
        for label, (model, body, media) in (
            SAME | REFUSED | {f"plain {label}": one for label, one in PLAIN.items()}
        ).items()
    }
    return run_program(python, "scoring.py", urls, json.dumps(bodies))


def test_probes(found: Any, replicas: dict[str, Served]) -> None:
    for name, replica in replicas.items():
        assert found["probes"][name] == [200, "\n", replica.id]


def test_the_scoring_client(found: Any) -> None:
    numbers = pd.DataFrame({"x": [0.0, 0.25], "y": [0.5, 1.5]})
    people = pd.DataFrame(
        {
            "name": ["Ann", "Zoë"],
            "age": pd.array([31, 44], dtype="Int64"),
            "vip": [True, False],
            "score": np.array([0.5, 1.5], dtype="float32"),
        }
    )
    matrix = np.arange(6, dtype="float32").reshape(2, 3)
    assert found["numbers"] == weigh(numbers).tolist()
    assert found["people"] == greet(people).to_dict(orient="list")
    assert found["matrix"] == double(matrix).tolist()
    assert found["plain"] == {"predictions": repeat("ab", 3, True)}


@pytest.mark.parametrize("label", list(SAME))
def test_the_same_answer_as_mlflows_own_server(found: Any, label: str) -> None:
    assert found["peer"][label][0] == 200
    assert found["raw"][label] == found["peer"][label]


@pytest.mark.parametrize("label", list(REFUSED))
def test_what_mlflow_refuses_is_refused(found: Any, label: str) -> None:
    status, error = found["raw"][label]
    assert status == found["peer"][label][0]
    assert set(error) == {"error_code", "message"}
    assert "secret" not in str(error)


@pytest.mark.parametrize("label", list(PLAIN))
def test_plain_parameters(found: Any, label: str) -> None:
    assert found["raw"][f"plain {label}"] == [200, {"predictions": repeat("ab", 3)}]


def test_headers(found: Any) -> None:
    expected = {"predictions": weigh(pd.DataFrame({"x": [0, 0.25], "y": [0.5, 1.5]})).tolist()}
    assert found["gzip"] == [200, expected]
    assert found["no media type"] == expected
    assert found["not acceptable"] == 406
