"""Fewer rows of an example: its first ones for the sample, spread ones to try the function on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

Which = Literal["first", "spread"]


def row_count(arguments: Mapping[str, Any]) -> int | None:
    """Return how many rows an example call has; None if it is not made of rows.

    The rows are those of the first table; without one, of the first matrix or list of lists,
    dicts or tuples. A plain list of numbers or a vector is one value, not rows.
    """
    for is_rows in (_is_table, _is_rows):
        for value in arguments.values():
            if is_rows(value):
                return _length(value)
    return None


def take_rows(arguments: Mapping[str, Any], rows: int, which: Which = "first") -> dict[str, Any]:
    """Return a copy of an example call with at most `rows` rows.

    What has as many items as there are rows is cut alike; anything else is copied whole. Nothing
    that the function does to the copy reaches the example.
    """
    total = row_count(arguments)
    if total is None or total <= rows:
        return {name: _copied(value) for name, value in arguments.items()}
    if which == "first":
        positions = list(range(rows))
    else:  # evenly, the first and the last among them
        positions = sorted({round(i * (total - 1) / max(rows - 1, 1)) for i in range(rows)})
    return {
        name: _taken(value, positions) if _length(value) == total else _copied(value)
        for name, value in arguments.items()
    }


def _is_table(value: Any) -> bool:
    kind = type(value)
    return kind.__module__.partition(".")[0] in ("pandas", "pyarrow") and kind.__name__ in (
        "DataFrame",
        "Series",
        "Table",
    )


def _is_rows(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) > 0 and all(
            isinstance(item, list | tuple | dict) or hasattr(item, "__dataclass_fields__")
            for item in value[:10]
        )
    return getattr(value, "ndim", 0) >= 2 and hasattr(value, "shape")


def _length(value: Any) -> int | None:
    if getattr(value, "ndim", 0) >= 1 and hasattr(value, "shape"):
        return int(value.shape[0])  # sparse matrices have no len()
    if isinstance(value, list | tuple) or _is_table(value):
        return len(value)
    return None


def _taken(value: Any, positions: list[int]) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(copy.deepcopy([value[position] for position in positions]))
    if hasattr(value, "iloc"):
        return value.iloc[positions].copy()
    if hasattr(value, "take") and type(value).__module__.startswith("pyarrow"):
        return value.take(positions)
    if hasattr(value, "tocsr"):  # only CSR can be cut by rows
        return getattr(value.tocsr()[positions], f"to{value.format}")()
    return value[positions]  # numpy copies when indexed by a list


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # an object that cannot be copied is given as it is
        return value
