from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from envelope.errors import EnvelopeError
from envelope.metrics import (
    METRIC_TYPES,
    Curve,
    MetricType,
    Vector,
    decode_metric,
    encode_metric,
    frame_of_metrics,
    metric_types,
)
from envelope.registry import EnvelopeRow, MetricPoint

TRUTH, SCORE = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
NOW = datetime(2026, 1, 1, tzinfo=UTC)


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
            {"type": "curve", "x": [0.0, 0.0, 0.5, 0.5, 1.0], "y": [0.0, 0.5, 0.5, 1.0, 1.0]},
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


def test_types_are_added_to_a_table_that_is_passed() -> None:
    @dataclass(frozen=True)
    class Matrix:
        cells: list[list[int]]

    types = metric_types(
        *METRIC_TYPES.values(),
        MetricType(
            name="matrix",
            type=Matrix,
            to_json=lambda matrix: {"cells": matrix.cells},
            from_json=lambda raw: Matrix(raw["cells"]),
        ),
    )
    encoded = encode_metric("confusion", Matrix([[1, 2]]), types)
    assert encoded == {"type": "matrix", "cells": [[1, 2]]}
    assert decode_metric(encoded, types) == Matrix([[1, 2]])
    assert decode_metric(encoded) == encoded  # a reader that does not know it leaves it


def a_row(envelope_id: str, name: str = "ltv", **tags: str) -> EnvelopeRow:
    return EnvelopeRow(
        id=envelope_id,
        name=name,
        description="",
        created_at=NOW,
        created_by="me",
        manifest_sha256="0",
        functions={},
        default_function="predict",
        tags=tags,
        python_version="3.11.7",
    )


def a_point(envelope_id: str, name: str, value: Any, minute: int = 0) -> MetricPoint:
    at = NOW + timedelta(minutes=minute)
    return MetricPoint(
        envelope_id=envelope_id, name=name, value=value, at=at, logged_at=at, actor="me"
    )


def test_the_latest_values_make_a_row_per_envelope() -> None:
    frame = frame_of_metrics(
        [a_row("B", region="US"), a_row("A", market="x")],
        [
            a_point("B", "auc", 0.9, minute=1),
            a_point("B", "auc", 0.8, minute=0),
            a_point("A", "name", 1.0),
            a_point("A", "roc", {"type": "curve", "x": [0], "y": [1]}),
        ],
        names=None,
        form="latest",
    )
    assert frame.columns.tolist() == [
        *("envelope_id", "name", "created_at", "tags.market", "tags.region"),
        *("auc", "metrics.name", "roc"),
    ]
    assert frame["envelope_id"].tolist() == ["B", "A"]
    assert frame["auc"][0] == 0.9
    assert math.isnan(frame["auc"][1])
    assert frame["roc"][1] == Curve(x=[0], y=[1])


def test_metrics_that_were_never_logged_are_columns_all_the_same() -> None:
    frame = frame_of_metrics([a_row("A")], [], names=["auc"], form="latest")
    assert frame["auc"].isna().tolist() == [True]
    assert frame_of_metrics([], [], names=["auc"], form="latest").empty


def test_the_history_has_a_row_per_value() -> None:
    points = [a_point("A", "auc", 0.8), a_point("A", "auc", 0.9, minute=1)]
    frame = frame_of_metrics([a_row("A")], points, names=None, form="history")
    assert frame[["envelope_id", "metric", "value", "actor"]].values.tolist() == [
        ["A", "auc", 0.8, "me"],
        ["A", "auc", 0.9, "me"],
    ]
    assert frame["at"].tolist() == [NOW, NOW + timedelta(minutes=1)]
