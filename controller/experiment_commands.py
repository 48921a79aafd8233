"""Experiments: which envelope does better, and who won."""

from __future__ import annotations

from typing import Literal

import click

from controller.command_line import connect, find, say_if_silent


def add_commands(group: click.Group) -> None:
    """Add the commands of this module."""
    group.add_command(experiment)


@click.group()
def experiment() -> None:
    """A champion and a challenger, each with its callers (`rollout: {strategy: experiment}`)."""


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
