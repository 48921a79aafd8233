"""The values of metrics that are more than a number."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from envelope.errors import EnvelopeError

MAX_POINTS = 10_000  # of one vector or curve: it is kept in a database row and drawn on a page

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
