"""The past, asked of the registry as it was: what a rule would have wanted, what was tried out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from controller.view import OF_ENVELOPES
from envelope.registry import Change, Registry, ReleaseEvent, ReleaseRow

FEED_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """From when on which envelope was the newest match; None where nothing matched.

    because: what changed then; "" for how it was at the beginning.
    """

    at: datetime
    envelope_id: str | None
    because: str


def would_have_wanted(registry: Registry, query: str, since: datetime) -> Iterator[Step]:
    """Each time the newest match of a query changed, oldest first, beginning with `since`.

    Gates, priorities, pins and starts that fail are not played back.
    Raises QueryError.
    """
    newest = _newest(registry, query, since)
    yield Step(at=since, envelope_id=newest, because="")
    asked_at = since
    for change in _changes_since(registry, since):
        if change.at == asked_at:
            continue  # several of one transaction
        asked_at = change.at
        found = _newest(registry, query, asked_at)
        if found != newest:
            newest = found
            yield Step(at=asked_at, envelope_id=found, because=f"{change.kind} by {change.actor}")


def canaries_at(
    registry: Registry, deployment: str, at: datetime
) -> Iterator[tuple[ReleaseRow, ReleaseEvent]]:
    """What answered a share of a deployment's queries then, with the event that last spoke of it.

    From the first step until it was live, or had ended.
    """
    for row in registry.releases(deployment):
        is_over = row.ended_at is not None and row.ended_at <= at
        if row.created_at > at or is_over or (row.live_at is not None and row.live_at <= at):
            continue
        events = [each for each in registry.release_events(row.id) if each.at <= at]
        steps = [each for each in events if each.from_state == each.to_state == "canary"]
        if steps and events[-1].to_state in ("canary", "starting"):
            yield row, steps[-1]


def _newest(registry: Registry, query: str, at: datetime) -> str | None:
    return next((row.id for row in registry.find(query, as_of=at, limit=1)), None)


def _changes_since(registry: Registry, since: datetime) -> Iterator[Change]:
    seen = 0
    while page := registry.changes(seen, limit=FEED_PAGE):
        for change in page:
            if change.at > since and change.kind in OF_ENVELOPES:
                yield change
        seen = page[-1].seq
