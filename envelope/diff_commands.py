"""`envelope diff`: what differs between two envelopes."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="The differences as JSON.")
def diff(a: str, b: str, as_json: bool) -> None:
    """Show what differs from envelope A to envelope B.

    Model, functions (types, source, statistics of the examples), environment, packages, local
    modules, hyperparameters, tags and the latest metrics. Nothing is unpickled.
    """
    import msgspec

    from envelope import catalog
    from envelope.diff import as_text

    found = catalog.get(a).diff(catalog.get(b))
    click.echo(json.dumps(msgspec.to_builtins(found), indent=2) if as_json else as_text(found))
