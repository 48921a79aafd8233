from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from envelope.errors import EnvelopeError
from envelope.metrics import Curve, Vector, decode_metric, encode_metric

TRUTH, SCORE = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])


@pytest.mark.parametrize(
    ("value", "json"),
    [
        pytest.param(0.12, 0.12, id="float"),
        pytest.param(3, 3, id="int"),
        pytest.param(np.float32(0.5), 0.5, id="float32"),
        pytest.param(np.int64(7), 7, id="int64"),
        pytest.param(np.array(0.25), 0.25, id="0-d-array"),
        pytest.param(Fraction(1, 4), 0.25, id="fraction"),
        pytest.param([1, 2.5], {"type": "vector", "values": [1, 2.5]}, id="list"),
        pytest.param(np.array([1.0, 2.0]), {"type": "vector", "values": [1.0, 2.0]}, id="array"),
        pytest.param(pd.Series([1, 2]), {"type": "vector", "values": [1, 2]}, id="series"),
        pytest.param(
            Vector([1.0, math.nan]), {"type": "vector", "values": [1.0, None]}, id="vector-with-nan"
        ),
        pytest.param(
            Curve(x=np.array([0.0, 1.0]), y=[0.5, 0.7]),
            {"type": "curve", "x": [0.0, 1.0], "y": [0.5, 0.7]},
            id="curve",
        ),
        pytest.param(
            roc_curve(TRUTH, SCORE),
            {
                "type": "curve",
                "x": [0.0, 0.0, 0.5, 0.5, 1.0],
                "y": [0.0, 0.5, 0.5, 1.0, 1.0],
                "kind": "roc",
            },
            id="sklearn-roc-curve",
        ),
    ],
)
def test_values_and_their_json(value: Any, json: Any) -> None:
    encoded = encode_metric("m", value)
    assert encoded == json
    assert msgspec.json.decode(msgspec.json.encode(encoded)) == json
    again = encode_metric("m", decode_metric(encoded))
    assert again == json


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_diverged_training_can_be_logged(value: float) -> None:
    assert str(encode_metric("loss", value)) == str(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param("0.9", "metric auc: a str cannot be logged; give a number", id="text"),
        pytest.param(True, "metric auc: a bool cannot be logged", id="bool"),
        pytest.param(None, "a NoneType cannot be logged", id="none"),
        pytest.param({"a": 1}, "a dict cannot be logged", id="dict"),
        pytest.param(Decimal("0.1"), "a Decimal cannot be logged", id="decimal"),
        pytest.param([1, "x"], r"values\[1\]: expected a number, got 'x'", id="list-with-text"),
        pytest.param([math.inf], r"values\[0\]: expected a number, got inf", id="infinite-item"),
        pytest.param(np.ones((2, 2)), "a ndarray cannot be logged", id="matrix"),
        pytest.param(
            precision_recall_curve(TRUTH, SCORE), "expected a number", id="not-a-roc-curve"
        ),
        pytest.param(np.zeros(10_001), r"at most 10,000 are kept; .*values\[::2\]", id="too-long"),
    ],
)
def test_what_is_no_metric_is_refused(value: Any, message: str) -> None:
    with pytest.raises(EnvelopeError, match=message):
        encode_metric("auc", value)


def test_a_curve_needs_as_many_x_as_y() -> None:
    with pytest.raises(EnvelopeError, match="as many x as y, got 2 and 3"):
        Curve(x=[0, 1], y=[0, 1, 2])
