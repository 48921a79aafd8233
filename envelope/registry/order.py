"""Newest first: `created_at`, then `id`; pages that begin where the last one ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, tuple_

from envelope.registry.tables import WORDS, UtcTime, envelopes


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a page ended."""

    created_at: datetime
    id: str


def newest_first(
    statement: Select[Any],
    after: Position | None,
    columns: tuple[ColumnElement[Any], ColumnElement[Any]] = (
        envelopes.c.created_at,
        envelopes.c.id,
    ),
) -> Select[Any]:
    """Order by time and id, newest first, beginning after a position."""
    if after is not None:
        here = tuple_(after.created_at, after.id, types=[UtcTime(), WORDS])
        statement = statement.where(tuple_(*columns) < here)
    return statement.order_by(*(column.desc() for column in columns))
