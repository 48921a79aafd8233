"""What `Annotated[...]` bounds: read from its metadata, and checked as one predicate per type."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import annotated_types

from envelope.errors import SchemaError
from envelope.schema import types as t


def flat_metadata(metadata: Sequence[Any]) -> list[Any]:
    """Spread out grouped constraints: Interval, Len, pydantic's Field(...)."""
    items: list[Any] = []
    for item in metadata:
        if isinstance(item, annotated_types.GroupedMetadata):
            items.extend(item)
        elif type(item).__name__ == "FieldInfo":
            items.extend(flat_metadata(item.metadata))
        else:
            items.append(item)
    return items


_BOUNDS = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")


def stated_bounds(item: Any, where: str) -> dict[str, Any]:
    """Return what one piece of `Annotated` metadata states. Texts and other notes state nothing."""
    stated = {name: value for name in _BOUNDS if (value := getattr(item, name, None)) is not None}
    for name in ("ge", "gt", "le", "lt", "multiple_of"):
        bound = stated.get(name)
        if bound is not None and not isinstance(bound, int | float):
            raise SchemaError(f"{where} has a bound of type {type(bound).__name__}; use a number")
    if "pattern" in stated:
        stated["pattern"] = getattr(stated["pattern"], "pattern", stated["pattern"])
    if not stated and (
        isinstance(item, annotated_types.BaseMetadata | slice)
        or type(item).__name__ in ("BeforeValidator", "AfterValidator", "WrapValidator")
    ):
        raise SchemaError(
            f"{where} is annotated with {type(item).__name__}, which no schema can state; check "
            "it inside the function"
        )
    if stated.get("max_length") is None:
        stated.pop("max_length", None)
    if stated.get("min_length") == 0:
        stated.pop("min_length")
    return stated


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
