"""Metrics of many envelopes as a table."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from envelope.metrics import Curve, frame_of_metrics
from envelope.registry import EnvelopeRow, MetricPoint

NOW = datetime(2026, 1, 1, tzinfo=UTC)


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
