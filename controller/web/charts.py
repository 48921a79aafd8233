"""What is drawn, as Vega-Lite specifications: plain data in, plain data out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from controller.web.moments import columns_of
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


class Dot(NamedTuple):
    """One model in a scatter plot. x, y: a number, or a text or boolean that is one of few."""

    x: str | float | bool
    y: str | float | bool
    series: str
    envelope_id: str
    model: str


def scatter(x: str, y: str, dots: Sequence[Dot]) -> Spec:
    """Return one value of models against another; x and y title the axes."""
    return chart(
        [
            {
                "x": dot.x,
                "y": dot.y,
                "series": dot.series,
                "model": dot.model,
                "id": dot.envelope_id,
                "href": f"/models/{dot.envelope_id}",
            }
            for dot in dots
        ],
        mark={"type": "point", "filled": True, "size": 60, "opacity": 0.7, "tooltip": True},
        encoding={
            "x": _axis("x", x, [dot.x for dot in dots]),
            "y": _axis("y", y, [dot.y for dot in dots]),
            "color": {"field": "series", "type": "nominal", "title": None},
            "href": {"field": "href"},
            "tooltip": [
                {"field": "x", "title": x},
                {"field": "y", "title": y},
                {"field": "series"},
                {"field": "model"},
                {"field": "id"},
            ],
        },
        height=360,
    )


def overlay(specs: Mapping[str, Spec | None]) -> Spec | None:
    """Return several plots as one, in which colour and dashes tell them apart by their labels.

    None where they do not share their axes, or already colour by something of their own.
    """
    first = next(iter(specs.values()), None)
    if first is None or not all(spec and _is_alike(first, spec) for spec in specs.values()):
        return None
    values = [
        {**one, "series": label}
        for label, spec in specs.items()
        for one in (spec or {})["data"]["values"]
    ]
    mark = first["mark"] if isinstance(first["mark"], Mapping) else {"type": first["mark"]}
    series = {"field": "series", "type": "nominal", "title": None, "sort": None}
    encoding = {**first["encoding"], "color": series}
    if mark.get("type") == "line":
        encoding["strokeDash"] = series
    elif mark.get("type") == "bar":
        mark = {**mark, "opacity": 0.5}
        encoding["y"] = {**encoding["y"], "stack": None}
    return {**first, "data": {"values": values}, "mark": mark, "encoding": encoding, "height": 360}


def _is_alike(first: Spec, spec: Spec) -> bool:
    """Whether two plots are the same but for their data."""
    data = spec.get("data")
    return (
        {**spec, "data": None} == {**first, "data": None}
        and "mark" in spec
        and isinstance(encoding := spec.get("encoding"), Mapping)
        and all(isinstance(encoding.get(axis), Mapping) for axis in ("x", "y"))
        and not {"color", "strokeDash"} & encoding.keys()
        and isinstance(data, Mapping)
        and isinstance(data.get("values"), list)
        and all(isinstance(one, Mapping) for one in data["values"])
    )


def _axis(field: str, title: str, values: Sequence[str | float | bool]) -> dict[str, Any]:
    if title == "created_at":
        return {"field": field, "type": "temporal", "title": None}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return {"field": field, "type": "quantitative", "title": title, "scale": {"zero": False}}
    return {"field": field, "type": "nominal", "title": title}


def statistics(known: Mapping[str, Any]) -> dict[str, list[Plot]]:
    """Return charts of a function's input and output statistics; none of sensitive columns."""
    drawn = {
        side: [
            plot
            for name, column in columns_of(known.get(side) or {})
            if (plot := column_plot(name, column))
        ]
        for side in ("input", "output")
    }
    return {side: plots[:MAX_PLOTS] for side, plots in drawn.items() if plots}


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
