"""Metrics: what can be logged, how it is written, how it is drawn, and tables of it."""

from envelope.metrics.codec import (
    decode_metric,
    encode_metric,
    latest_values,
    metric_type,
    plot_metric,
    tabulate_metric,
    words_of,
)
from envelope.metrics.frames import frame_of_metrics, with_fields
from envelope.metrics.types import METRIC_TYPES, MetricType, metric_types
from envelope.metrics.values import (
    ConfusionMatrix,
    Curve,
    Histogram,
    Image,
    Table,
    Text,
    Vector,
)

__all__ = [
    "METRIC_TYPES",
    "ConfusionMatrix",
    "Curve",
    "Histogram",
    "Image",
    "MetricType",
    "Table",
    "Text",
    "Vector",
    "decode_metric",
    "encode_metric",
    "frame_of_metrics",
    "latest_values",
    "metric_type",
    "metric_types",
    "plot_metric",
    "tabulate_metric",
    "with_fields",
    "words_of",
]
