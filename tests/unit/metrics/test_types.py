"""Types of metrics that somebody registers, what unknown ones look like, and what is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from envelope.errors import EnvelopeError
from envelope.metrics import (
    METRIC_TYPES,
    Curve,
    MetricType,
    Vector,
    decode_metric,
    encode_metric,
    metric_type,
    plot_metric,
    words_of,
)

BARS = {"mark": "bar", "encoding": {"y": {"field": "gain", "type": "quantitative"}}}


@dataclass(frozen=True)
class Gain:
    deciles: Any
    note: str = ""


def draw(gain: Gain) -> dict[str, Any]:
    return {**BARS, "data": {"values": [{"gain": one} for one in gain.deciles]}}


@pytest.fixture
def types() -> dict[str, MetricType]:
    return dict(METRIC_TYPES)


def test_a_dataclass_is_registered_with_its_fields_and_plot(types: dict[str, MetricType]) -> None:
    assert metric_type("gain", plot=draw, types=types)(Gain) is Gain
    encoded = encode_metric("g", Gain(np.array([0.5, math.nan]), note="test"), types)
    assert encoded == {
        "type": "gain",
        "deciles": [0.5, None],
        "note": "test",
        "plot": {
            **BARS,
            "data": {"values": [{"gain": 0.5}, {"gain": None}]},
            "width": "container",
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        },
    }
    assert decode_metric(encoded, types) == Gain([0.5, None], note="test")


def test_a_reader_without_the_class_keeps_shows_and_draws_it(types: dict[str, MetricType]) -> None:
    metric_type("gain", plot=draw, types=types)(Gain)
    encoded = encode_metric("g", Gain([0.5]), types)
    assert isinstance(encoded, dict)
    assert decode_metric(encoded) == encoded
    assert encode_metric("g", decode_metric(encoded)) == encoded
    assert plot_metric(encoded) == encoded["plot"]
    assert words_of(encoded) == '{"type": "gain", "deciles": [0.5], "note": ""}'


def test_a_class_says_its_json_form_and_a_chart_its_specification(
    types: dict[str, MetricType],
) -> None:
    class Interval:
        def __init__(self, low: float, high: float) -> None:
            self.low, self.high = low, high

        def to_dict(self) -> dict[str, Any]:  # as Altair's charts have it
            return {"hconcat": [], "$schema": "an older one"}

    registered = metric_type(
        "interval",
        to_json=lambda one: {"ends": (one.low, one.high)},
        from_json=lambda raw: Interval(*raw["ends"]),
        plot=lambda one: one,
        types=types,
    )(Interval)
    encoded = encode_metric("i", registered(1, 2), types)
    assert isinstance(encoded, dict)
    assert (encoded["ends"], encoded["plot"]["hconcat"]) == ([1, 2], [])
    assert "width" not in encoded["plot"]  # a row of views has none of its own
    assert decode_metric(encoded, types).high == 2


def test_a_subclass_is_of_its_own_type(types: dict[str, MetricType]) -> None:
    class Lift(Vector):
        pass

    metric_type(
        "lift",
        to_json=lambda lift: {"values": lift.values},
        from_json=lambda raw: Lift(raw["values"]),
        types=types,
    )(Lift)
    assert encode_metric("l", Lift([1]), types) == {"type": "lift", "values": [1]}
    assert encode_metric("l", Vector([1]), types) == {"type": "vector", "values": [1]}


def test_a_cell_that_registers_a_class_runs_again(types: dict[str, MetricType]) -> None:
    for _ in range(2):

        @metric_type("again", types=types)
        @dataclass
        class Again:
            x: int

        assert encode_metric("a", Again(1), types) == {"type": "again", "x": 1}


def test_a_form_that_the_class_cannot_read_is_left(types: dict[str, MetricType]) -> None:
    metric_type("gain", types=types)(Gain)
    older = {"type": "gain", "percentiles": [1]}
    assert decode_metric(older, types) == older
    broken = {"type": "curve", "x": "junk"}
    assert decode_metric(broken) == broken
    assert plot_metric(broken) is None
    assert words_of(broken) == "curve"


@dataclass
class Refused:
    what: Any
    plot: Any = field(default=None, init=False)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(
            Refused({1, object}), "metric m: a value of type refused is no JSON", id="type"
        ),
        pytest.param(Refused("\ud800"), "no JSON", id="lone-surrogate"),
        pytest.param(
            Refused("x" * 2_000_000), "2,000,0.. bytes as JSON, at most 1,048,576", id="size"
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(
    types: dict[str, MetricType], value: Any, message: str
) -> None:
    metric_type("refused", types=types)(Refused)
    with pytest.raises(EnvelopeError, match=message):
        encode_metric("m", value, types)


def test_what_cannot_be_registered_is_refused(types: dict[str, MetricType]) -> None:
    metric_type("gain", types=types)(Gain)
    with pytest.raises(EnvelopeError, match=r"'gain' is that of .*Gain; give Refused another name"):
        metric_type("gain", types=types)(Refused)
    with pytest.raises(EnvelopeError, match=r"'curve' is that of envelope\.metrics\.values\.Curve"):
        metric_type("curve", types=types)(Refused)
    with pytest.raises(EnvelopeError, match="'scalar' is a number's"):
        metric_type("scalar", types=types)(Refused)
    with pytest.raises(EnvelopeError, match="is no dataclass, so say how it is written: to_json="):
        metric_type("plain", types=types)(type("Plain", (), {}))


def test_keys_that_are_ours_and_plots_that_are_none_are_refused(
    types: dict[str, MetricType],
) -> None:
    metric_type("a", to_json=lambda one: {"plot": 1}, types=types)(Refused)
    with pytest.raises(EnvelopeError, match="to_json of metric type a gives the key 'plot'"):
        encode_metric("m", Refused(1), types)
    metric_type("gain", plot=lambda gain: "<svg>", types=types)(Gain)
    with pytest.raises(EnvelopeError, match="plot of metric type gain gives a str"):
        encode_metric("m", Gain([1]), types)


def points_of(raw: Any) -> list[tuple[float, float]]:
    spec = plot_metric(raw)
    assert spec is not None
    return [(one["x"], one["y"]) for one in spec["data"]["values"]]


@pytest.mark.parametrize(
    ("value", "points"),
    [
        (Curve(x=[0.0, 1.0], y=[0.5, math.nan]), [(0.0, 0.5)]),
        (Vector([3.0, 2.0]), [(0, 3.0), (1, 2.0)]),
    ],
)
def test_structured_metrics_are_drawn(value: Any, points: list[tuple[float, float]]) -> None:
    assert points_of(encode_metric("m", value)) == points


@pytest.mark.parametrize(
    ("kind", "titles"),
    [
        ("roc", ("false positive rate", "true positive rate")),
        ("precision_recall", ("recall", "precision")),
        ("calibration", ("mean predicted probability", "share of positives")),
        (None, ("x", "y")),
    ],
)
def test_the_kind_of_a_curve_names_its_axes(kind: Any, titles: tuple[str, str]) -> None:
    raw = encode_metric("m", Curve(x=[0, 1], y=[0, 1], kind=kind))
    assert decode_metric(raw) == Curve(x=[0, 1], y=[0, 1], kind=kind)
    spec = plot_metric(raw)
    assert spec is not None
    assert tuple(spec["encoding"][axis]["title"] for axis in "xy") == titles


def test_a_number_is_not_drawn() -> None:
    assert plot_metric(0.5) is None
    assert words_of(0.5) == "0.5"


def test_there_is_no_other_kind_of_curve() -> None:
    with pytest.raises(EnvelopeError, match="no kind of curve 'rok'; there are roc"):
        Curve(x=[], y=[], kind="rok")  # type: ignore[arg-type]  # that is the mistake
