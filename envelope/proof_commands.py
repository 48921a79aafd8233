"""`envelope verify`: prove an envelope on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from envelope.handle import Envelope
    from envelope.registry import Proof


@click.command()
@click.argument("id_or_prefix", metavar="ID")
@click.option("--tolerance", type=float, help="How far floats may be apart, relatively.")
@click.option("--json", "as_json", is_flag=True, help="The proof as JSON.")
def verify(id_or_prefix: str, tolerance: float | None, as_json: bool) -> None:
    """Prove that an envelope runs elsewhere, and record it.

    Rebuilds the environment from its lock, loads it there in a fresh process, and compares the
    answers to its samples. Exit status 1 when it is not proved.
    """
    import msgspec

    from envelope import catalog

    envelope = catalog.get(id_or_prefix)
    proof = envelope.verify(tolerance=tolerance)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(proof), indent=2))
        return
    for key, value in _page(envelope, proof):
        click.echo(f"{key:<20} {value}")


def _page(envelope: Envelope, proof: Proof) -> Iterator[tuple[str, str]]:
    from envelope.replay import in_words

    assert proof.report is not None
    yield "proved", f"{envelope.id} {envelope.name}"
    yield "environment", f"{proof.report.environment}: rebuilt, and the model loaded in it"
    yield "python", f"{proof.report.python} on {proof.platform}"
    for name, found in proof.report.functions.items():
        yield name, in_words(found)
    yield "took", f"{proof.report.took_s:.1f} s"
