"""KServe's InferenceRESTClient, in an environment of its own, against a replica."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.integration.clients.client import client_python, run_program
from tests.integration.clients.conftest import Served
from tests.integration.clients.programs.functions import double, greet, repeat, weigh


@pytest.fixture(scope="module")
def found(replicas: dict[str, Served]) -> Any:
    """What the client's program got."""
    urls = json.dumps({name: replica.url for name, replica in replicas.items()})
    python = client_python("kserve-client", "kserve==0.21.0")
    return run_program(python, "kserve_client.py", urls)


def test_health(found: Any, replicas: dict[str, Served]) -> None:
    assert found["about"] == {name: [True, True, True, False] for name in replicas}


def test_a_frame_model(found: Any) -> None:
    expected = weigh(pd.DataFrame({"x": [1.0, 0.5], "y": [2.0, 0.0]})).tolist()
    assert found["numbers"] == dict.fromkeys(found["numbers"], expected)


def test_the_request_id_comes_back(found: Any) -> None:
    assert found["response"] == ["seven", "numbers"]


def test_columns_of_different_types(found: Any) -> None:
    people = pd.DataFrame(
        {
            "name": ["Ann", "Zoë"],
            "age": pd.array([31, 44], dtype="Int64"),
            "vip": [True, False],
            "score": np.array([0.5, 1.5], dtype="float32"),
        }
    )
    assert found["people"] == greet(people).to_dict(orient="list")


def test_a_matrix_model(found: Any) -> None:
    expected = double(np.arange(6, dtype="float32").reshape(2, 3)).tolist()
    assert found["matrix"] == dict.fromkeys(found["matrix"], expected)


def test_plain_parameters(found: Any) -> None:
    assert found["plain"] == [repeat("ab", 3)]


@pytest.mark.parametrize(
    "what, says",
    [
        ("name", "z: expected no such column"),
        ("shape", "matrix: expected"),
        ("datatype", "x: expected datatype FP64, got datatype BOOL"),
        ("output", "there is no output"),
    ],
)
def test_what_does_not_fit_is_refused(found: Any, what: str, says: str) -> None:
    status, error, message = found["refused"][what]
    assert status == 400
    assert says in error
    assert says in message  # which is what its users see
