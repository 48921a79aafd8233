"""The wanted state as YAML: apply, diff-state, export-state, rule test."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.command_line import connect, parse_past, say_if_silent
from envelope.errors import ConfigError

if TYPE_CHECKING:
    from envelope.registry import Registry, RuleRow


def add_commands(group: click.Group) -> None:
    """Add the commands of this module."""
    for command in (apply, diff_state, export_state, rule):
        group.add_command(command)


def _files(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "-f",
        "--file",
        "paths",
        multiple=True,
        required=True,
        type=click.Path(path_type=Path),
        help="YAML, or a folder of it. May be given repeatedly.",
    )(function)


@click.command()
@_files
@click.option("--prune", "is_pruning", is_flag=True, help="Remove what the files do not name.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would change, change nothing.")
def apply(paths: Sequence[Path], is_pruning: bool, is_dry: bool) -> None:
    """Create and update the deployments, rules and batch jobs of YAML files.

    The same files again change nothing. What the files do not name stays as it is; with --prune its
    rules and batch jobs are removed, and its deployments undeployed.
    """
    from controller.files import read_files

    state = read_files(paths)
    connection = connect()
    carry_out = connection.registry.plan_state if is_dry else connection.registry.apply_state
    rest: Any = "remove" if is_pruning else "keep"
    lines = carry_out(state, actor=connection.actor, rest=rest)
    for line in lines:
        click.echo(line)
    if not lines:
        click.echo("nothing would change" if is_dry else "nothing changed")
    if state.rules and not is_dry:
        say_if_silent(connection)


@click.command("diff-state")
@_files
def diff_state(paths: Sequence[Path]) -> None:
    """Say how the registry differs from YAML files: what `apply --prune` would change.

    Exit status 1 when it does.
    """
    from controller.files import read_files

    connection = connect()
    lines = connection.registry.plan_state(read_files(paths), actor=connection.actor, rest="remove")
    for line in lines:
        click.echo(line)
    if lines:
        sys.exit(1)
    click.echo("no difference")


@click.command("export-state")
def export_state() -> None:
    """Write all deployments, rules and batch jobs as YAML, which `apply` makes the same of."""
    import yaml

    state = connect().registry.state()
    plain = state.model_dump(mode="json", exclude_defaults=True)
    click.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), nl=False)


@click.group()
def rule() -> None:
    """Look at rules before they are applied."""


@rule.command("test")
@click.argument("file_or_name", metavar="FILE|NAME")
@click.option("--since", default="30d", show_default=True, help="8h, 30d, or a time.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def test_rule(file_or_name: str, since: str, as_json: bool) -> None:
    """Say what a rule would have wanted since then, and when: each change of its newest match.

    FILE: rules in YAML, which need not be applied. Gates, other rules and starts that fail are not
    played back. A rule with a template is tried for each value that a match has now.
    """
    from controller.making import describe_place, place_record, places_of, rule_at
    from envelope.deployment_names import is_template

    registry = connect().registry
    began = parse_past("--since", since)
    for row in _rules(registry, file_or_name):
        if not as_json:
            click.echo(f"{row.name}: {row.query}")
        if not is_template(row.deploy_to):
            _try_rule(registry, row, began, as_json, indent="  ")
            continue
        for place in places_of(registry, row):
            if as_json and place.against is not None:
                click.echo(json.dumps(place_record(place)))
            elif not as_json:
                click.echo(f"  {describe_place(place)}")
            if place.against is None:
                _try_rule(registry, rule_at(place), began, as_json, indent="    ")


def _try_rule(
    registry: Registry, rule: RuleRow, began: datetime, as_json: bool, *, indent: str
) -> None:
    from controller.history import would_have_wanted

    for step in would_have_wanted(registry, rule.query, began):
        if as_json:
            record = {"rule": rule.name, "deployment": rule.deploy_to, "at": step.at.isoformat()}
            record |= {"because": step.because}
            click.echo(json.dumps({**record, "envelope_id": step.envelope_id}))
            continue
        found = step.envelope_id or "nothing matches, what is live stays"
        because = step.because or "as it was then"
        click.echo(f"{indent}{step.at:%Y-%m-%d %H:%M:%S}  {found}  ({because})")


def _rules(registry: Registry, file_or_name: str) -> list[RuleRow]:
    """The rules of a file as they would be once applied, or the one of this name."""
    from controller.files import read_files
    from envelope.registry import RuleRow

    path = Path(file_or_name)
    if path.exists():
        rules = read_files([path]).rules
        if not rules:
            raise ConfigError(f"{path} holds no rule; write one under `rules:`")
        return [RuleRow(name=name, version=0, **dict(each)) for name, each in rules.items()]
    known = {row.name: row for row in registry.rules()}
    if file_or_name not in known:
        names = ", ".join(known) or "none yet"
        raise ConfigError(f"{file_or_name!r} is neither a file nor a rule; there are: {names}")
    return [known[file_or_name]]
