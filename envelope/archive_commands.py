"""`envelope export` and `envelope import`: as one file, as an image, from MLflow."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("id_or_prefix", metavar="ID")
@click.option(
    "--to",
    "path",
    type=click.Path(path_type=Path),
    help="Default: <id>.envelope here, with --dockerfile <id>.image.",
)
@click.option("--dockerfile", is_flag=True, help="A folder to build an image from instead.")
@click.option("--deployment", help="With --dockerfile: first part of the URL.  [default: model]")
@click.option("--base", help="With --dockerfile: the image to start from.")
def export(
    id_or_prefix: str,
    path: Path | None,
    dockerfile: bool,
    deployment: str | None,
    base: str | None,
) -> None:
    """Write an envelope with its history to one file, for another registry to import.

    With --dockerfile: the build context of an image that serves it, without Ray.
    """
    from envelope import archive, image
    from envelope.connection import connect

    if not dockerfile and (deployment is not None or base is not None):
        raise click.UsageError("--deployment and --base go with --dockerfile")
    connection = connect()
    row = connection.registry.envelope(id_or_prefix)
    target = path or Path(f"{row.id}{image.SUFFIX if dockerfile else archive.SUFFIX}")
    if dockerfile:
        name = deployment or "model"
        click.echo(image.export_image(connection, row, target, deployment=name, base=base))
    else:
        click.echo(archive.export_envelope(connection, row, target))


@click.command("import")
@click.argument("what", metavar="FILE | mlflow")
@click.argument("model_uri", required=False)
@click.option("--name", help="Of an MLflow model: what to call the envelope.")
def import_(what: str, model_uri: str | None, name: str | None) -> None:
    """Add the envelope of FILE here: same id, its tags, metrics, functions, proofs and history.

    \b
    envelope import ltv.envelope
    envelope import mlflow models:/ltv/3       # or a folder with an MLmodel file, runs:/...

    An MLflow model becomes a new envelope, where its requirements are installed.
    """
    if what == "mlflow" and model_uri is not None:
        _import_mlflow(model_uri, name)
        return
    if model_uri is not None or name is not None:
        raise click.UsageError("give one FILE, or mlflow and the address of a model")
    from envelope.archive import import_envelope
    from envelope.connection import connect

    row, is_new = import_envelope(connect(), Path(what))
    if not is_new:
        click.echo("it is here already; nothing was changed", err=True)
    click.echo(f"{row.id}  {row.created_at:%Y-%m-%d %H:%M}  {row.name}")


def _import_mlflow(model_uri: str, name: str | None) -> None:
    from envelope.mlflow_model import import_mlflow

    envelope = import_mlflow(model_uri, name=name)
    click.echo(f"{envelope.id}  {envelope.created_at:%Y-%m-%d %H:%M}  {envelope.name}")
