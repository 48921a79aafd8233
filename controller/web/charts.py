"""What is drawn, as Vega-Lite specifications: plain data in, plain data out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from envelope.metrics.plots import Spec, chart, line

MAX_PLOTS = 60  # of one function's columns
MAX_LEVELS = 12
LEVEL_HEIGHT = 16  # pixels
QUANTILE_HEIGHT = 110


class SeriesPoint(NamedTuple):
    """One value of a scalar metric. series: which line it belongs to."""

    at: datetime
    value: float
    series: str
    envelope_id: str
    model: str


class Plot(NamedTuple):
    """A small chart of one column. note: what the chart does not show."""

    name: str
    spec: Spec
    note: str


def time_series(name: str, points: Iterable[SeriesPoint]) -> Spec:
    """Return one scalar metric over time, a line per series."""
    values = [
        {
            "at": point.at.isoformat(),
            "value": point.value,
            "series": point.series,
            "id": point.envelope_id,
            "model": point.model,
        }
        for point in points
        if math.isfinite(point.value)
    ]
    return chart(
        values,
        mark={"type": "line", "point": True, "tooltip": True},
        encoding={
            "x": {"field": "at", "type": "temporal", "title": None},
            "y": {
                "field": "value",
                "type": "quantitative",
                "title": name,
                "scale": {"zero": False},
            },
            "color": {"field": "series", "type": "nominal", "title": None},
            "tooltip": [
                {"field": "value", "type": "quantitative", "format": ".6g"},
                {"field": "series"},
                {"field": "model"},
                {"field": "at", "type": "temporal", "format": "%Y-%m-%d %H:%M"},
                {"field": "id"},
            ],
        },
        height=260,
    )


def statistics(known: Mapping[str, Any]) -> dict[str, list[Plot]]:
    """Return charts of a function's input and output statistics; none of sensitive columns."""
    plots = {side: list(_plots(known.get(side) or {}))[:MAX_PLOTS] for side in ("input", "output")}
    return {side: found for side, found in plots.items() if found}


def _plots(known: Mapping[str, Any], prefix: str = "") -> Iterable[Plot]:
    for name, member in (known.get("members") or {}).items():
        yield from _plots(member, f"{name}.")
    columns = known.get("columns") or {}
    if "column" in known:
        columns = {prefix.removesuffix(".") or "value": known["column"]}
        prefix = ""
    for name, column in columns.items():
        if plot := column_plot(f"{prefix}{name}", column):
            yield plot


def column_plot(name: str, column: Mapping[str, Any]) -> Plot | None:
    """Return what one column looked like: its levels as bars, a number's quantiles as a curve."""
    nulls = f"{column['nulls']:,} null" if column.get("nulls") else ""
    if levels := column.get("levels"):
        shown = [{"level": str(level), "count": count} for level, count in levels[:MAX_LEVELS]]
        more = column.get("distinct", len(levels)) - len(shown)
        spec = chart(
            shown,
            mark={"type": "bar", "tooltip": True},
            encoding={
                "y": {"field": "level", "type": "nominal", "sort": None, "title": None},
                "x": {"field": "count", "type": "quantitative", "title": "rows"},
            },
            height=LEVEL_HEIGHT * len(shown),
        )
        notes = [nulls, f"and {more} more" if more > 0 else ""]
        return Plot(name, spec, ", ".join(filter(None, notes)))
    quantiles = column.get("quantiles")
    if not quantiles or not all(isinstance(one, int | float) for one in quantiles.values()):
        return None
    places = [(int(key[1:]) / 100, found) for key, found in quantiles.items()]
    points = [(0.0, column["min"]), *places, (1.0, column["max"])]
    below = [(value, share) for share, value in points]
    spec = line(below, x=name, y="share of rows below", height=QUANTILE_HEIGHT)
    moments = [f"mean {column['mean']:.4g}"] if column.get("mean") is not None else []
    return Plot(name, spec, ", ".join(filter(None, [*moments, nulls])))
