"""Experiments: which envelope does better, and who won."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import click

from controller.command_line import connect, find, say_if_silent

if TYPE_CHECKING:
    from controller.experiments import Arm, Experiment


def add_commands(group: click.Group) -> None:
    """Add the commands of this module."""
    group.add_command(experiment)


@click.group()
def experiment() -> None:
    """A champion and a challenger, each with its callers (`rollout: {strategy: experiment}`)."""


@experiment.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(name: str, as_json: bool) -> None:
    """Say what both arms of the experiment at /NAME have answered, also after its end."""
    from controller.experiments import read_experiment

    registry = connect().registry
    find(registry, name)
    found = read_experiment(registry, name)
    if as_json:
        click.echo(json.dumps(_record(found), indent=2))
        return
    for line in _lines(found):
        click.echo(line)


@experiment.command("end")
@click.argument("name")
@click.option(
    "--winner",
    required=True,
    type=click.Choice(["champion", "challenger"]),
    help="The champion is what is live.",
)
@click.option("--reason", default="by hand", help="For the history.")
def end(name: str, winner: Literal["champion", "challenger"], reason: str) -> None:
    """End the experiment at /NAME: the challenger takes over, or stays off until it is allowed.

    Newer matches, which have waited, come next.
    """
    connection = connect()
    find(connection.registry, name)
    release = connection.registry.end_experiment(
        name, winner, reason=reason, actor=connection.actor
    )
    challenger = release.envelope_id
    if winner == "challenger":
        click.echo(f"{challenger} takes the place of what is live on {name}")
    else:
        click.echo(
            f"{challenger} stays off {name} until `envelope allow {challenger} --to {name}`; "
            "all queries go to what is live"
        )
    say_if_silent(connection)


# --- printing


def _lines(found: Experiment) -> Iterator[str]:
    row, began = found.release, found.release.step_since
    since = f"since {began:%Y-%m-%d %H:%M:%S} UTC" if began else "starting"
    yield f"{row.deployment}: {found.what}, {since}"
    if found.has_ended:
        yield f"    it has ended: {row.state}, {row.reason}"
    yield f"{'arm':<10}  {'envelope':<26}  {'requests':>9}  {'failed':>7}  {'p50':>9}  {'p99':>9}"
    for arm in found.arms:
        yield (
            f"{arm.arm:<10}  {arm.envelope_id or '-':<26}  {arm.requests:>9}  {arm.failed:>7}  "
            f"{arm.p50:>9}  {arm.p99:>9}"
        )
    outside = found.arms[-1]
    if outside.requests:
        yield "outside: without a key, or the challenger could not answer; the champion did"


def _record(found: Experiment) -> dict[str, Any]:
    row = found.release
    return {
        "deployment": row.deployment,
        "release": row.id,
        "state": row.state,
        "reason": row.reason,
        "split": found.what,
        "since": row.step_since.isoformat() if row.step_since else None,
        "arms": [_arm_record(each) for each in found.arms],
    }


def _arm_record(arm: Arm) -> dict[str, Any]:
    values = {name: getattr(arm, name) for name in arm.__slots__}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
