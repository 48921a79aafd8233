"""A query tried: what it matches now, and what it would have put on a deployment in the past."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from controller.history import Step, would_have_wanted
from envelope.registry import EnvelopeRow, Registry

PREVIEW_ROWS = 5
PREVIEW_STEPS = 30
PAST = timedelta(days=30)
BUDGET_S = 0.5  # a page is waited for; `envelope rule test` looks at everything
RELEASES = 500  # of one deployment, newest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A step of the past. was: what became of that envelope on the deployment in truth."""

    step: Step
    was: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """matches: the newest; the first is what would be wanted. is_more: there are others.

    past: oldest first.
    """

    matches: tuple[EnvelopeRow, ...]
    is_more: bool
    past: tuple[Past, ...]
    days: int = PAST.days


def try_query(registry: Registry, query: str, deployment: str = "") -> Trial:
    """Try a query that can be understood. deployment: tells what was released there in truth."""
    since, ends_at = datetime.now(UTC) - PAST, time.monotonic() + BUDGET_S
    found = list(registry.find(query, limit=PREVIEW_ROWS + 1))
    steps = would_have_wanted(registry, query, since, lambda: time.monotonic() > ends_at)
    released = _released(registry, deployment) if deployment else None
    return Trial(
        matches=tuple(found[:PREVIEW_ROWS]),
        is_more=len(found) > PREVIEW_ROWS,
        past=tuple(
            Past(step=step, was="" if released is None else _was(step, released))
            for step in islice(steps, PREVIEW_STEPS)
        ),
    )


def _released(registry: Registry, deployment: str) -> dict[str, datetime | None]:
    """When each envelope was first live on a deployment; None for those that never were."""
    known = {row.name for row in registry.deployments()}
    if deployment not in known:
        return {}
    released: dict[str, datetime | None] = {}
    for row in registry.releases(deployment, limit=RELEASES):  # newest first
        released[row.envelope_id] = row.live_at or released.get(row.envelope_id)
    return released


def _was(step: Step, released: dict[str, datetime | None]) -> str:
    if step.envelope_id is None:
        return ""
    if step.envelope_id not in released:
        return "was never released there"
    live_at = released[step.envelope_id]
    if live_at is None:
        return "was released there, and never live"
    return f"was live there from {live_at:%Y-%m-%d %H:%M}"
