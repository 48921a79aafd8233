"""Metric values: scalars and structured ones, each with a JSON form; and tables of them.

A scalar is a JSON number; a structured value is an object with a `type`. Types are looked up in a
table that is passed in, so that more can be added without touching this module.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from envelope.errors import EnvelopeError

if TYPE_CHECKING:
    import pandas as pd

    from envelope.registry import EnvelopeRow, MetricPoint

MAX_POINTS = 10_000  # of one vector or curve: it is kept in a database row and drawn on a page
_ROC_TOLERANCE = 1e-9


@dataclass(frozen=True, init=False)
class Vector:
    """Numbers in order, for example a loss per epoch."""

    values: tuple[float, ...]

    def __init__(self, values: Iterable[float]) -> None:
        object.__setattr__(self, "values", _numbers("values", values))


@dataclass(frozen=True, init=False)
class Curve:
    """Points (x, y) in order, for example a ROC curve: `Curve(x=fpr, y=tpr)`."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __init__(self, x: Iterable[float], y: Iterable[float]) -> None:
        object.__setattr__(self, "x", _numbers("x", x))
        object.__setattr__(self, "y", _numbers("y", y))
        if len(self.x) != len(self.y):
            raise EnvelopeError(
                f"a curve needs as many x as y, got {len(self.x)} and {len(self.y)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricType:
    """How one class of values is written. name: never reused, it is in every stored value."""

    name: str
    type: type
    to_json: Callable[[Any], dict[str, Any]]
    from_json: Callable[[Mapping[str, Any]], Any]


def metric_types(*types: MetricType) -> Mapping[str, MetricType]:
    """Make a table of metric types by name."""
    return MappingProxyType({metric_type.name: metric_type for metric_type in types})


METRIC_TYPES = metric_types(
    MetricType(
        name="vector",
        type=Vector,
        to_json=lambda vector: {"values": _nulls_for_nan(vector.values)},
        from_json=lambda raw: Vector(_nan_for_nulls(raw["values"])),
    ),
    MetricType(
        name="curve",
        type=Curve,
        to_json=lambda curve: {"x": _nulls_for_nan(curve.x), "y": _nulls_for_nan(curve.y)},
        from_json=lambda raw: Curve(x=_nan_for_nulls(raw["x"]), y=_nan_for_nulls(raw["y"])),
    ),
)


def encode_metric(
    name: str, value: Any, types: Mapping[str, MetricType] = METRIC_TYPES
) -> float | dict[str, Any]:
    """Return a metric's JSON form.

    value: a number (numpy's too), a list or 1-D array of numbers (a Vector), what sklearn's
    `roc_curve` returns (a Curve), or an object of one of `types`.
    NaN and infinity are kept as they are, and never match a comparison of a query.
    Raises EnvelopeError naming the metric for anything else.
    """
    try:
        return _encode(value, types)
    except EnvelopeError as exc:
        raise EnvelopeError(f"metric {name}: {exc}") from exc


def _encode(value: Any, types: Mapping[str, MetricType]) -> float | dict[str, Any]:
    for metric_type in types.values():
        if isinstance(value, metric_type.type):
            return {"type": metric_type.name, **metric_type.to_json(value)}
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # a scalar of numpy, torch, jax
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if _is_roc_curve(value):
        return _encode(Curve(x=value[0], y=value[1]), types)
    if isinstance(value, list | tuple) or getattr(value, "ndim", None) == 1:
        return _encode(Vector(value), types)
    raise EnvelopeError(
        f"a {type(value).__name__} cannot be logged; give a number, a list of numbers, "
        "me.Vector([...]) or me.Curve(x=..., y=...)"
    )


def decode_metric(
    raw: float | Mapping[str, Any], types: Mapping[str, MetricType] = METRIC_TYPES
) -> Any:
    """Return the value of a JSON form. A type that is not known here is left as it is."""
    if not isinstance(raw, Mapping):
        return raw
    metric_type = types.get(raw.get("type", ""))
    return dict(raw) if metric_type is None else metric_type.from_json(raw)


def frame_of_metrics(
    rows: Iterable[EnvelopeRow],
    points: Iterable[MetricPoint],
    names: Sequence[str] | None,
    form: Literal["latest", "history"],
) -> pd.DataFrame:
    """Lay metrics out as a table; see `envelope.metrics_frame`."""
    if form == "latest":
        return _latest(list(rows), points, names)
    return _history(rows, points)


def _latest(
    rows: list[EnvelopeRow], points: Iterable[MetricPoint], names: Sequence[str] | None
) -> pd.DataFrame:
    import pandas as pd

    latest: dict[tuple[str, str], MetricPoint] = {}
    for point in points:
        known = latest.get((point.envelope_id, point.name))
        if known is None or point.at >= known.at:  # of one time, the one logged last
            latest[point.envelope_id, point.name] = point
    columns: dict[str, list[Any]] = {
        "envelope_id": [row.id for row in rows],
        "name": [row.name for row in rows],
        "created_at": [row.created_at for row in rows],
    }
    for key in sorted({key for row in rows for key in row.tags}):
        columns[f"tags.{key}"] = [row.tags.get(key) for row in rows]
    for name in names if names is not None else sorted({name for _, name in latest}):
        found = [latest.get((row.id, name)) for row in rows]
        column = f"metrics.{name}" if name in columns else name
        columns[column] = [math.nan if p is None else decode_metric(p.value) for p in found]
    return pd.DataFrame(columns)


def _history(rows: Iterable[EnvelopeRow], points: Iterable[MetricPoint]) -> pd.DataFrame:
    import pandas as pd

    by_id = {row.id: row for row in rows}
    logged = [point for point in points if point.envelope_id in by_id]
    return pd.DataFrame(
        {
            "envelope_id": [point.envelope_id for point in logged],
            "name": [by_id[point.envelope_id].name for point in logged],
            "created_at": [by_id[point.envelope_id].created_at for point in logged],
            "metric": [point.name for point in logged],
            "value": [decode_metric(point.value) for point in logged],
            "at": [point.at for point in logged],
            "actor": [point.actor for point in logged],
        }
    )


def _numbers(name: str, values: Iterable[float]) -> tuple[float, ...]:
    items = values.tolist() if hasattr(values, "tolist") else list(values)
    for index, item in enumerate(items):
        if isinstance(item, bool) or not isinstance(item, numbers.Real) or math.isinf(item):
            raise EnvelopeError(f"{name}[{index}]: expected a number, got {item!r}")
    if len(items) > MAX_POINTS:
        raise EnvelopeError(
            f"{name} has {len(items):,} points, at most {MAX_POINTS:,} are kept; thin it out, "
            f"for example {name}[::{math.ceil(len(items) / MAX_POINTS)}]"
        )
    return tuple(items)


def _nulls_for_nan(values: Sequence[float]) -> list[float | None]:
    return [None if value != value else value for value in values]


def _nan_for_nulls(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _is_roc_curve(value: Any) -> bool:
    """Whether this is (fpr, tpr, thresholds) as sklearn returns them, and nothing else."""
    if not (isinstance(value, tuple) and len(value) == 3):
        return False
    if any(getattr(part, "ndim", None) != 1 for part in value):
        return False
    fpr, tpr, thresholds = (part.tolist() for part in value)
    return (
        len(fpr) == len(tpr) == len(thresholds) > 1
        and all(_rises_from_0_to_1(part) for part in (fpr, tpr))
        and all(a > b for a, b in itertools.pairwise(thresholds))
    )


def _rises_from_0_to_1(values: list[float]) -> bool:
    return (
        abs(values[0]) < _ROC_TOLERANCE
        and abs(values[-1] - 1) < _ROC_TOLERANCE
        and all(a <= b for a, b in itertools.pairwise(values))
    )
