"""What the commands of this package share: the connection, names, and times as they are typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from envelope.connection import Connection
    from envelope.registry import DeploymentRow, Registry


def connect() -> Connection:
    """Open the registry and store of this process's settings."""
    from envelope.connection import connect as open_connection

    return open_connection()


def say_if_silent(connection: Connection) -> None:
    """Say so when no controller carries out what was asked for."""
    from envelope.delivery import controller_silence

    if silence := controller_silence(connection):
        click.echo(f"this waits{silence}", err=True)


def find(registry: Registry, name: str) -> DeploymentRow:
    """Read one deployment. Raises ConfigError naming those there are."""
    from controller.explain import find_deployment

    return find_deployment(registry, name)


def url_of(connection: Connection, name: str) -> str:
    """Where a deployment answers."""
    from ray_runtime.connection import serve_url

    return f"{serve_url(connection.settings)}/{name}"


# --- times


_LENGTH = re.compile(r"(\d+)\s*([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def parse_until(text: str | None) -> datetime | None:
    """Read the end of a pin: a length from now, or a time. Raises UsageError."""
    return None if text is None else _parse_time("--until", text, sign=1)


def parse_past(option: str, text: str) -> datetime:
    """Read a time that is over: a length before now, or a time. Raises UsageError."""
    return _parse_time(option, text, sign=-1)


def _parse_time(option: str, text: str, *, sign: int) -> datetime:
    if length := _LENGTH.fullmatch(text.strip()):
        return datetime.now(UTC) + sign * timedelta(**{_UNITS[length[2]]: int(length[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        raise click.UsageError(f"{option} {text!r}: use 30m, 8h, 3d or 2026-03-01T18:00Z") from exc
    if at.tzinfo is None:
        raise click.UsageError(f"{option} {text} has no time zone; write {text}Z for UTC")
    return at
