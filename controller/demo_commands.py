"""`envelope demo`."""

from __future__ import annotations

import click

from envelope.settings import Settings


def add_commands(group: click.Group) -> None:
    """Add `demo` to `group`."""
    group.add_command(_demo)


@click.command("demo")
def _demo() -> None:
    """Train, save, deploy by a tag, swap under load, score a table: the whole story."""
    from controller.demo import run_demo  # httpx and pandas, for this command alone

    run_demo(Settings.read())
