"""The `envelope` command: a group that every installed package adds its own commands to.

A package brings them by an entry point of the group "envelope.commands", a function
`add_commands(group)`. One whose extra is not installed is passed over, until one of its commands
may have been meant.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from envelope.errors import EnvelopeError

ENTRY_POINTS = "envelope.commands"
OWN = "envelope"  # loaded first: finding and showing needs no other package


class Commands(click.Group):
    """Loads the packages' commands when they are asked for, our own first."""

    def __init__(self, *, sources: Iterable[EntryPoint] | None = None, **options: Any) -> None:
        super().__init__(**options)
        found = entry_points(group=ENTRY_POINTS) if sources is None else sources
        self._waiting = sorted(found, key=lambda source: source.name != OWN)
        self._missing: dict[str, ImportError] = {}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        while cmd_name not in self.commands and self._waiting:
            self._load(self._waiting.pop(0))
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        while self._waiting:
            self._load(self._waiting.pop(0))
        return super().list_commands(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            if not self._missing:
                raise
            lines = [exc.format_message(), *map(_not_installed, self._missing.items())]
            raise click.UsageError("\n".join(lines), ctx=ctx) from exc

    def _load(self, source: EntryPoint) -> None:
        try:
            add_commands = source.load()
        except ImportError as exc:
            self._missing[source.name] = exc
            return
        add_commands(self)


def _not_installed(missing: tuple[str, ImportError]) -> str:
    package, error = missing
    return (
        f"The commands of {package} are not installed here ({error}); "
        "run: pip install 'model-envelope[controller]'"
    )


def make_group(sources: Iterable[EntryPoint] | None = None) -> click.Group:
    """Return the whole command. sources: entry points; None: those that are installed."""
    group = Commands(
        sources=sources,
        name="envelope",
        help="Save models, and let rules over their tags put them into production.",
    )
    return click.version_option(package_name="model-envelope")(group)


def main(arguments: list[str] | None = None) -> None:
    """Run the command. Exit status: 0, 1 when it failed, 2 for wrong usage."""
    try:
        make_group().main(args=arguments, prog_name="envelope", standalone_mode=True)
    except EnvelopeError as exc:
        click.echo(f"error: {exc}", err=True)
        sys.exit(1)
