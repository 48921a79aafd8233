"""Experiments: a challenger beside the live champion, until somebody says which of them won."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import select

from envelope.errors import ConfigError
from envelope.registry import deployments, exclusions
from envelope.registry import releases as states
from envelope.registry.changes import Writer
from envelope.registry.releases import EXPERIMENT
from envelope.registry.tables import releases

Arm = Literal["champion", "challenger"]


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
