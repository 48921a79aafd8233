"""What should run: apply, deploy, undeploy, pin, unpin; and what does: releases, explain."""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from envelope.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from controller.explain import Explanation, Opinion
    from envelope.connection import Connection
    from envelope.registry import DeploymentRow, Registry, ReleaseRow

DEFAULT_LIMIT = 20
WAIT_S = 600.0
LOOK_AGAIN_S = 2.0


def add_commands(group: click.Group) -> None:
    """Add the commands of this module."""
    for command in (
        apply,
        deploy,
        undeploy,
        pin,
        unpin,
        releases,
        explain,
        deployments,
        rules,
    ):
        group.add_command(command)


def _connect() -> Connection:
    from envelope.connection import connect

    return connect()


# --- saying what should run


@click.command()
@click.option(
    "-f",
    "--file",
    "paths",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="YAML, or a folder of it. May be given repeatedly.",
)
def apply(paths: Sequence[Path]) -> None:
    """Create and update the deployments, rules and batch jobs of YAML files.

    What the files do not name stays as it is; the same files again change nothing.
    """
    from controller.files import read_files

    state = read_files(paths)
    connection = _connect()
    lines = connection.registry.apply_state(state, actor=connection.actor)
    for line in lines:
        click.echo(line)
    if not lines:
        click.echo("nothing changed")
    if state.rules:
        _say_if_silent(connection)


@click.command()
@click.argument("id_or_prefix", metavar="ID")
@click.option("--to", "name", required=True, metavar="NAME", help="The deployment.")
@click.option("--until", metavar="TIME", help="When rules decide again: 8h, 3d, or a time.")
@click.option("--wait", "is_waiting", is_flag=True, help="Until it is live, or has failed.")
@click.option("--timeout", "timeout_s", default=WAIT_S, show_default=True, help="Of --wait, in s.")
def deploy(
    id_or_prefix: str, name: str, until: str | None, is_waiting: bool, timeout_s: float
) -> None:
    """Serve an envelope at /NAME and pin it there: rules wait until `envelope unpin NAME`."""
    from envelope import delivery

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", delivery.NoControllerWarning)  # said below, in one line
        release = delivery.deploy(id_or_prefix, to=name, until=_parse_until(until))
    click.echo(f"release {release.id}: {release.envelope_id} to {name}")
    connection = _connect()
    if not is_waiting:
        click.echo(
            f"look with `envelope releases {name}`; rules wait until `envelope unpin {name}`"
        )
        _say_if_silent(connection)
        return
    _follow(connection.registry, release.id, timeout_s)
    click.echo(f"live at {_url(connection, name)}")


@click.command()
@click.argument("name")
def undeploy(name: str) -> None:
    """Take /NAME away: it answers what it has begun, and its rules do nothing any more."""
    connection = _connect()
    was_removed = _find(connection.registry, name).is_removed
    connection.registry.request_undeploy(name, actor=connection.actor)
    if was_removed:
        click.echo(f"{name} is undeployed already")
    else:
        click.echo(
            f"{name} is being undeployed; `envelope apply` or `envelope deploy` brings it back"
        )
        _say_if_silent(connection)


@click.command()
@click.argument("name")
@click.option("--until", metavar="TIME", help="When rules decide again: 8h, 3d, or a time.")
def pin(name: str, until: str | None) -> None:
    """Keep what is live at /NAME, whatever its rules say, until `envelope unpin NAME`."""
    connection = _connect()
    _find(connection.registry, name)
    live = [row for row in connection.registry.releases(name, open_only=True) if row.live_at]
    if not live:
        raise ConfigError(
            f"nothing is live on {name}, so there is nothing to keep; "
            f"`envelope deploy ID --to {name}` pins an envelope of your choice"
        )
    connection.registry.request_deploy(
        name, live[0].envelope_id, actor=connection.actor, until=_parse_until(until)
    )
    click.echo(f"{name} is pinned to {live[0].envelope_id}; `envelope unpin {name}` ends it")


@click.command()
@click.argument("name")
def unpin(name: str) -> None:
    """Let the rules of NAME decide again."""
    connection = _connect()
    was_pinned = _find(connection.registry, name).pin_envelope_id
    connection.registry.unpin(name, actor=connection.actor)
    if was_pinned is None:
        click.echo(f"{name} was not pinned")
    else:
        click.echo(f"{name} is not pinned to {was_pinned} any more; its rules decide")


# --- asking what runs, and why


@click.command()
@click.argument("name")
@click.option("--limit", default=DEFAULT_LIMIT, show_default=True, help="0 lists all.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def releases(name: str, limit: int, as_json: bool) -> None:
    """List what was released at /NAME, newest first, each with its outcome and why."""
    registry = _connect().registry
    _find(registry, name)
    rows = registry.releases(name, limit=limit + 1 if limit else None)
    for row in rows[:limit] if limit else rows:
        click.echo(json.dumps(_release_record(row)) if as_json else _release_line(row))
    if not rows:
        click.echo(f"nothing was released on {name}; see `envelope explain {name}`", err=True)
    elif limit and len(rows) > limit:
        click.echo(f"... and more; --limit 0 lists all, above are {limit}", err=True)


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def explain(name: str, as_json: bool) -> None:
    """Say what /NAME serves and why, and of every candidate why it is wanted or not."""
    from controller.explain import explain as explain_deployment

    connection = _connect()
    found = explain_deployment(connection.registry, name, datetime.now(UTC))
    if as_json:
        click.echo(json.dumps(_explanation_record(found), indent=2))
        return
    for line in [*_situation(found), *_opinion_lines(found)]:
        click.echo(line)
    _say_if_silent(connection)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def deployments(as_json: bool) -> None:
    """List deployments with what is live on each."""
    connection = _connect()
    live = {
        row.deployment: row
        for row in connection.registry.releases(open_only=True)
        if row.state == "live"
    }
    for row in connection.registry.deployments():
        envelope_id = live[row.name].envelope_id if row.name in live else None
        if as_json:
            click.echo(json.dumps(_deployment_record(row, envelope_id)))
            continue
        notes = "undeployed" if row.is_removed else envelope_id or "nothing live"
        pinned = f"  pinned by {row.pinned_by}" if row.pin_envelope_id else ""
        click.echo(f"{row.name:<24} {notes}  {_url(connection, row.name)}{pinned}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def rules(as_json: bool) -> None:
    """List rules."""
    for row in _connect().registry.rules():
        if as_json:
            record = {field: getattr(row, field) for field in row.__slots__}
            click.echo(json.dumps(record))
            continue
        notes = "  paused" if row.paused else ""
        click.echo(f"{row.name} -> {row.deploy_to}  priority {row.priority}{notes}")
        click.echo(f"    {row.query}")


# --- times


_LENGTH = re.compile(r"(\d+)\s*([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def _parse_until(text: str | None) -> datetime | None:
    if text is None:
        return None
    if length := _LENGTH.fullmatch(text.strip()):
        return datetime.now(UTC) + timedelta(**{_UNITS[length[2]]: int(length[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        raise click.UsageError(f"--until {text!r}: use 30m, 8h, 3d or 2026-03-01T18:00Z") from exc
    if at.tzinfo is None:
        raise click.UsageError(f"--until {text} has no time zone; write {text}Z for UTC")
    return at


# --- waiting


def _follow(registry: Registry, release_id: str, timeout_s: float) -> None:
    """Print each state that a release comes to, until it is live.

    Raises ClusterError with the reason when it ends otherwise or takes too long.
    """
    began, shown = time.monotonic(), 0
    while True:
        seen = registry.last_change()
        events = registry.release_events(release_id)
        for event in events[shown:]:
            click.echo(f"{time.monotonic() - began:6.1f} s  {event.to_state:<10} {event.reason}")
        shown = len(events)
        release = registry.release(release_id)
        if release.live_at is not None:
            return
        see = f"see `envelope explain {release.deployment}`"
        if release.ended_at is not None or release.state == "held":
            raise ClusterError(f"release {release_id} is {release.state}; {see}")
        left_s = timeout_s - (time.monotonic() - began)
        if left_s <= 0:
            raise ClusterError(
                f"release {release_id} is {release.state}, not live, after {timeout_s:g} s; it "
                f"goes on without this command; {see}"
            )
        registry.wait_for_change(seen, min(left_s, LOOK_AGAIN_S))


def _say_if_silent(connection: Connection) -> None:
    from envelope.delivery import controller_silence

    if silence := controller_silence(connection):
        click.echo(f"this waits{silence}", err=True)


def _find(registry: Registry, name: str) -> DeploymentRow:
    from controller.explain import find_deployment

    return find_deployment(registry, name)


def _url(connection: Connection, name: str) -> str:
    from ray_runtime.connection import serve_url

    return f"{serve_url(connection.settings)}/{name}"


# --- printing


def _release_line(row: ReleaseRow) -> str:
    why = row.reason.splitlines() or [""]
    by = f"rule {row.rule}" if row.rule else row.actor
    return (
        f"{row.id}  {row.created_at:%Y-%m-%d %H:%M:%S}  {row.envelope_id}  {row.state:<11} "
        f"{by}: {why[0]}"
    )


def _release_record(row: ReleaseRow) -> dict[str, Any]:
    return {field: _plain(getattr(row, field)) for field in row.__slots__}


def _deployment_record(row: DeploymentRow, live: str | None) -> dict[str, Any]:
    record = {field: _plain(getattr(row, field)) for field in row.__slots__}
    return {**record, "config": row.config.model_dump(mode="json"), "live_envelope_id": live}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _situation(found: Explanation) -> Iterable[str]:
    row, live = found.deployment, found.live
    if live is None:
        yield f"{row.name}: nothing is live"
    else:
        by = (
            f"rule {live.rule} version {live.rule_version}" if live.rule else f"hand ({live.actor})"
        )
        yield f"{row.name}: {live.envelope_id} is live, since {live.live_at:%Y-%m-%d %H:%M:%S} UTC"
        yield f"  release {live.id}, by {by}, config version {live.config_version}"
    for release in found.on_the_way:
        yield f"  {release.envelope_id} is {release.state}: {release.reason}"
    wanted = found.choice.wanted
    yield f"  wanted: {wanted.envelope_id if wanted else 'no other'}, {found.choice.why}"
    for rule in found.rules:
        paused = ", paused" if rule.paused else ""
        yield f"  rule {rule.name} (priority {rule.priority}{paused}): {rule.query}"


def _opinion_lines(found: Explanation) -> Iterable[str]:
    if found.opinions:
        yield "candidates, best first"
    for each in found.opinions:
        first, *rest = _verdict(each).splitlines()
        yield f"  {each.envelope_id}  {each.created_at:%Y-%m-%d %H:%M:%S}  {each.name}: {first}"
        yield from (f"      {line}" for line in rest)


def _verdict(opinion: Opinion) -> str:
    kind = "wanted" if opinion.is_wanted else "not wanted"
    state = f" ({opinion.state})" if opinion.state else ""
    return f"{kind}{state}: {opinion.why}"


def _explanation_record(found: Explanation) -> dict[str, Any]:
    wanted = found.choice.wanted
    live = found.live
    return {
        "deployment": found.deployment.name,
        "is_removed": found.deployment.is_removed,
        "live": _release_record(live) if live else None,
        "on_the_way": [_release_record(row) for row in found.on_the_way],
        "wanted": wanted.envelope_id if wanted else None,
        "why": found.choice.why,
        "candidates": [
            {field: _plain(getattr(each, field)) for field in each.__slots__}
            for each in found.opinions
        ],
    }
