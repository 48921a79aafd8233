"""The models that the clients ask. Tests call the same functions for the answers to expect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import envelope as me
from tests.integration.clients.programs.functions import double, greet, repeat, weigh
from tests.unit.runtime.conftest import as_if_in_a_notebook

NUMBERS = pd.DataFrame({"x": np.arange(12) / 4, "y": np.arange(12) + 0.5})
PEOPLE = pd.DataFrame(
    {
        "name": ["Ann", "Zoë", "", "Bob"] * 3,
        "age": pd.array([31, 44, None, 7] * 3, dtype="Int64"),
        "vip": [True, False, False, True] * 3,
        "score": np.array([0.5, 1.5, -2.0, 0.0] * 3, dtype="float32"),
    }
)
MATRIX = np.arange(12, dtype="float32").reshape(4, 3)


def _save(name: str, function: Callable[..., Any], example: Any) -> me.Envelope:
    return me.save_model(name=name, query_function=as_if_in_a_notebook(function), api_input=example)


SAVE: dict[str, Callable[[], me.Envelope]] = {
    "numbers": lambda: _save("numbers", weigh, NUMBERS),
    "people": lambda: _save("people", greet, PEOPLE),
    "matrix": lambda: _save("matrix", double, MATRIX),
    "plain": lambda: _save("plain", repeat, {"text": "ab", "times": 3, "shout": True}),
}
