"""What was captured of the columns of an example, as numbers that can be followed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

DEFAULT_MOMENTS = ("mean", "q05", "q95", "levels")
MAX_LEVELS = 8  # of a column, the most frequent: more lines than that are not told apart

Moments = Mapping[str, float]


def columns_of(known: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the columns of what `statistics_of` captured: those of members as `member.column`."""
    for name, member in (known.get("members") or {}).items():
        yield from columns_of(member, f"{prefix}{name}.")
    if "column" in known:
        yield prefix.removesuffix(".") or "value", known["column"]
    for name, column in (known.get("columns") or {}).items():
        yield f"{prefix}{name}", column


def moments_of(statistics: Mapping[str, Any]) -> dict[str, Moments]:
    """Return the moments of a function's columns, as `input.age` and `output.value`.

    Shares of rows: "nulls", and "is LEVEL" of the most frequent levels. Numbers: "mean", "std",
    "min", "max", "distinct", and quantiles as "q05". None of sensitive columns.
    """
    return {
        f"{side}.{name}": _moments(column)
        for side in ("input", "output")
        for name, column in columns_of(statistics.get(side) or {})
        if not column.get("is_sensitive")
    }


def _moments(column: Mapping[str, Any]) -> Moments:
    rows = column.get("count", 0) + column.get("nulls", 0)
    found = {"nulls": column.get("nulls", 0) / rows} if rows else {}
    plain = {key: column.get(key) for key in ("mean", "std", "min", "max", "distinct")}
    plain |= column.get("quantiles") or {}
    found |= {
        key: float(value)
        for key, value in plain.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    levels = (column.get("levels") or [])[:MAX_LEVELS]
    return found | {f"is {level}": count / rows for level, count in levels}


def is_wanted(moment: str, wanted: tuple[str, ...]) -> bool:
    """Whether a moment was asked for; "levels" asks for the share of each level."""
    return moment in wanted or (moment.startswith("is ") and "levels" in wanted)
