"""The wanted state as YAML: apply."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from controller.command_line import connect, say_if_silent


def add_commands(group: click.Group) -> None:
    """Add the commands of this module."""
    group.add_command(apply)


@click.command()
@click.option(
    "-f",
    "--file",
    "paths",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="YAML, or a folder of it. May be given repeatedly.",
)
def apply(paths: Sequence[Path]) -> None:
    """Create and update the deployments, rules and batch jobs of YAML files.

    What the files do not name stays as it is; the same files again change nothing.
    """
    from controller.files import read_files

    state = read_files(paths)
    connection = connect()
    lines = connection.registry.apply_state(state, actor=connection.actor)
    for line in lines:
        click.echo(line)
    if not lines:
        click.echo("nothing changed")
    if state.rules:
        say_if_silent(connection)
