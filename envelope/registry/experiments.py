"""Experiments: a challenger beside the live champion, until somebody says which of them won.

What both answered is no change of the feed: it changes nothing that is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from envelope.errors import ConfigError
from envelope.registry import deployments, exclusions
from envelope.registry import releases as states
from envelope.registry.changes import Writer
from envelope.registry.engine import Database
from envelope.registry.releases import EXPERIMENT
from envelope.registry.tables import arm_counts, releases
from envelope.registry.text import check_text

Arm = Literal["champion", "challenger"]
OUTSIDE = "outside"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCounts:
    """What one arm of an experiment answered.

    arm: outside: what the champion answered and neither arm can claim: queries without a key, and
    those that the challenger could not answer.
    failed: with a status of 500 or more, or not at all.
    times: of those that were answered, how many took up to 0.1 ms, from there up to 1.25 times as
    long, and so on; the last ones took longer than 75 s.
    """

    arm: Literal["champion", "challenger", "outside"]
    requests: int
    failed: int
    times: tuple[int, ...]


def end(writer: Writer, deployment: str, winner: Arm, reason: str) -> str:
    """End the experiment of a deployment; return the release of its challenger.

    The challenger begins to take the champion's place, or is kept off as after a rollback, which
    takes a pin off too. Raises ConfigError where there is no experiment.
    """
    row = deployments.existing_deployment(writer, deployment)
    challenger = _newest(writer, deployment, EXPERIMENT)
    if challenger is None or row.is_removed:
        raise ConfigError(
            f"there is no experiment on {deployment}, so there is none to end; "
            f"`envelope explain {deployment}` says what is on the way"
        )
    if winner == "champion":
        champion = _newest(writer, deployment, "live")
        deployments.unpin(writer, deployment)
        back_to = None if champion is None else champion.envelope_id
        exclusions.exclude(
            writer,
            deployment,
            challenger.envelope_id,
            back_to=back_to,
            reason=f"the champion won the experiment: {reason}",
        )
    elif challenger.step is None:
        raise ConfigError(
            f"{challenger.envelope_id} is still starting on {deployment} and has answered nobody, "
            "so it cannot have won; wait until it has begun, or end it with `--winner champion`"
        )
    else:
        won = f"{challenger.envelope_id} won the experiment: {reason}"
        states.move(writer, challenger.id, "starting", reason=won, expected=EXPERIMENT)
    return str(challenger.id)


def _newest(writer: Writer, deployment: str, state: str) -> Any:
    mine = select(releases).where(releases.c.deployment == deployment, releases.c.state == state)
    newest = mine.order_by(releases.c.live_at.desc(), releases.c.id.desc()).limit(1)
    return writer.connection.execute(newest).first()


# --- what both answered


def record(database: Database, release_id: str, counting: str, counts: Sequence[ArmCounts]) -> None:
    """Keep what was counted so far, in the place of what the same counting said before."""
    check_text(counting, "the counting")
    insert = sqlite.insert if database.is_sqlite else postgresql.insert
    with database.writing() as connection:
        at = database.now(connection)
        for each in counts:
            found = {"requests": each.requests, "failed": each.failed, "times": [*each.times]}
            values = {**found, "at": at}
            statement: Any = insert(arm_counts).values(
                release_id=release_id, counting=counting, arm=each.arm, **values
            )
            keys = ["release_id", "counting", "arm"]
            connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))


def read(database: Database, release_id: str) -> list[ArmCounts]:
    """What each arm answered, over all countings; [] where nothing was counted."""
    mine = select(arm_counts).where(arm_counts.c.release_id == release_id)
    found: dict[str, ArmCounts] = {}
    with database.reading() as connection:
        for row in connection.execute(mine.order_by(arm_counts.c.arm, arm_counts.c.counting)):
            one = ArmCounts(
                arm=row.arm, requests=row.requests, failed=row.failed, times=tuple(row.times)
            )
            found[one.arm] = _add(found[one.arm], one) if one.arm in found else one
    return list(found.values())


def _add(one: ArmCounts, other: ArmCounts) -> ArmCounts:
    return ArmCounts(
        arm=one.arm,
        requests=one.requests + other.requests,
        failed=one.failed + other.failed,
        times=tuple(map(sum, zip_longest(one.times, other.times, fillvalue=0))),
    )
