"""Metrics as Vega-Lite specifications: plain data in, plain data out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from envelope.metrics.values import Curve, Vector

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
AXES: Mapping[str | None, tuple[str, str]] = {
    "roc": ("false positive rate", "true positive rate"),
    "precision_recall": ("recall", "precision"),
    "calibration": ("mean predicted probability", "share of positives"),
    None: ("x", "y"),
}


def plot_vector(vector: Vector) -> Spec:
    """Draw a vector over the place of its numbers."""
    return line(enumerate(vector.values), x="place", y="value")


def plot_curve(curve: Curve) -> Spec:
    """Draw a curve with the axes of its kind."""
    x, y = AXES[curve.kind]
    return line(zip(curve.x, curve.y, strict=True), x=x, y=y)


def line(points: Iterable[tuple[float, float]], *, x: str, y: str, height: int = 200) -> Spec:
    """Draw a line through points in their order; x and y title the axes. Height in pixels."""
    values = [
        {"order": order, "x": px, "y": py}
        for order, (px, py) in enumerate(points)
        if math.isfinite(px) and math.isfinite(py)
    ]
    return chart(
        values,
        mark={"type": "line", "tooltip": True},
        encoding={
            "x": {"field": "x", "type": "quantitative", "title": x, "scale": {"zero": False}},
            "y": {"field": "y", "type": "quantitative", "title": y},
            "order": {"field": "order"},
        },
        height=height,
    )


def chart(
    values: list[dict[str, Any]],
    *,
    mark: Mapping[str, Any],
    encoding: Mapping[str, Any],
    height: int,
) -> Spec:
    """Return a specification as wide as the page leaves it. Height in pixels."""
    return {
        "$schema": SCHEMA,
        "data": {"values": values},
        "mark": mark,
        "encoding": encoding,
        "width": "container",
        "height": height,
    }
