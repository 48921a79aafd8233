"""What is drawn of statistics and metrics, and what is not."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from controller.web.charts import (
    Dot,
    SeriesPoint,
    column_plot,
    overlay,
    scatter,
    statistics,
    time_series,
)
from controller.web.moments import is_wanted, moments_of
from envelope.capture.statistics import statistics_of
from envelope.metrics import (
    ConfusionMatrix,
    Curve,
    Histogram,
    Text,
    Vector,
    encode_metric,
    plot_metric,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)


def values_of(spec: dict[str, Any] | None) -> list[dict[str, Any]]:
    assert spec is not None
    json.dumps(spec, allow_nan=False)
    found: list[dict[str, Any]] = spec["data"]["values"]
    return found


def test_a_series_leaves_out_what_is_no_number() -> None:
    points = [SeriesPoint(AT, value, "US", "id", "m") for value in (0.5, math.nan, math.inf)]
    assert [one["value"] for one in values_of(time_series("auc", points))] == [0.5]


@pytest.mark.parametrize(
    ("title", "values", "kind"),
    [
        ("metrics.auc", [0.5, 1], "quantitative"),
        ("hyperparameters.kernel", ["rbf", "linear"], "nominal"),
        ("hyperparameters.early", [True, False], "nominal"),
        ("hyperparameters.mixed", [1, "auto"], "nominal"),
        ("created_at", ["2026-01-01T00:00:00+00:00"], "temporal"),
    ],
)
def test_what_is_drawn_against_another_has_an_axis_of_its_kind(
    title: str, values: list[Any], kind: str
) -> None:
    dots = [Dot(value, 1.0, "US", "01A", "m") for value in values]
    spec = scatter(title, "metrics.auc", dots)
    assert [one["x"] for one in values_of(spec)] == values
    assert (spec["encoding"]["x"]["type"], spec["encoding"]["y"]["type"]) == (kind, "quantitative")
    assert values_of(spec)[0]["href"] == "/models/01A"


def plots_of(*values: Any) -> dict[str, Any]:
    return {str(n): plot_metric(encode_metric("m", value)) for n, value in enumerate(values)}


def test_curves_of_several_models_share_a_plot() -> None:
    spec = overlay(plots_of(Curve(x=[0, 1], y=[0, 1]), Curve(x=[0, 0.5], y=[0, 0.9])))
    found = [(one["series"], one["x"], one["y"]) for one in values_of(spec)]
    assert found == [("0", 0, 0), ("0", 1, 1), ("1", 0, 0), ("1", 0.5, 0.9)]
    assert spec is not None
    assert spec["encoding"]["color"] == spec["encoding"]["strokeDash"]


def test_histograms_of_several_models_are_seen_through() -> None:
    spec = overlay(plots_of(Histogram([1], [0, 1]), Histogram([2, 3], [0, 2, 4])))
    assert [one["count"] for one in values_of(spec)] == [1, 2, 3]
    assert spec is not None
    assert (spec["mark"]["opacity"], spec["encoding"]["y"]["stack"]) == (0.5, None)


BAR = {"mark": "bar", "data": {"values": []}, "encoding": {"x": {}, "y": {}}}


@pytest.mark.parametrize(
    ("specs", "is_one_plot"),
    [
        pytest.param(plots_of(Vector([1]), Curve(x=[0], y=[1])), False, id="other-axes"),
        pytest.param(plots_of(ConfusionMatrix([[1]]), ConfusionMatrix([[2]])), False, id="cells"),
        pytest.param(plots_of(0.5, Vector([1])), False, id="a-number"),
        pytest.param(plots_of(Vector([1]), Text("x")), False, id="a-text"),
        pytest.param({}, False, id="none"),
        pytest.param({"a": BAR, "b": {**BAR, "data": {"values": [{"x": 1}]}}}, True, id="own-type"),
        pytest.param({"a": {**BAR, "encoding": 1}}, False, id="no-encoding"),
        pytest.param({"a": {**BAR, "encoding": {"x": {}, "y": 1}}}, False, id="no-axis"),
        pytest.param({"a": {**BAR, "data": {"values": [1]}}}, False, id="bare-values"),
        pytest.param({"a": {**BAR, "data": {"values": "1,2"}}}, False, id="a-text-of-values"),
        pytest.param({"a": {**BAR, "data": {"name": "elsewhere"}}}, False, id="no-values"),
    ],
)
def test_plots_that_do_not_share_axes_stay_apart(specs: Any, is_one_plot: bool) -> None:
    assert (overlay(specs) is not None) == is_one_plot


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


def test_moments_of_columns_are_followed() -> None:
    frame = pd.DataFrame(
        {
            "age": [1.0, 2.0, None, 5.0],
            "city": ["LA", "LA", None, "NY"],
            "when": pd.date_range("2026-01-01", periods=4),
            "private": ["x"] * 4,
        }
    )
    answer = {"value": pd.Series([True, False]), "rows": frame[["age"]]}
    found = moments_of(
        {
            "input": statistics_of(frame, sensitive=["private"]),
            "output": statistics_of(answer),
        }
    )
    assert list(found) == [
        "input.age",
        "input.city",
        "input.when",
        "output.value",
        "output.rows.age",
    ]
    age = found["input.age"]
    assert (age["nulls"], age["min"], age["q50"], age["max"]) == (0.25, 1.0, 2.0, 5.0)
    assert found["input.city"] == {"nulls": 0.25, "distinct": 2.0, "is LA": 0.5, "is NY": 0.25}
    assert "min" not in found["input.when"]  # a time is no number
    assert found["output.value"]["is true"] == 0.5
    assert found["output.rows.age"] == age
    assert moments_of({}) == {}


@pytest.mark.parametrize(
    ("moment", "wanted", "is_one"),
    [("mean", ("mean",), True), ("mean", ("levels",), False), ("is US", ("levels",), True)],
)
def test_levels_ask_for_each_of_them(moment: str, wanted: tuple[str, ...], is_one: bool) -> None:
    assert is_wanted(moment, wanted) == is_one


def test_levels_that_are_not_drawn_are_counted() -> None:
    column = {"levels": [[str(n), 1] for n in range(50)], "distinct": 80, "nulls": 0}
    plot = column_plot("c", column)
    assert plot is not None
    assert (len(values_of(plot.spec)), plot.note) == (12, "and 68 more")
