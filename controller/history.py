"""The past, asked of the registry as it was: what a rule would have wanted, what was tried out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.state import EXPERIMENT
from controller.view import OF_ENVELOPES
from envelope.registry import Change, EnvelopeRow, Registry, ReleaseEvent, ReleaseRow

FEED_PAGE = 1000
SHARED = ("canary", EXPERIMENT)  # with the live one, which answers the rest
SLACK = timedelta(minutes=10)  # longer than any transaction that writes
CUT = "and no further was looked: it took too long; `envelope rule test` looks at everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """From when on which envelope was the newest match; None where nothing matched.

    because: what changed then; "" for how it was at the beginning.
    """

    at: datetime
    envelope_id: str | None
    because: str


def would_have_wanted(
    registry: Registry,
    query: str,
    since: datetime,
    is_enough: Callable[[], bool] = lambda: False,
) -> Iterator[Step]:
    """Each time the newest match of a query changed, oldest first, beginning with `since`.

    is_enough: asked before each change is looked at; ends it, with a last step that says so.
    Gates, priorities, pins and starts that fail are not played back.
    Raises QueryError.
    """
    newest = _newest(registry, query, since)
    yield Step(at=since, envelope_id=_id(newest), because="")
    asked: tuple[datetime, str] | None = None
    for change in _changes_since(registry, since):
        if (change.at, change.key) == asked:
            continue  # several of one transaction
        asked = (change.at, change.key)
        if is_enough():
            yield Step(at=change.at, envelope_id=_id(newest), because=CUT)
            return
        found = _after(registry, query, change, newest)
        if _id(found) != _id(newest):
            newest = found
            because = f"{change.kind} by {change.actor}"
            yield Step(at=change.at, envelope_id=_id(found), because=because)


def shares_at(
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
        steps = [each for each in events if each.from_state == each.to_state in SHARED]
        if steps and events[-1].to_state in (*SHARED, "starting"):
            yield row, steps[-1]


def _after(
    registry: Registry, query: str, change: Change, newest: EnvelopeRow | None
) -> EnvelopeRow | None:
    """The newest match after a change of one envelope.

    Asked of that envelope alone, unless it was the newest match: then another may be.
    """
    of_it = f"id = '{change.key}'"
    found = _newest(registry, f"({query}) and {of_it}" if query.strip() else of_it, change.at)
    if found is None:
        was_it = newest is not None and newest.id == change.key
        return _newest(registry, query, change.at) if was_it else newest
    if newest is None or (found.created_at, found.id) >= (newest.created_at, newest.id):
        return found
    return newest


def _newest(registry: Registry, query: str, at: datetime) -> EnvelopeRow | None:
    return next(registry.find(query, as_of=at, limit=1), None)


def _id(row: EnvelopeRow | None) -> str | None:
    return None if row is None else row.id


def _changes_since(registry: Registry, since: datetime) -> Iterator[Change]:
    seen = _before(registry, since)
    while page := registry.changes(seen, limit=FEED_PAGE):
        for change in page:
            if change.at > since and change.kind in OF_ENVELOPES:
                yield change
        seen = page[-1].seq


def _before(registry: Registry, since: datetime) -> int:
    """A number of the feed after which all changes since then come.

    Times follow the numbers but for the length of a transaction.
    """
    low, high, since = 0, registry.last_change(), since - SLACK
    while low < high:
        middle = (low + high) // 2
        after = registry.changes(middle, limit=1)
        if after and after[0].at < since:
            low = after[0].seq
        else:
            high = middle
    return low
