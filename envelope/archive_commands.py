"""`envelope export` and `envelope import`: an envelope as one file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("id_or_prefix", metavar="ID")
@click.option("--to", "path", type=click.Path(path_type=Path), help="Default: <id>.envelope here.")
def export(id_or_prefix: str, path: Path | None) -> None:
    """Write an envelope with its history to one file, for another registry to import."""
    from envelope.archive import SUFFIX, export_envelope
    from envelope.connection import connect

    connection = connect()
    row = connection.registry.envelope(id_or_prefix)
    click.echo(export_envelope(connection, row, path or Path(f"{row.id}{SUFFIX}")))


@click.command("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
def import_(path: Path) -> None:
    """Add the envelope of FILE here: same id, its tags, metrics, functions, proofs and history."""
    from envelope.archive import import_envelope
    from envelope.connection import connect

    row, is_new = import_envelope(connect(), path)
    if not is_new:
        click.echo("it is here already; nothing was changed", err=True)
    click.echo(f"{row.id}  {row.created_at:%Y-%m-%d %H:%M}  {row.name}")
