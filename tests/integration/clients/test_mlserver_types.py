"""MLServer's own types and codecs (`content_type: pd` and `np`) against a replica."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from tests.integration.clients.client import client_python, run_program
from tests.integration.clients.conftest import Served
from tests.integration.clients.programs.functions import double, greet


def test_its_codecs_write_and_read_what_a_replica_does(replicas: dict[str, Served]) -> None:
    urls = json.dumps({name: replica.url for name, replica in replicas.items()})
    python = client_python("mlserver", "mlserver==1.7.1", "pandas<3", "requests")
    found = run_program(python, "mlserver_types.py", urls)
    people = pd.DataFrame(
        {
            "name": ["Ann", "Zoë"],
            "age": pd.array([31, 44], dtype="Int64"),
            "vip": [True, False],
            "score": np.array([0.5, 1.5], dtype="float32"),
        }
    )
    matrix = np.arange(6, dtype="float32").reshape(2, 3)
    assert found == {
        "people": greet(people).to_dict(orient="list"),
        "matrix": double(matrix).tolist(),
        "server": "model-envelope",
        "model": list(people.columns),
    }
