"""Types of metrics: a class, its JSON form, its plot, and the same as a table.

Those that every installation has are here; `metric_type` adds to the table of this process.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envelope.metrics import plots
from envelope.metrics.values import (
    ConfusionMatrix,
    Curve,
    Histogram,
    Image,
    Table,
    Text,
    Vector,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricType:
    """How one class of values is written and shown.

    name: never reused, it is in every stored value. plot: gives a Vega-Lite specification, or what
    has one as `to_dict()`, such as a chart of Altair. table: what the plot shows, in words and
    numbers. is_own: every installation has it, so that its plot is made where it is shown; another
    type's is kept beside the value.
    """

    name: str
    type: type
    to_json: Callable[[Any], Mapping[str, Any]]
    from_json: Callable[[Mapping[str, Any]], Any]
    plot: Callable[[Any], Any] | None = None
    table: Callable[[Any], Table] | None = None
    is_own: bool = False


def metric_types(*types: MetricType) -> dict[str, MetricType]:
    """Make a table of metric types by name."""
    return {metric_type.name: metric_type for metric_type in types}


def _vector_json(vector: Vector) -> dict[str, Any]:
    return {"values": _nulls_for_nan(vector.values)}


def _vector_table(vector: Vector) -> Table:
    return Table(columns=["place", "value"], rows=list(enumerate(vector.values)))


def _curve_json(curve: Curve) -> dict[str, Any]:
    kind = {"kind": curve.kind} if curve.kind else {}
    return {"x": _nulls_for_nan(curve.x), "y": _nulls_for_nan(curve.y), **kind}


def _read_curve(raw: Mapping[str, Any]) -> Curve:
    return Curve(x=_nan_for_nulls(raw["x"]), y=_nan_for_nulls(raw["y"]), kind=raw.get("kind"))


def _curve_table(curve: Curve) -> Table:
    return Table(columns=plots.AXES[curve.kind], rows=list(zip(curve.x, curve.y, strict=True)))


def _histogram_table(histogram: Histogram) -> Table:
    bins = zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True)
    return Table(columns=["from", "to", "count"], rows=list(bins))


def _matrix_table(matrix: ConfusionMatrix) -> Table:
    rows = [[label, *row] for label, row in zip(matrix.labels, matrix.counts, strict=True)]
    return Table(columns=["true, below: predicted", *matrix.labels], rows=rows)


def _image_json(image: Image) -> dict[str, Any]:
    data = base64.b64encode(image.data).decode()
    return {"media_type": image.media_type, "description": image.description, "data": data}


def _read_image(raw: Mapping[str, Any]) -> Image:
    return Image(base64.b64decode(raw["data"], validate=True), description=raw["description"])


METRIC_TYPES: dict[str, MetricType] = metric_types(
    MetricType(
        name="vector",
        type=Vector,
        to_json=_vector_json,
        from_json=lambda raw: Vector(_nan_for_nulls(raw["values"])),
        plot=plots.plot_vector,
        table=_vector_table,
        is_own=True,
    ),
    MetricType(
        name="curve",
        type=Curve,
        to_json=_curve_json,
        from_json=_read_curve,
        plot=plots.plot_curve,
        table=_curve_table,
        is_own=True,
    ),
    MetricType(
        name="histogram",
        type=Histogram,
        to_json=lambda found: {"counts": found.counts, "edges": found.edges},
        from_json=lambda raw: Histogram(raw["counts"], raw["edges"]),
        plot=plots.plot_histogram,
        table=_histogram_table,
        is_own=True,
    ),
    MetricType(
        name="confusion_matrix",
        type=ConfusionMatrix,
        to_json=lambda found: {"counts": found.counts, "labels": found.labels},
        from_json=lambda raw: ConfusionMatrix(raw["counts"], labels=raw["labels"]),
        plot=plots.plot_confusion_matrix,
        table=_matrix_table,
        is_own=True,
    ),
    MetricType(
        name="table",
        type=Table,
        to_json=lambda found: {"columns": found.columns, "rows": found.rows},
        from_json=lambda raw: Table(columns=raw["columns"], rows=raw["rows"]),
        table=lambda found: found,
        is_own=True,
    ),
    MetricType(
        name="text",
        type=Text,
        to_json=lambda found: {"text": found.text},
        from_json=lambda raw: Text(raw["text"]),
        is_own=True,
    ),
    MetricType(name="image", type=Image, to_json=_image_json, from_json=_read_image, is_own=True),
)


def _nulls_for_nan(values: Sequence[float]) -> list[float | None]:
    return [None if value != value else value for value in values]


def _nan_for_nulls(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
