"""What a page shows of a structured metric: its plot, and the same in words. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envelope.metrics import Image, Text, decode_metric, plot_metric, tabulate_metric
from envelope.metrics.plots import Spec
from envelope.metrics.values import Cell

MAX_ROWS = 200  # of a table on a page; `env.metrics()` has all


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The first rows of a table. left_out: how many more there are."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One structured metric; each part is None where it has none.

    spec: the plot. grid: the plot's data, or the table that the metric is. image: the address of a
    picture, which `text` describes. content: the JSON form, where there is nothing better.
    """

    name: str
    kind: str
    spec: Spec | None
    grid: Grid | None
    image: str | None = field(repr=False)
    text: str | None
    content: Mapping[str, Any] | None


def figure_of(name: str, raw: Any) -> Figure | None:
    """Return what is shown of a metric's JSON form; None for a number, which is in the table."""
    if not isinstance(raw, Mapping):
        return None
    grid, image = _grid(raw), None
    text: str | None = None
    match decode_metric(raw):
        case Text() as value:
            text = value.text
        case Image() as value:
            text = value.description
            image = f"data:{value.media_type};base64,{base64.b64encode(value.data).decode()}"
    content = {key: value for key, value in raw.items() if key not in ("type", "plot")}
    return Figure(
        name=name,
        kind=str(raw.get("type", "")).replace("_", " "),
        spec=plot_metric(raw),
        grid=grid,
        image=image,
        text=text,
        content=content if grid is None and text is None else None,
    )


def _grid(raw: Mapping[str, Any]) -> Grid | None:
    table = tabulate_metric(raw)
    if table is None:
        return None
    left_out = max(0, len(table.rows) - MAX_ROWS)
    return Grid(columns=table.columns, rows=table.rows[:MAX_ROWS], left_out=left_out)
