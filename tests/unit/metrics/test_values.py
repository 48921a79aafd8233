from __future__ import annotations

import base64
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from envelope.errors import EnvelopeError
from envelope.metrics import (
    ConfusionMatrix,
    Curve,
    Histogram,
    Image,
    Table,
    Text,
    Vector,
    decode_metric,
    encode_metric,
)

PNG = b"\x89PNG\r\n\x1a\n..."
TRUTH, SCORE = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])


@pytest.mark.parametrize(
    ("value", "json"),
    [
        pytest.param(0.12, 0.12, id="float"),
        pytest.param(3, 3, id="int"),
        pytest.param(np.float32(0.5), 0.5, id="float32"),
        pytest.param(np.int64(7), 7, id="int64"),
        pytest.param(np.array(0.25), 0.25, id="0-d-array"),
        pytest.param(Fraction(1, 4), 0.25, id="fraction"),
        pytest.param([1, 2.5], {"type": "vector", "values": [1, 2.5]}, id="list"),
        pytest.param(np.array([1.0, 2.0]), {"type": "vector", "values": [1.0, 2.0]}, id="array"),
        pytest.param(pd.Series([1, 2]), {"type": "vector", "values": [1, 2]}, id="series"),
        pytest.param(
            Vector([1.0, math.nan]), {"type": "vector", "values": [1.0, None]}, id="vector-with-nan"
        ),
        pytest.param(
            Curve(x=np.array([0.0, 1.0]), y=[0.5, 0.7]),
            {"type": "curve", "x": [0.0, 1.0], "y": [0.5, 0.7]},
            id="curve",
        ),
        pytest.param(
            roc_curve(TRUTH, SCORE),
            {
                "type": "curve",
                "x": [0.0, 0.0, 0.5, 0.5, 1.0],
                "y": [0.0, 0.5, 0.5, 1.0, 1.0],
                "kind": "roc",
            },
            id="sklearn-roc-curve",
        ),
        pytest.param(
            Histogram(*np.histogram([1.0, 2.0, 2.0], bins=2)),
            {"type": "histogram", "counts": [1, 2], "edges": [1.0, 1.5, 2.0]},
            id="histogram",
        ),
        pytest.param(
            ConfusionMatrix(confusion_matrix([0, 1, 1], [0, 0, 1]), labels=["no", "yes"]),
            {"type": "confusion_matrix", "counts": [[1, 0], [1, 1]], "labels": ["no", "yes"]},
            id="confusion-matrix",
        ),
        pytest.param(
            ConfusionMatrix([[1]]),
            {"type": "confusion_matrix", "counts": [[1]], "labels": ["0"]},
            id="confusion-matrix-without-labels",
        ),
        pytest.param(
            Table(["a", "b"], [[1, "x"], [np.float32(0.5), None], [math.inf, Fraction(1, 2)]]),
            {
                "type": "table",
                "columns": ["a", "b"],
                "rows": [[1, "x"], [0.5, None], [None, "1/2"]],
            },
            id="table",
        ),
        pytest.param(Text("good"), {"type": "text", "text": "good"}, id="text"),
        pytest.param(
            Image(PNG, description="a dot"),
            {
                "type": "image",
                "media_type": "image/png",
                "description": "a dot",
                "data": base64.b64encode(PNG).decode(),
            },
            id="image",
        ),
    ],
)
def test_values_and_their_json(value: Any, json: Any) -> None:
    encoded = encode_metric("m", value)
    assert encoded == json
    assert msgspec.json.decode(msgspec.json.encode(encoded)) == json
    again = encode_metric("m", decode_metric(encoded))
    assert again == json


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_diverged_training_can_be_logged(value: float) -> None:
    assert str(encode_metric("loss", value)) == str(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param("0.9", "metric auc: a str cannot be logged; give a number", id="text"),
        pytest.param(True, "metric auc: a bool cannot be logged", id="bool"),
        pytest.param(None, "a NoneType cannot be logged", id="none"),
        pytest.param({"a": 1}, "a dict cannot be logged", id="dict"),
        pytest.param(Decimal("0.1"), "a Decimal cannot be logged", id="decimal"),
        pytest.param([1, "x"], r"values\[1\]: expected a number, got 'x'", id="list-with-text"),
        pytest.param([math.inf], r"values\[0\]: expected a number, got inf", id="infinite-item"),
        pytest.param(np.ones((2, 2)), "a ndarray cannot be logged", id="matrix"),
        pytest.param(
            precision_recall_curve(TRUTH, SCORE), "expected a number", id="not-a-roc-curve"
        ),
        pytest.param(np.zeros(10_001), r"at most 10,000 are kept; .*values\[::2\]", id="too-long"),
    ],
)
def test_what_is_no_metric_is_refused(value: Any, message: str) -> None:
    with pytest.raises(EnvelopeError, match=message):
        encode_metric("auc", value)


def test_a_curve_needs_as_many_x_as_y() -> None:
    with pytest.raises(EnvelopeError, match="as many x as y, got 2 and 3"):
        Curve(x=[0, 1], y=[0, 1, 2])


def test_a_frame_is_a_table_with_its_index_where_that_says_something() -> None:
    frame = pd.DataFrame({"n": [1, 2], "share": [0.5, math.nan]}, index=["US", "UK"])
    assert encode_metric("m", frame) == {
        "type": "table",
        "columns": ["index", "n", "share"],
        "rows": [["US", 1, 0.5], ["UK", 2, None]],
    }
    frame = pd.DataFrame({"at": [pd.Timestamp("2026-01-01"), pd.NaT], "ok": [True, pd.NA]})
    encoded = encode_metric("m", frame)
    assert isinstance(encoded, dict)
    assert encoded["rows"] == [["2026-01-01 00:00:00", True], [None, None]]


def test_a_figure_is_kept_as_a_picture_with_its_description() -> None:
    class Drawn:  # as matplotlib's figures are asked
        def savefig(self, file: Any, *, format: str, bbox_inches: str) -> None:
            file.write(PNG)

    image = Image(Drawn(), description="a dot")
    assert (image.data, image.media_type) == (PNG, "image/png")
    assert Image(b"\xff\xd8\xff...", description="x").media_type == "image/jpeg"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            lambda: Histogram([1], [0]), "1 counts needs one more edge, got 1", id="edges"
        ),
        pytest.param(lambda: Histogram([1, 2], [0, 0, 1]), "rise from each", id="flat-edges"),
        pytest.param(lambda: Histogram([-1], [0, 1]), "not negative", id="negative"),
        pytest.param(lambda: Histogram([math.nan], [0, 1]), "not negative", id="nan-count"),
        pytest.param(
            lambda: ConfusionMatrix([[1, 2]]),
            r"got 1 rows, \[2\] columns and 1 labels",
            id="not-square",
        ),
        pytest.param(lambda: ConfusionMatrix([[1]], ["a", "b"]), "2 labels", id="labels"),
        pytest.param(
            lambda: ConfusionMatrix([[1, 0], [0, 1]], ["a", "a"]), "each once", id="one-label-twice"
        ),
        pytest.param(lambda: ConfusionMatrix(np.eye(101)), "at most 100 labels", id="many-labels"),
        pytest.param(
            lambda: Table(["a", "b"], [[1, 2], [3]]), r"rows\[1\] of a table has 1 cells", id="row"
        ),
        pytest.param(lambda: Table("ab", [[1, 2]] * 20_000), "40,000 cells", id="large-table"),
        pytest.param(lambda: Text(b"x"), "holds a str, got bytes", id="bytes"),  # type: ignore[arg-type]  # that is the mistake
        pytest.param(lambda: Image(b"<svg/>", description="x"), "a PNG or JPEG", id="svg"),
        pytest.param(lambda: Image(PNG, description=" "), "description=", id="no-description"),
    ],
)
def test_a_value_that_is_none_of_its_kind_is_refused(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(EnvelopeError, match=message):
        make()
