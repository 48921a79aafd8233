"""What runs, and why: releases, explain, who-answered, deployments, rules."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from controller.command_line import connect, find, parse_past, say_if_silent, url_of
from envelope.errors import ModelNotFound

if TYPE_CHECKING:
    from controller.explain import Explanation, Opinion
    from envelope.registry import DeploymentRow, ReleaseEvent, ReleaseRow

DEFAULT_LIMIT = 20


def add_commands(group: click.Group) -> None:
    """Add the commands of this module."""
    for command in (releases, explain, who_answered, deployments, rules):
        group.add_command(command)


@click.command()
@click.argument("name")
@click.option("--limit", default=DEFAULT_LIMIT, show_default=True, help="0 lists all.")
@click.option("--events", "with_events", is_flag=True, help="Every state, with its reason.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, events included.")
def releases(name: str, limit: int, with_events: bool, as_json: bool) -> None:
    """List what was released at /NAME, newest first, each with its outcome and why."""
    registry = connect().registry
    find(registry, name)
    rows = registry.releases(name, limit=limit + 1 if limit else None)
    for row in rows[:limit] if limit else rows:
        events = registry.release_events(row.id) if as_json or with_events else []
        if as_json:
            record = {**_release_record(row), "events": [_release_record(each) for each in events]}
            click.echo(json.dumps(record))
            continue
        click.echo(_release_line(row))
        for event in events:
            moved = f"{event.at:%Y-%m-%d %H:%M:%S}  {event.to_state:<11} {event.actor}"
            click.echo(f"    {moved}: {event.reason}")
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

    connection = connect()
    found = explain_deployment(connection.registry, name, datetime.now(UTC))
    if as_json:
        click.echo(json.dumps(_explanation_record(found), indent=2))
        return
    for line in [*_situation(found), *_opinion_lines(found)]:
        click.echo(line)
    say_if_silent(connection)


@click.command("who-answered")
@click.argument("name")
@click.option("--at", "text", required=True, metavar="TIME", help="A time, or 8h for 8 h ago.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def who_answered(name: str, text: str, as_json: bool) -> None:
    """Say which envelope answered at /NAME at a time: two while one took the other's place.

    What answered a share of the queries (a canary, a challenger) comes after what was live.
    """
    from controller.history import shares_at

    registry = connect().registry
    find(registry, name)
    at = parse_past("--at", text)
    rows = registry.live_at(name, at)
    if not rows:
        raise ModelNotFound(
            f"nothing was live on {name} at {at.isoformat(timespec='seconds')}; see "
            f"`envelope releases {name}`"
        )
    for row in rows:
        if as_json:
            click.echo(json.dumps(_release_record(row)))
            continue
        until = f"{row.ended_at:%Y-%m-%d %H:%M:%S}" if row.ended_at else "now"
        by = f"rule {row.rule} version {row.rule_version}" if row.rule else f"hand ({row.actor})"
        click.echo(f"{row.envelope_id}  live {row.live_at:%Y-%m-%d %H:%M:%S} to {until} UTC")
        click.echo(f"    release {row.id}, by {by}, config version {row.config_version}")
    for row, step in shares_at(registry, name, at):
        if as_json:
            click.echo(json.dumps(_release_record(row)))
            continue
        click.echo(f"{row.envelope_id}  a share, since {step.at:%Y-%m-%d %H:%M:%S} UTC")
        click.echo(f"    release {row.id}, {step.reason}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def deployments(as_json: bool) -> None:
    """List deployments with what is live on each."""
    from controller.explain import alarm_of

    connection = connect()
    live = {
        row.deployment: row
        for row in connection.registry.releases(open_only=True)
        if row.state == "live"
    }
    for row in connection.registry.deployments():
        envelope_id = live[row.name].envelope_id if row.name in live else None
        alarm = alarm_of(connection.registry, row, live.get(row.name), datetime.now(UTC))
        if as_json:
            click.echo(json.dumps({**_deployment_record(row, envelope_id), "alarm": alarm}))
            continue
        notes = "undeployed" if row.is_removed else envelope_id or "nothing live"
        pinned = f"  pinned by {row.pinned_by}" if row.pin_envelope_id else ""
        made = f"  made by {row.made_of.template}" if row.made_of else ""
        click.echo(f"{row.name:<24} {notes}  {url_of(connection, row.name)}{pinned}{made}")
        if alarm is not None:
            click.echo(f"    OVERDUE: {alarm}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def rules(as_json: bool) -> None:
    """List rules, and of each template what it makes."""
    from controller.making import describe_place, place_record, placed

    registry = connect().registry
    places = placed(registry)
    for row in registry.rules():
        mine = [place for place in places if place.rule.name == row.name]
        if as_json:
            record = {field: getattr(row, field) for field in row.__slots__}
            click.echo(json.dumps({**record, "places": [place_record(place) for place in mine]}))
            continue
        notes = "  paused" if row.paused else ""
        click.echo(f"{row.name} -> {row.deploy_to}  priority {row.priority}{notes}")
        click.echo(f"    {row.query}")
        for place in mine:
            click.echo(f"    {describe_place(place)}")


# --- printing


def _release_line(row: ReleaseRow) -> str:
    why = row.reason.splitlines() or [""]
    by = f"rule {row.rule}" if row.rule else row.actor
    return (
        f"{row.id}  {row.created_at:%Y-%m-%d %H:%M:%S}  {row.envelope_id}  {row.state:<11} "
        f"{by}: {why[0]}"
    )


def _release_record(row: ReleaseRow | ReleaseEvent) -> dict[str, Any]:
    return {field: _plain(getattr(row, field)) for field in row.__slots__}


def _deployment_record(row: DeploymentRow, live: str | None) -> dict[str, Any]:
    record = {field: _plain(getattr(row, field)) for field in row.__slots__}
    record["made_of"] = asdict(row.made_of) if row.made_of else None
    return {**record, "config": row.config.model_dump(mode="json"), "live_envelope_id": live}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _situation(found: Explanation) -> Iterable[str]:
    from controller.gates import describe_gates
    from envelope.deployment_names import describe

    row, live = found.deployment, found.live
    if live is None:
        yield f"{row.name}: nothing is live"
    else:
        by = (
            f"rule {live.rule} version {live.rule_version}" if live.rule else f"hand ({live.actor})"
        )
        yield f"{row.name}: {live.envelope_id} is live, since {live.live_at:%Y-%m-%d %H:%M:%S} UTC"
        yield f"  release {live.id}, by {by}, config version {live.config_version}"
    if found.alarm is not None:
        yield f"  OVERDUE: {found.alarm}"
    for release in found.on_the_way:
        yield f"  {release.envelope_id} is {release.state}: {release.reason}"
    wanted = found.choice.wanted
    yield f"  wanted: {wanted.envelope_id if wanted else 'no other'}, {found.choice.why}"
    gates = describe_gates(row.config.gates)
    if row.made_of is not None:
        config = ", with its configuration" if row.is_made else ", with a configuration of its own"
        yield f"  made by {row.made_of.template} for {describe(row.made_of.tags)}{config}"
    yield f"  gates: {', '.join(gates) if gates else 'none'}, sample replay"
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
        "made_of": asdict(found.deployment.made_of) if found.deployment.made_of else None,
        "live": _release_record(live) if live else None,
        "on_the_way": [_release_record(row) for row in found.on_the_way],
        "wanted": wanted.envelope_id if wanted else None,
        "why": found.choice.why,
        "alarm": found.alarm,
        "gates": found.deployment.config.gates.model_dump(mode="json"),
        "candidates": [
            {field: _plain(getattr(each, field)) for field in each.__slots__}
            for each in found.opinions
        ],
    }
