"""The controller's part of the `envelope` command, put together from its subjects."""

from __future__ import annotations

import importlib
import importlib.util

import click

SUBJECTS = ("lifecycle_commands", "delivery_commands", "demo_commands")


def add_commands(group: click.Group) -> None:
    """Add every command of this package to `group`."""
    for subject in SUBJECTS:
        name = f"{__package__}.{subject}"
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).add_commands(group)
