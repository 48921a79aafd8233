"""What a page shows of a structured metric: its plot, and the same in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envelope.metrics import METRIC_TYPES, plot_metric
from envelope.metrics.plots import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One structured metric. spec: None for what has no plot. content: the JSON form, as kept."""

    name: str
    kind: str
    spec: Spec | None
    content: Mapping[str, Any]


def figure_of(name: str, raw: Any) -> Figure | None:
    """Return what is shown of a metric's JSON form; None for a number, which is in the table."""
    if not isinstance(raw, Mapping):
        return None
    return Figure(
        name=name,
        kind=str(raw.get("type", "")),
        spec=plot_metric(raw, METRIC_TYPES),
        content={key: value for key, value in raw.items() if key not in ("type", "plot")},
    )
