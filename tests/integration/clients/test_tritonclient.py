"""The real tritonclient, in an environment of its own, against a replica."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.integration.clients.client import client_python, run_program
from tests.integration.clients.conftest import Served
from tests.integration.clients.programs.functions import double, greet, repeat, weigh

ROWS = np.arange(6, dtype="float32").reshape(2, 3)


@pytest.fixture(scope="module")
def found(replicas: dict[str, Served]) -> Any:
    """What the client's program got."""
    urls = json.dumps({name: replica.url for name, replica in replicas.items()})
    python = client_python("tritonclient", "tritonclient[http]==2.73.0")
    return run_program(python, "triton.py", urls)


def test_the_server_and_its_models_are_described(found: Any, replicas: dict[str, Served]) -> None:
    for name, replica in replicas.items():
        about = found["about"][name]
        assert about["server"]["name"] == "model-envelope"
        assert about["server"]["extensions"] == ["binary_tensor_data"]
        assert about["metadata"]["versions"] == [replica.id]
        states = [about[key] for key in ("live", "ready", "model ready", "version ready")]
        assert states == [True] * 4
        assert about["metadata of version"]
        assert not about["other ready"]
        assert not about["other version ready"]
    assert found["about"]["people"]["metadata"]["inputs"] == [
        {"name": "name", "datatype": "BYTES", "shape": [-1]},
        {"name": "age", "datatype": "INT64", "shape": [-1]},
        {"name": "vip", "datatype": "BOOL", "shape": [-1]},
        {"name": "score", "datatype": "FP32", "shape": [-1]},
    ]
    assert found["about"]["matrix"]["metadata"]["outputs"] == [
        {"name": "output", "datatype": "FP32", "shape": [-1, 3]}
    ]


def test_a_model_that_is_not_there_is_an_error_that_the_client_reads(found: Any) -> None:
    status, message = found["no such model"]
    assert status == "404"
    assert message.startswith("there is no such path")


def test_a_frame_model(found: Any) -> None:
    answers = dict(found["numbers"])
    small = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, -4.0]})
    assert answers.pop("int8") == weigh(small).tolist()
    expected = weigh(pd.DataFrame({"x": [1.0, 0.5], "y": [2.0, 0.0]})).tolist()
    assert answers == dict.fromkeys(answers, expected)


def test_the_request_id_comes_back_and_unknown_parameters_are_ignored(
    found: Any, replicas: dict[str, Served]
) -> None:
    assert found["response"] == {
        "model_name": "numbers",
        "model_version": replicas["numbers"].id,
        "id": "seven",
    }


def test_concurrent_callers_get_their_own(found: Any) -> None:
    assert found["asynchronous"] == [[2.0 * n] for n in range(20)]


def test_columns_of_different_types(found: Any) -> None:
    answer = greet(
        pd.DataFrame(
            {
                "name": ["Ann", "Zoë"],
                "age": pd.array([31, 44], dtype="Int64"),
                "vip": [True, False],
                "score": np.array([0.5, 1.5], dtype="float32"),
            }
        )
    )
    assert found["people"] == answer.to_dict(orient="list")
    assert found["people, two outputs"] == ["score", "name"]
    assert found["people, two outputs, values"] == [
        answer["score"].tolist(),
        answer["name"].tolist(),
    ]


def test_a_matrix_model(found: Any) -> None:
    answers = dict(found["matrix"])
    assert answers.pop("dtype") == "float32"
    assert answers == dict.fromkeys(answers, double(ROWS).tolist())


def test_plain_parameters(found: Any) -> None:
    assert found["plain"] == {"all": [repeat("ab", 3, True)], "defaults": [repeat("é")]}


@pytest.mark.parametrize(
    "what, status, says",
    [
        ("name", "400", "z: expected no such column"),
        ("missing", "400", "y: expected"),
        ("length", "400", "columns of one length"),
        ("width", "400", "3 columns, the frame 2"),
        ("datatype", "400", "x: expected datatype FP64, got datatype BYTES"),
        ("shape", "400", "matrix: expected"),
        ("rank", "400", "matrix: expected"),
        ("lossy", "400", "times: expected int"),
        ("output", "400", "there is no output"),
        ("version", "404", "there is no such path"),
    ],
)
def test_what_does_not_fit_is_refused(found: Any, what: str, status: str, says: str) -> None:
    refusal = found["refused"][what]
    assert refusal[0] == status, refusal
    assert says in refusal[1]
