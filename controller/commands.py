"""The controller's part of the `envelope` command, put together from its subjects."""

from __future__ import annotations

import click

from controller import (
    asking_commands,
    delivery_commands,
    demo_commands,
    experiment_commands,
    lifecycle_commands,
    state_commands,
)


def add_commands(group: click.Group) -> None:
    """Add every command of this package to `group`."""
    for subject in (
        lifecycle_commands,
        state_commands,
        delivery_commands,
        asking_commands,
        experiment_commands,
        demo_commands,
    ):
        subject.add_commands(group)
