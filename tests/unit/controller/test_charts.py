"""What is drawn of statistics and metrics, and what is not."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from controller.web.charts import SeriesPoint, column_plot, statistics, time_series
from envelope.capture.statistics import statistics_of

AT = datetime(2026, 1, 1, tzinfo=UTC)


def values_of(spec: dict[str, Any] | None) -> list[dict[str, Any]]:
    assert spec is not None
    json.dumps(spec, allow_nan=False)
    found: list[dict[str, Any]] = spec["data"]["values"]
    return found


def test_a_series_leaves_out_what_is_no_number() -> None:
    points = [SeriesPoint(AT, value, "US", "id", "m") for value in (0.5, math.nan, math.inf)]
    assert [one["value"] for one in values_of(time_series("auc", points))] == [0.5]


def test_columns_are_drawn_by_what_they_hold() -> None:
    frame = pd.DataFrame(
        {
            "number": [1.0, 2.0, None, 4.0] * 10,
            "level": ["a", "a", "b", None] * 10,
            "when": pd.date_range("2026-01-01", periods=40),
            "private": ["x"] * 40,
        }
    )
    plots = statistics({"input": statistics_of(frame, sensitive=["private"]), "output": {}})
    drawn = {plot.name: plot for plot in plots["input"]}
    assert set(drawn) == {"number", "level"}
    assert list(plots) == ["input"]
    number = values_of(drawn["number"].spec)
    assert (number[0]["x"], number[-1]["x"]) == (1.0, 4.0)
    assert drawn["number"].note == "mean 2.333, 10 null"
    assert [one["level"] for one in values_of(drawn["level"].spec)] == ["a", "b"]


def test_levels_that_are_not_drawn_are_counted() -> None:
    column = {"levels": [[str(n), 1] for n in range(50)], "distinct": 80, "nulls": 0}
    plot = column_plot("c", column)
    assert plot is not None
    assert (len(values_of(plot.spec)), plot.note) == (12, "and 68 more")
