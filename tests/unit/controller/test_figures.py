"""What a page shows of each type of metric, and what it shows instead of a plot."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from controller.web.figures import MAX_ROWS, figure_of
from envelope.metrics import (
    ConfusionMatrix,
    Curve,
    Histogram,
    Image,
    Table,
    Text,
    Vector,
    encode_metric,
)

PNG = b"\x89PNG\r\n\x1a\n..."


@pytest.mark.parametrize(
    ("value", "columns", "rows"),
    [
        pytest.param(Vector([3, 2]), ("place", "value"), ((0, 3), (1, 2)), id="vector"),
        pytest.param(
            Curve(x=[0, 1], y=[1, 0], kind="precision_recall"),
            ("recall", "precision"),
            ((0, 1), (1, 0)),
            id="curve",
        ),
        pytest.param(
            Histogram([5, 7], [0, 1, 2]),
            ("from", "to", "count"),
            ((0, 1, 5), (1, 2, 7)),
            id="histogram",
        ),
        pytest.param(
            ConfusionMatrix([[8, 2], [1, 9]], ["no", "yes"]),
            ("true, below: predicted", "no", "yes"),
            (("no", 8, 2), ("yes", 1, 9)),
            id="confusion-matrix",
        ),
    ],
)
def test_a_plot_has_its_numbers_beside_it(
    value: Any, columns: tuple[str, ...], rows: tuple[Any, ...]
) -> None:
    figure = figure_of("m", encode_metric("m", value))
    assert figure is not None
    assert figure.grid is not None
    assert (figure.grid.columns, figure.grid.rows) == (columns, rows)
    assert figure.content is None
    json.dumps(figure.spec, allow_nan=False)
    assert figure.spec is not None
    assert len(figure.spec["data"]["values"]) == (4 if isinstance(value, ConfusionMatrix) else 2)


def test_the_counts_of_many_labels_are_left_to_the_table() -> None:
    figures = [
        figure_of("m", encode_metric("m", ConfusionMatrix(np.eye(size, dtype=int))))
        for size in (20, 21)
    ]
    assert ["layer" in figure.spec for figure in figures if figure and figure.spec] == [True, False]


def test_a_share_is_one_of_the_true_labels_rows() -> None:
    figure = figure_of("m", encode_metric("m", ConfusionMatrix([[0, 0], [1, 3]])))
    assert figure is not None
    assert figure.spec is not None
    assert [one["share"] for one in figure.spec["data"]["values"]] == [0, 0, 0.25, 0.75]


def test_tables_texts_and_images_are_shown_as_they_are() -> None:
    table = figure_of("m", encode_metric("m", Table("ab", [[1, 2]] * (MAX_ROWS + 3))))
    text = figure_of("m", encode_metric("m", Text("<b>")))
    image = figure_of("m", encode_metric("m", Image(PNG, description="a dot")))
    assert table is not None and text is not None and image is not None
    assert table.grid is not None
    assert (len(table.grid.rows), table.grid.left_out, table.spec) == (MAX_ROWS, 3, None)
    assert (text.text, text.spec, text.content) == ("<b>", None, None)
    assert image.image == "data:image/png;base64,iVBORw0KGgouLi4="
    assert (image.text, image.content) == ("a dot", None)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param({"type": "new", "x": 1}, id="unknown"),
        pytest.param({"type": "curve", "x": "junk"}, id="broken"),
        pytest.param({"type": "image", "data": "%", "description": "x"}, id="no-base64"),
        pytest.param({"x": 1}, id="no-type"),
    ],
)
def test_what_is_not_known_is_shown_as_json(raw: dict[str, Any]) -> None:
    figure = figure_of("m", raw)
    assert figure is not None
    assert (figure.spec, figure.grid, figure.image, figure.text) == (None, None, None, None)
    assert figure.content == {key: value for key, value in raw.items() if key != "type"}


def test_a_number_is_no_figure() -> None:
    assert figure_of("m", 0.5) is None
