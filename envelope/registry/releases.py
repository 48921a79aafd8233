"""Releases: one envelope on one deployment, and every state that it went through.

candidate -> gated -> (shadow, canary or experiment) -> starting -> live -> retired
and from there to held, rejected, failed, rolled_back or removed. The history is never rewritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from ulid import ULID

from envelope.errors import ConfigError, EnvelopeError
from envelope.registry.changes import Writer
from envelope.registry.engine import Database
from envelope.registry.tables import release_events, releases
from envelope.registry.text import check_text

# What may follow what. A state that nothing follows has ended.
_GIVEN_UP = frozenset({"retired", "rejected", "failed", "rolled_back", "removed"})
EXPERIMENT = "experiment"
TRIED = ("shadow", "canary", EXPERIMENT)  # beside the live one
TRANSITIONS: Mapping[str, frozenset[str]] = {
    # Again, for what it waits for: a gate that runs.
    "candidate": frozenset({"candidate", "gated", "held", "starting"}) | _GIVEN_UP,
    "gated": frozenset({*TRIED, "starting", "held"}) | _GIVEN_UP,
    "shadow": frozenset({"shadow", "starting", "held"}) | _GIVEN_UP,  # once per step, and reason
    "canary": frozenset({"canary", "starting", "held"}) | _GIVEN_UP,
    EXPERIMENT: frozenset({EXPERIMENT, "starting", "held"}) | _GIVEN_UP,
    "held": frozenset({"candidate", "gated", "starting", "held"}) | _GIVEN_UP,  # for other reasons
    "starting": frozenset({"live", "held"}) | _GIVEN_UP,
    "live": _GIVEN_UP - {"rejected"},
    **{state: frozenset() for state in _GIVEN_UP},
}
ENDED = _GIVEN_UP


class StaleRelease(EnvelopeError):
    """The release is not in the state that the caller expected: read it again, and decide again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRow:
    """A release as it is now. rule: None when it was deployed by hand.

    reason: why it is in this state. live_at, ended_at: None until it is.
    app_version: of the application that was tried, where that was recorded.
    step: of its rollout, from 0; None before the first. step_since: when that began.
    """

    id: str
    deployment: str
    envelope_id: str
    state: str
    rule: str | None
    rule_version: int | None
    config_version: int
    app_version: str | None
    actor: str
    reason: str
    created_at: datetime
    updated_at: datetime
    live_at: datetime | None
    ended_at: datetime | None
    step: int | None = None
    step_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseEvent:
    """One transition. from_state: None for the first."""

    from_state: str | None
    to_state: str
    at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRelease:
    """What a release begins with."""

    deployment: str
    envelope_id: str
    rule: str | None
    rule_version: int | None
    config_version: int
    reason: str
    state: str = "candidate"


def create(writer: Writer, new: NewRelease) -> str:
    """Record a release; return its id. Raises ConfigError for a state that there is not."""
    if new.state not in TRANSITIONS:
        raise ConfigError(f"{new.state!r} is no state of a release; there are {_states()}")
    check_text(new.reason, "the reason")
    now = writer.now()
    release_id = str(ULID.from_datetime(now))
    row = {
        "id": release_id,
        "deployment": new.deployment,
        "envelope_id": new.envelope_id,
        "state": new.state,
        "rule": new.rule,
        "rule_version": new.rule_version,
        "config_version": new.config_version,
        "actor": writer.actor,
        "reason": new.reason,
        "created_at": now,
    }
    writer.connection.execute(insert(releases), {**row, **_stamps(new.state, now)})
    _record(writer, release_id, None, new.state, now, new.reason)
    return release_id


def move(
    writer: Writer,
    release_id: str,
    to_state: str,
    *,
    reason: str,
    expected: str | None,
    app_version: str | None = None,
    step: int | None = None,
) -> None:
    """Move a release to its next state. app_version: None keeps what is recorded.

    step: of its rollout that begins now; None keeps what is recorded, and what begins to be
    tried out (anew) has none yet.

    Raises StaleRelease when it is not in `expected`, EnvelopeError for a move that cannot be.
    """
    check_text(reason, "the reason")
    mine = select(releases.c.state).where(releases.c.id == release_id)
    state: str | None = writer.connection.execute(mine.with_for_update()).scalar()
    if state is None:
        raise _unknown(release_id)
    if expected is not None and state != expected:
        raise StaleRelease(
            f"release {release_id} is {state}, not {expected}: something else moved it; "
            "read it again and decide again"
        )
    check_transition(release_id, state, to_state)
    now = writer.now()
    row = {"state": to_state, "reason": reason, **_stamps(to_state, now)}
    row |= {"app_version": app_version} if app_version is not None else {}
    if step is not None:
        row |= {"step": step, "step_since": now}
    elif to_state in TRIED and state != to_state:
        row |= {"step": None, "step_since": None}
    writer.connection.execute(update(releases).where(releases.c.id == release_id).values(row))
    _record(writer, release_id, state, to_state, now, reason)


def check_transition(release_id: str, state: str, to_state: str) -> None:
    """Raise EnvelopeError unless `to_state` may follow `state`."""
    if to_state not in TRANSITIONS:
        raise EnvelopeError(f"{to_state!r} is no state of a release; there are {_states()}")
    if to_state not in TRANSITIONS[state]:
        allowed = ", ".join(sorted(TRANSITIONS[state])) or "nothing, it has ended"
        raise EnvelopeError(
            f"release {release_id} is {state} and cannot become {to_state}; may follow: {allowed}"
        )


def _states() -> str:
    return ", ".join(TRANSITIONS)


def _stamps(state: str, now: datetime) -> dict[str, datetime]:
    stamps = {"updated_at": now}
    if state == "live":
        stamps["live_at"] = now
    if state in ENDED:
        stamps["ended_at"] = now
    return stamps


def _record(
    writer: Writer, release_id: str, old: str | None, new: str, at: datetime, reason: str
) -> None:
    event = {"release_id": release_id, "from_state": old, "to_state": new}
    event_row = {**event, "at": at, "actor": writer.actor, "reason": reason}
    writer.connection.execute(insert(release_events), event_row)
    writer.note("release", release_id, at, state=[old, new], reason=reason)


def _unknown(release_id: str) -> EnvelopeError:
    return EnvelopeError(f"there is no release {release_id!r}; `envelope releases` lists those")


def read_one(database: Database, release_id: str) -> ReleaseRow:
    """Read one release. Raises EnvelopeError when there is none."""
    with database.reading() as connection:
        row = connection.execute(select(releases).where(releases.c.id == release_id)).mappings()
        found = row.first()
    if found is None:
        raise _unknown(release_id)
    return ReleaseRow(**found)


def read_many(
    database: Database,
    deployment: str | None,
    *,
    envelope_id: str | None,
    open_only: bool,
    limit: int | None,
) -> list[ReleaseRow]:
    """Releases, newest first. open_only: those that have not ended."""
    query = select(releases).order_by(releases.c.created_at.desc(), releases.c.id.desc())
    if deployment is not None:
        query = query.where(releases.c.deployment == deployment)
    if envelope_id is not None:
        query = query.where(releases.c.envelope_id == envelope_id)
    if open_only:
        query = query.where(releases.c.ended_at.is_(None))
    with database.reading() as connection:
        rows: Any = connection.execute(query.limit(limit)).mappings()
        return [ReleaseRow(**row) for row in rows]


def read_live_at(database: Database, deployment: str, at: datetime) -> list[ReleaseRow]:
    """The releases that were live at a time, the one that became live last first."""
    query = (
        select(releases)
        .where(releases.c.deployment == deployment, releases.c.live_at <= at)
        .where(releases.c.ended_at.is_(None) | (releases.c.ended_at > at))
        .order_by(releases.c.live_at.desc(), releases.c.id.desc())
    )
    with database.reading() as connection:
        rows: Any = connection.execute(query).mappings()
        return [ReleaseRow(**row) for row in rows]


def read_events(database: Database, release_id: str) -> list[ReleaseEvent]:
    """Every transition of a release, oldest first."""
    columns = (
        release_events.c[name] for name in ("from_state", "to_state", "at", "actor", "reason")
    )
    mine = select(*columns).where(release_events.c.release_id == release_id)
    with database.reading() as connection:
        rows = connection.execute(mine.order_by(release_events.c.id)).mappings()
        return [ReleaseEvent(**row) for row in rows]
