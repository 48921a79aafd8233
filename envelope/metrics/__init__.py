"""Metrics: what can be logged, how it is written, how it is drawn, and tables of it."""

from envelope.metrics.frames import frame_of_metrics
from envelope.metrics.types import (
    METRIC_TYPES,
    MetricType,
    decode_metric,
    encode_metric,
    latest_values,
    metric_type,
    metric_types,
    plot_metric,
    words_of,
)
from envelope.metrics.values import Curve, Vector

__all__ = [
    "METRIC_TYPES",
    "Curve",
    "MetricType",
    "Vector",
    "decode_metric",
    "encode_metric",
    "frame_of_metrics",
    "latest_values",
    "metric_type",
    "metric_types",
    "plot_metric",
    "words_of",
]
