"""`envelope environments`: what this machine keeps of them, and making room."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from envelope.environment import Held


@click.command()
@click.option(
    "--prune", is_flag=True, help="Remove what nobody uses and the limit has no room for."
)
@click.option(
    "--max-bytes", type=click.IntRange(0), help="With --prune: another limit; 0 keeps none unused."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def environments(prune: bool, max_bytes: int | None, as_json: bool) -> None:
    """List the environments on this machine: state, size on disk, last use.

    Files that several share, or uv's cache has, count once for each that is listed and once in the
    sum; `freed` is what the removal of one alone would give back.
    """
    from envelope.environment import look, sweep
    from envelope.settings import Settings

    if max_bytes is not None and not prune:
        raise click.UsageError("--max-bytes is the limit of --prune; give both")
    settings = Settings.read()
    root = settings.environments_dir
    limit = settings.environments_max_bytes if max_bytes is None else max_bytes
    shown = sweep(root, limit_bytes=limit) if prune else look(root)
    if as_json:
        for one in shown:
            click.echo(json.dumps(asdict(one)))
        return
    for one in shown:
        click.echo(_line(one))
    if prune:
        click.echo(f"{len(shown)} removed; the limit is {limit / 1e6:,.0f} MB", err=True)
    else:
        total = sum(one.added_bytes for one in shown)
        click.echo(
            f"{len(shown)} in {root}: {total / 1e6:,.0f} MB on disk, the limit is "
            f"{limit / 1e6:,.0f} MB",
            err=True,
        )


def _line(one: Held) -> str:
    used = (
        "never"
        if one.last_used_at is None
        else f"{datetime.fromtimestamp(one.last_used_at, UTC):%Y-%m-%d %H:%M}"
    )
    return (
        f"{one.key}  {one.state:<11}  {one.size_bytes / 1e6:>8,.0f} MB  "
        f"freed {one.freed_bytes / 1e6:>8,.0f} MB  used {used}"
    )
