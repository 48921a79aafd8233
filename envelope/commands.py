"""Our own commands: find, show and tag envelopes; the registry's migrations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from envelope.handle import Envelope
    from envelope.manifest import Function
    from envelope.registry import Proof

DEFAULT_LIMIT = 20


def add_commands(group: click.Group) -> None:
    """Add the commands of the `envelope` package."""
    from envelope.archive_commands import export, import_
    from envelope.diff_commands import diff
    from envelope.environment_commands import environments
    from envelope.proof_commands import verify
    from envelope.token_commands import audit, token

    own = (find, show, tag, diff, verify, export, import_, environments, registry, token, audit)
    for command in own:
        group.add_command(command)


@click.command()
@click.argument("query", default="")
@click.option("--limit", default=DEFAULT_LIMIT, show_default=True, help="0 lists all.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def find(query: str, limit: int, as_json: bool) -> None:
    """List the envelopes that match QUERY, newest first.

    \b
    envelope find "tags.region = 'US' and metrics.auc > 0.9"
    """
    from envelope import catalog

    found = catalog.find(query)
    shown = islice(found, limit) if limit else found
    if as_json:
        for envelope in shown:
            click.echo(json.dumps(_summary(envelope)))
        return
    count = 0
    for envelope in shown:
        count += 1
        click.echo(
            f"{envelope.id}  {envelope.created_at:%Y-%m-%d %H:%M}  {envelope.name}  "
            f"{_joined(envelope.tags)}".rstrip()
        )
    if count == 0:
        click.echo("no envelope matches", err=True)
    elif limit and next(found, None) is not None:
        click.echo(f"... and more; --limit 0 lists all, above are {limit}", err=True)


@click.command()
@click.argument("id_or_prefix", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="All that is known, as JSON.")
def show(id_or_prefix: str, as_json: bool) -> None:
    """Show one envelope: what it is, what it takes and needs, its tags and metrics."""
    from envelope import catalog

    envelope = catalog.get(id_or_prefix)
    if as_json:
        click.echo(json.dumps(_everything(envelope), indent=2))
        return
    for key, value in _page(envelope):
        lines = str(value).splitlines() or [""]
        click.echo(f"{key:<20} {lines[0]}".rstrip())
        for line in lines[1:]:
            click.echo(f"{'':<20} {line}")


@click.command()
@click.argument("id_or_prefix", metavar="ID")
@click.argument("assignments", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--remove", "removed", multiple=True, metavar="KEY", help="May be given repeatedly.")
def tag(id_or_prefix: str, assignments: tuple[str, ...], removed: tuple[str, ...]) -> None:
    """Set and remove tags of an envelope; without any, list them."""
    from envelope import catalog

    changes: dict[str, str] = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not (key and separator):
            raise click.UsageError(f"{assignment!r} is not KEY=VALUE, as in region=US")
        changes[key] = value
    if both := sorted(set(changes) & set(removed)):
        raise click.UsageError(f"{', '.join(both)}: set and removed at once; give one of them")
    envelope = catalog.get(id_or_prefix)
    if changes or removed:
        envelope.change_tags({**changes, **dict.fromkeys(removed)})
    for key, value in envelope.tags.items():
        click.echo(f"{key}={value}")


@click.group()
def registry() -> None:
    """Look after the registry's database."""


@registry.command()
def upgrade() -> None:
    """Bring the registry's tables to this version; run it before using a new one.

    The embedded SQLite registry does so by itself.
    """
    from envelope import registry as registries
    from envelope.settings import Settings

    version = registries.upgrade(Settings.read().registry_url)
    click.echo(f"the registry has schema {version}")


def _summary(envelope: Envelope) -> dict[str, Any]:
    return {
        "id": envelope.id,
        "name": envelope.name,
        "description": envelope.description,
        "created_at": envelope.created_at.isoformat(),
        "created_by": envelope.created_by,
        "tags": dict(envelope.tags),
    }


def _everything(envelope: Envelope) -> dict[str, Any]:
    import msgspec

    return {
        **_summary(envelope),
        "metrics": envelope.metrics_json(),
        "proofs": msgspec.to_builtins(envelope.proofs()),
        "functions": {
            name: msgspec.to_builtins(function) for name, function in envelope.functions.items()
        },
        "manifest": msgspec.to_builtins(envelope.manifest),
    }


def _page(envelope: Envelope) -> Iterator[tuple[str, object]]:
    manifest = envelope.manifest
    yield "id", envelope.id
    yield "name", envelope.name
    yield "description", envelope.description
    yield "created", f"{envelope.created_at:%Y-%m-%d %H:%M:%S} UTC by {envelope.created_by}"
    yield "tags", _joined(envelope.tags, "\n")
    yield "metrics", "\n".join(_metric_lines(envelope.metrics_json()))
    yield "proofs", "\n".join(_proof_lines(envelope.proofs()))
    for name, function in envelope.functions.items():
        default = " (default)" if name == manifest.default_function else ""
        yield f"function{default}", "\n".join([name, *_function_lines(function)])
    yield "hyperparameters", json.dumps(manifest.hyperparameters)
    yield "datasets", "\n".join(_dataset_lines(manifest.datasets))
    yield "python", manifest.environment.python
    yield "packages", "\n".join(f"{p.name}=={p.version}" for p in manifest.environment.packages)
    yield "modules", ", ".join(module.name for module in manifest.environment.modules)
    yield "code", _code(manifest.context)
    size_bytes = sum(blob.size_bytes for blob in manifest.artifact.blobs)
    yield "bytes", f"{size_bytes:,} ({manifest.artifact.codec}: {manifest.artifact.type})"


def _function_lines(function: Function) -> Iterator[str]:
    from envelope.schema.types import Frame
    from envelope.schema.words import describe

    for parameter in function.schema.parameters:
        yield f"  {parameter.name}: {describe(parameter.type)}"
        columns = parameter.type.columns if isinstance(parameter.type, Frame) else ()
        yield from (f"    {column.name}: {describe(column.type)}" for column in columns)
    if function.schema.output is not None:
        yield f"  -> {describe(function.schema.output)}"
    kind = "one output per row" if function.row_wise.is_row_wise else function.row_wise.reason
    yield f"  {kind}"
    if function.no_sample_reason:
        yield f"  no sample: {function.no_sample_reason}"


def _proof_lines(proofs: Iterable[Proof]) -> Iterator[str]:
    for proof in {proof.platform: proof for proof in proofs}.values():  # the last one counts
        outcome = "proved" if proof.ok else "not proved"
        why = "" if proof.ok else f": {proof.detail.splitlines()[0]}"
        yield f"{outcome} on {proof.platform} at {proof.at:%Y-%m-%d %H:%M} by {proof.actor}{why}"


def _dataset_lines(datasets: Mapping[str, Any]) -> Iterator[str]:
    for name, found in datasets.items():
        rows = f"{found['rows']:,} rows x {found['columns']:,} columns" if "rows" in found else ""
        where, sha256 = found.get("uri", ""), found.get("sha256", found.get("etag", ""))
        yield " ".join(part for part in (f"{name}:", where, rows, sha256[:12]) if part)


def _metric_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    from envelope.metrics import words_of

    return (f"{name} = {words_of(value)}" for name, value in sorted(metrics.items()))


def _code(context: Mapping[str, Any]) -> str:
    git = context.get("git", {})
    changed = " with changes that are not committed" if git.get("is_dirty") else ""
    source = context.get("notebook") or context.get("script") or ""
    return f"{source} at git {git.get('commit', 'unknown')}{changed}".strip()


def _joined(tags: Mapping[str, str], separator: str = " ") -> str:
    return separator.join(f"{key}={value}" for key, value in tags.items())
