"""Metrics as Vega-Lite specifications: plain data in, plain data out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from envelope.metrics.values import ConfusionMatrix, Curve, Histogram, Vector

Spec = dict[str, Any]

HEIGHT = 200  # pixels
MIN_CELL = 24  # pixels of a confusion matrix
MAX_COUNTED = 20  # labels of a confusion matrix whose cells show their count
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


def plot_histogram(histogram: Histogram) -> Spec:
    """Draw a bar per bin, as wide as the bin."""
    bins = zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True)
    return chart(
        [{"from": low, "to": high, "count": count} for low, high, count in bins],
        mark={"type": "bar", "tooltip": True},
        encoding={
            "x": {
                "field": "from",
                "type": "quantitative",
                "bin": {"binned": True},
                "title": None,
                "scale": {"zero": False},
            },
            "x2": {"field": "to"},
            "y": {"field": "count", "type": "quantitative"},
        },
        height=HEIGHT,
    )


def plot_confusion_matrix(matrix: ConfusionMatrix) -> Spec:
    """Draw a cell per pair of labels: its colour is the share of the true label's rows."""
    values = [
        {"true": true, "predicted": predicted, "count": count, "share": _share(count, sum(row))}
        for true, row in zip(matrix.labels, matrix.counts, strict=True)
        for predicted, count in zip(matrix.labels, row, strict=True)
    ]
    place = {"type": "nominal", "sort": None}
    spec = chart(
        values,
        mark={"type": "rect", "tooltip": True},
        encoding={
            "x": {"field": "predicted", **place},
            "y": {"field": "true", **place},
            "color": {
                "field": "share",
                "type": "quantitative",
                "scale": {"domain": [0, 1], "scheme": "blues"},
                "legend": None,
            },
        },
        height=max(MIN_CELL * len(matrix.labels), HEIGHT // 2),
    )
    return spec if len(matrix.labels) > MAX_COUNTED else _with_counts(spec)


def _with_counts(spec: Spec) -> Spec:
    """Write each cell's count into it."""
    encoding = dict(spec["encoding"])
    colour = {"condition": {"test": "datum.share > 0.5", "value": "white"}, "value": "black"}
    count = {"field": "count", "type": "quantitative"}
    cells = {"mark": spec["mark"], "encoding": {"color": encoding.pop("color")}}
    counts = {"mark": {"type": "text"}, "encoding": {"text": count, "color": colour}}
    rest = {key: value for key, value in spec.items() if key not in ("mark", "encoding")}
    return {**rest, "encoding": encoding, "layer": [cells, counts]}


def _share(count: float, total: float) -> float:
    return count / total if total else 0.0


def line(points: Iterable[tuple[float, float]], *, x: str, y: str, height: int = HEIGHT) -> Spec:
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
