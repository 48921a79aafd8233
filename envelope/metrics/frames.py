"""Metrics of many envelopes as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from envelope.metrics.codec import decode_metric

if TYPE_CHECKING:
    import pandas as pd

    from envelope.registry import EnvelopeRow, FieldRow, MetricPoint


def frame_of_metrics(
    rows: Iterable[EnvelopeRow],
    points: Iterable[MetricPoint],
    names: Sequence[str] | None,
    form: Literal["latest", "history"],
) -> pd.DataFrame:
    """Lay metrics out as a table; see `envelope.metrics_frame`."""
    if form == "latest":
        return _latest(list(rows), points, names)
    return _history(rows, points)


def with_fields(
    frame: pd.DataFrame, rows: Iterable[FieldRow], fields: Sequence[str]
) -> pd.DataFrame:
    """Add a column per field to a table that has an envelope in each row."""
    import pandas as pd

    values = {row.envelope_id: row.values for row in rows}
    added = {
        field: [values.get(one, {}).get(field) for one in frame["envelope_id"]]
        for field in fields
        if field not in frame
    }
    return pd.concat([frame, pd.DataFrame(added, index=frame.index)], axis="columns")


def _latest(
    rows: list[EnvelopeRow], points: Iterable[MetricPoint], names: Sequence[str] | None
) -> pd.DataFrame:
    import pandas as pd

    latest: dict[tuple[str, str], MetricPoint] = {}
    for point in points:
        known = latest.get((point.envelope_id, point.name))
        if known is None or point.at >= known.at:  # of one time, the one logged last
            latest[point.envelope_id, point.name] = point
    columns: dict[str, list[Any]] = {
        "envelope_id": [row.id for row in rows],
        "name": [row.name for row in rows],
        "created_at": [row.created_at for row in rows],
    }
    for key in sorted({key for row in rows for key in row.tags}):
        columns[f"tags.{key}"] = [row.tags.get(key) for row in rows]
    for name in names if names is not None else sorted({name for _, name in latest}):
        found = [latest.get((row.id, name)) for row in rows]
        column = f"metrics.{name}" if name in columns else name
        columns[column] = [math.nan if p is None else decode_metric(p.value) for p in found]
    return pd.DataFrame(columns)


def _history(rows: Iterable[EnvelopeRow], points: Iterable[MetricPoint]) -> pd.DataFrame:
    import pandas as pd

    by_id = {row.id: row for row in rows}
    logged = [point for point in points if point.envelope_id in by_id]
    return pd.DataFrame(
        {
            "envelope_id": [point.envelope_id for point in logged],
            "name": [by_id[point.envelope_id].name for point in logged],
            "created_at": [by_id[point.envelope_id].created_at for point in logged],
            "metric": [point.name for point in logged],
            "value": [decode_metric(point.value) for point in logged],
            "at": [point.at for point in logged],
            "actor": [point.actor for point in logged],
        }
    )
