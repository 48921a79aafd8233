"""What Ray runs, as a part of the `envelope` command, put together from its subjects."""

from __future__ import annotations

import click

from ray_runtime import batch_commands, cluster_commands, logs_commands


def add_commands(group: click.Group) -> None:
    """Add every command of this package to `group`."""
    for subject in (cluster_commands, logs_commands, batch_commands):
        subject.add_commands(group)
