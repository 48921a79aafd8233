"""The values of metrics that are more than a number."""

from __future__ import annotations

import io
import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

from envelope.errors import EnvelopeError

if TYPE_CHECKING:
    import pandas as pd

MAX_POINTS = 10_000  # of one vector, curve or histogram: it is kept in a database row and drawn
MAX_CELLS = 30_000  # of one table; a histogram of MAX_POINTS bins has as many
MAX_LABELS = 100  # of one confusion matrix: 10,000 cells
MEDIA_TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}

Cell = str | float | bool | None

CurveKind = Literal["roc", "precision_recall", "calibration"]


@dataclass(frozen=True, init=False)
class Vector:
    """Numbers in order, for example a loss per epoch."""

    values: tuple[float, ...]

    def __init__(self, values: Iterable[float]) -> None:
        object.__setattr__(self, "values", check_numbers("values", values))


@dataclass(frozen=True, init=False)
class Curve:
    """Points (x, y) in order: `Curve(x=fpr, y=tpr, kind="roc")`.

    kind: "roc" (false against true positive rate), "precision_recall" (recall against precision)
    or "calibration" (mean predicted probability against the share of positives) name the axes;
    None: any other curve.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    kind: CurveKind | None

    def __init__(
        self, x: Iterable[float], y: Iterable[float], kind: CurveKind | None = None
    ) -> None:
        object.__setattr__(self, "x", check_numbers("x", x))
        object.__setattr__(self, "y", check_numbers("y", y))
        object.__setattr__(self, "kind", kind)
        if len(self.x) != len(self.y):
            raise EnvelopeError(
                f"a curve needs as many x as y, got {len(self.x)} and {len(self.y)}"
            )
        if kind is not None and kind not in get_args(CurveKind):
            raise EnvelopeError(
                f"there is no kind of curve {kind!r}; there are {', '.join(get_args(CurveKind))}, "
                "and None for any other"
            )


@dataclass(frozen=True, init=False)
class Histogram:
    """How many values fell between edges: `Histogram(*np.histogram(errors, bins=20))`.

    counts: (n,), not negative. edges: (n + 1,), rising.
    """

    counts: tuple[float, ...]
    edges: tuple[float, ...]

    def __init__(self, counts: Iterable[float], edges: Iterable[float]) -> None:
        object.__setattr__(self, "counts", check_numbers("counts", counts))
        object.__setattr__(self, "edges", check_numbers("edges", edges))
        if len(self.edges) != len(self.counts) + 1:
            raise EnvelopeError(
                f"a histogram of {len(self.counts)} counts needs one more edge, got "
                f"{len(self.edges)}; np.histogram gives both, in this order"
            )
        if not all(low < high for low, high in pairwise(self.edges)):
            raise EnvelopeError("the edges of a histogram rise from each to the next")
        if not all(count >= 0 for count in self.counts):
            raise EnvelopeError("the counts of a histogram are not negative")


@dataclass(frozen=True, init=False)
class ConfusionMatrix:
    """How often each true label was predicted as each: `ConfusionMatrix(confusion_matrix(y, p))`.

    counts: (n, n), a row per true label, a column per predicted one, as sklearn gives it.
    labels: (n,), default 0, 1, ...
    """

    counts: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...]

    def __init__(
        self, counts: Iterable[Iterable[float]], labels: Iterable[object] | None = None
    ) -> None:
        rows = tuple(check_numbers(f"counts[{n}]", row) for n, row in enumerate(counts))
        names = range(len(rows)) if labels is None else labels
        object.__setattr__(self, "counts", rows)
        object.__setattr__(self, "labels", tuple(str(label) for label in names))
        sizes = {len(rows), len(self.labels), *map(len, rows)}
        if len(sizes) != 1:
            raise EnvelopeError(
                f"a confusion matrix has as many rows as columns and labels, got {len(rows)} rows, "
                f"{sorted(set(map(len, rows)))} columns and {len(self.labels)} labels"
            )
        if len(set(self.labels)) < len(self.labels) or len(self.labels) > MAX_LABELS:
            raise EnvelopeError(
                f"a confusion matrix has at most {MAX_LABELS} labels, each once; "
                "keep the commonest and count the others as one"
            )


@dataclass(frozen=True, init=False)
class Table:
    """Rows of texts, numbers, booleans and None under named columns. A DataFrame becomes one.

    Other values are kept as their text; NaN and infinity as None.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __init__(self, columns: Iterable[object], rows: Iterable[Iterable[object]]) -> None:
        object.__setattr__(self, "columns", tuple(str(column) for column in columns))
        object.__setattr__(self, "rows", tuple(tuple(map(_cell, row)) for row in rows))
        for n, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise EnvelopeError(
                    f"rows[{n}] of a table has {len(row)} cells, it has {len(self.columns)} columns"
                )
        if (cells := len(self.rows) * len(self.columns)) > MAX_CELLS:
            raise EnvelopeError(
                f"a table of {cells:,} cells is too large for a metric, at most {MAX_CELLS:,} "
                "are kept; log its head, or write it to a file and log the path as me.Text"
            )

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> Table:
        """Return a DataFrame as a table; an index with names or texts becomes the first columns."""
        import pandas as pd

        whole = frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()
        return cls(whole.columns, whole.itertuples(index=False, name=None))


@dataclass(frozen=True, slots=True)
class Text:
    """Words, for example a report."""

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise EnvelopeError(f"me.Text holds a str, got {type(self.text).__name__}")


@dataclass(frozen=True, init=False)
class Image:
    """A picture: `Image(figure, description="Residuals rise with age")`.

    picture: the bytes of a PNG or JPEG, a matplotlib figure or a PIL image (kept as PNG).
    description: what it shows, for who does not see it.
    """

    data: bytes = field(repr=False)
    media_type: str
    description: str

    def __init__(self, picture: Any, *, description: str) -> None:
        data = _bytes_of(picture)
        found = [kind for start, kind in MEDIA_TYPES.items() if data.startswith(start)]
        if not found:
            raise EnvelopeError(
                "me.Image holds a PNG or JPEG; give its bytes, a matplotlib figure or a PIL image"
            )
        if not (isinstance(description, str) and description.strip()):
            raise EnvelopeError("say what an image shows, for who does not see it: description=")
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "media_type", found[0])
        object.__setattr__(self, "description", description)


def _bytes_of(picture: Any) -> bytes:
    if isinstance(picture, bytes):
        return picture
    written = io.BytesIO()
    if hasattr(picture, "savefig"):
        picture.savefig(written, format="png", bbox_inches="tight")
    elif hasattr(picture, "save"):
        picture.save(written, format="PNG")
    return written.getvalue()


def _cell(value: Any) -> Cell:
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a scalar of numpy
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    text = str(value)
    return None if value is None or text in ("NaT", "<NA>", "NaN") else text  # pandas, decimal


def check_numbers(name: str, values: Iterable[float]) -> tuple[float, ...]:
    """Return numbers as Python's own. Raises EnvelopeError for infinity, text, and too many."""
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
