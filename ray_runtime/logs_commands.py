"""`envelope logs`: what a deployment's replicas have logged, from wherever they run."""

from __future__ import annotations

import click

from envelope.errors import ClusterError
from envelope.settings import Settings

LINES = 50


def add_commands(group: click.Group) -> None:
    """Add the command of this module."""
    group.add_command(logs)


@click.command()
@click.argument("name")
@click.option("--error", "error_id", metavar="ID", help="Of a 500: only what was logged with it.")
@click.option("--lines", default=LINES, show_default=True, help="The last ones of each replica.")
def logs(name: str, error_id: str | None, lines: int) -> None:
    """Show what the replicas of NAME have logged, on every node, also those that have ended.

    A 500 of a deployment carries an `error_id`; --error ID finds its traceback.
    """
    from ray_runtime.connection import connect

    connect(Settings.read())
    # Ray reads its flags when it is imported; they are set by now.
    from ray_runtime.logs import lines_of_error, read_logs

    n_files = 0
    for log in read_logs(name, lines=lines if error_id is None else -1):
        n_files += 1
        shown = log.lines if error_id is None else lines_of_error(log.lines, error_id)
        if shown:
            click.echo(f"{log.node} {log.file}")
            click.echo("\n".join(shown))
            if error_id is not None:
                return
    if not n_files:
        raise ClusterError(
            f"no replica of {name} has logged anything on this cluster; `envelope deployments` "
            "lists those there are"
        )
    if error_id is not None:
        raise ClusterError(
            f"no log of {name} has the error id {error_id}; logs are lost with their node, and the "
            "oldest of a long-running replica are dropped"
        )
