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
@click.option("--cluster", is_flag=True, help="On a node of the cluster, instead of here.")
@click.option("--gpus", type=float, default=0.0, help="With --cluster: how many the model needs.")
@click.option("--json", "as_json", is_flag=True, help="The proof as JSON.")
def verify(
    id_or_prefix: str, tolerance: float | None, cluster: bool, gpus: float, as_json: bool
) -> None:
    """Prove that an envelope runs elsewhere, and record it.

    Rebuilds the environment from its lock, loads it there in a fresh process, and compares the
    answers to its samples. Exit status 1 when it is not proved.
    """
    import msgspec

    from envelope import catalog

    if gpus and not cluster:
        raise click.UsageError("--gpus is what a node of the cluster has; add --cluster")
    envelope = catalog.get(id_or_prefix)
    if cluster:
        proof = _on_cluster(envelope, tolerance, gpus)
    else:
        proof = envelope.verify(tolerance=tolerance)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(proof), indent=2))
        return
    for key, value in _page(envelope, proof):
        click.echo(f"{key:<20} {value}")


def _on_cluster(envelope: Envelope, tolerance: float | None, gpus: float) -> Proof:
    """Let what runs clusters prove it: this package knows none, and imports none."""
    from importlib.metadata import entry_points

    from envelope.connection import connect
    from envelope.errors import ConfigError

    provers = entry_points(group="envelope.provers", name="cluster")
    try:
        (prove,) = (prover.load() for prover in provers)
    except (ImportError, ValueError) as exc:
        raise ConfigError(
            "--cluster needs Ray here: pip install 'model-envelope[ray]', or prove it on this "
            "machine, without --cluster"
        ) from exc
    connection = connect()
    proof: Proof = prove(
        connection,
        connection.registry.envelope(envelope.id),
        tolerance=tolerance,
        num_gpus=gpus,
        tell=lambda text: click.echo(text, err=True),
    )
    return proof


def _page(envelope: Envelope, proof: Proof) -> Iterator[tuple[str, str]]:
    from envelope.replay import in_words

    assert proof.report is not None
    yield "proved", f"{envelope.id} {envelope.name}"
    yield "environment", f"{proof.report.environment}: rebuilt, and the model loaded in it"
    yield "python", f"{proof.report.python} on {proof.platform}"
    for name, found in proof.report.functions.items():
        yield name, in_words(found)
    yield "took", f"{proof.report.took_s:.1f} s"
