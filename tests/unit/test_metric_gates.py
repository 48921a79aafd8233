"""What a metric must be, as it is written in YAML."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from envelope.config import Gates
from envelope.errors import QueryError
from envelope.metric_gates import MetricGate, parse_metric_gate


@pytest.mark.parametrize(
    "text, value, live, passes",
    [
        ("auc >= 0.8", 0.8, 0.0, True),
        ("auc > 0.8", 0.8, 0.0, False),
        ("auc >= live - 0.01", 0.85, 0.85, True),
        ("auc>=live-0.01", 0.83, 0.85, False),
        ("auc > live", 0.85, 0.85, False),
        ("loss <= live * 1.1", 1.05, 1.0, True),
        ("loss < live + 0.1", 1.2, 1.0, False),
        ('"log loss" < -1e-3', -1.0, 0.0, True),
    ],
)
def test_what_passes(text: str, value: float, live: float, passes: bool) -> None:
    gate = parse_metric_gate(text)
    assert gate.holds(value, gate.limit(live)) is passes


def test_a_quoted_name() -> None:
    assert parse_metric_gate('"a ""b""" = 1') == MetricGate(
        text='"a ""b""" = 1', name='a "b"', operator="=", number=1.0
    )


@pytest.mark.parametrize(
    "text, message, column",
    [
        ("auc", "the gate ends too early; expected one of = < <= > >=", 4),
        ("auc >= ", "the gate ends too early; expected a number or live", 7),
        ("auc >= liv", "unexpected 'liv'; expected a number or live", 8),
        ("auc >= live - ", "the gate ends too early; expected a number", 12),
        ("auc >= 0.8 0.9", "unexpected", 12),
        ("auc >= 1e999", "larger than any number", 8),
        ("auc != 1", "unexpected '!'", 5),
    ],
)
def test_a_fault_points_at_its_column(text: str, message: str, column: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse_metric_gate(text)
    assert message in str(caught.value)
    if "too early" not in message:
        assert caught.value.column == column


def test_a_fault_in_yaml_points_at_its_column() -> None:
    with pytest.raises(ValidationError, match=r"column 8\)"):
        Gates(metrics=("auc >= good",))
