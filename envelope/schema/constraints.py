"""What `Annotated[...]` bounds, as one predicate per type."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from envelope.schema import types as t


def breaks(kind: t.Constrained) -> Callable[[Any], bool]:
    """Return a predicate that tells whether a value of the right type breaks a bound."""
    ge, gt, le, lt = kind.ge, kind.gt, kind.le, kind.lt
    least, most, step = kind.min_length, kind.max_length, kind.multiple_of
    pattern = None if kind.pattern is None else re.compile(kind.pattern)

    def is_broken(value: Any) -> bool:
        if value is None:
            return False
        return bool(
            (ge is not None and not value >= ge)
            or (gt is not None and not value > gt)
            or (le is not None and not value <= le)
            or (lt is not None and not value < lt)
            or (step is not None and not _is_multiple(value, step))
            or (least is not None and len(value) < least)
            or (most is not None and len(value) > most)
            or (pattern is not None and pattern.search(value) is None)
        )

    return is_broken


def _is_multiple(value: Any, step: float) -> bool:
    """Tell whether a number is a multiple, as JSON Schema validators do for floats."""
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    quotient = float(value) / step
    return quotient == quotient and abs(quotient) != float("inf") and quotient == round(quotient)
