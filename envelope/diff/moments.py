"""What differs between the statistics of two examples, column by column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from envelope.diff.changes import Change, Kind, changes

MEASURES = ("type", "count", "nulls", "distinct", "min", "max", "mean", "std")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChange:
    """A column whose moments differ. moments: those that do, old beside new; q50 is the median."""

    column: str
    kind: Kind
    moments: tuple[Change, ...] = ()


def moment_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[ColumnChange, ...]:
    """Compare what `capture.statistics` wrote of two functions."""
    before, after = dict(_columns(old)), dict(_columns(new))
    return tuple(
        ColumnChange(
            column=change.name,
            kind=change.kind,
            moments=changes(change.old, change.new) if change.kind == "changed" else (),
        )
        for change in changes(before, after)
    )


def _columns(statistics: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, described in statistics.items():
        yield from _columns_of(name, described)


def _columns_of(path: str, described: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    match described:
        case {"columns": columns}:
            for name, column in columns.items():
                yield f"{path}.{name}", _moments(column)
        case {"column": column}:
            yield path, _moments(column)
        case {"members": members}:
            for name, member in members.items():
                yield from _columns_of(f"{path}.{name}", member)


def _moments(column: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: column[name] for name in MEASURES if column.get(name) is not None}
    median = (column.get("quantiles") or {}).get("q50")
    return found if median is None else {**found, "q50": median}
