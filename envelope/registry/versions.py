"""Writing over nothing that somebody else changed meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, Table, false, select

from envelope.deployment_names import is_template
from envelope.errors import ConfigError, EnvelopeError
from envelope.registry.tables import (
    batch_jobs,
    deployment_versions,
    deployments,
    rule_versions,
    rules,
    templates,
)
from envelope.registry.text import check_text


class StaleState(EnvelopeError):
    """What was to be changed is not as the caller saw it: look again, and decide again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    number: int
    at: datetime
    actor: str
    is_removed: bool


def refuse_stale(connection: Connection, expected: Mapping[str, int]) -> None:
    """Raise StaleState when something has another version than expected, naming who changed it.

    expected: such as {"rules.us": 3}; 0 for what must not be there yet. Other sections:
    deployments, batch_jobs. Raises ConfigError for a section that there is not.
    """
    faults = []
    for path, seen in expected.items():
        section, _, name = check_text(path, "the name of what is expected").partition(".")
        if section not in _QUERIES:
            raise ConfigError(f"{path!r} has no version; use {', '.join(_QUERIES)} and a name")
        found = connection.execute(_QUERIES[section](name)).mappings().first()
        now = None if found is None else _Version(**found)
        number = 0 if now is None or now.is_removed else now.number
        if number != seen:
            faults.append(_words(path, seen, number, now))
    if faults:
        raise StaleState("\n".join(faults))


def _words(path: str, seen: int, number: int, now: _Version | None) -> str:
    if number == 0:
        return f"{path} is not there any more; it was version {seen} when you looked"
    assert now is not None
    what = f"is there already, version {number}" if seen == 0 else f"is version {number} by now"
    since = "" if seen == 0 else f"; it was {seen} when you looked"
    return (
        f"{path} {what}, written by {now.actor} at {now.at:%Y-%m-%d %H:%M:%S} UTC{since}. Look at "
        "it, and write again if you still want to"
    )


def _rule(name: str) -> Select[tuple[int, datetime, str, bool]]:
    """The history's last row of a rule that is there."""
    history = rule_versions.c
    return (
        select(history.version.label("number"), history.at, history.actor, rules.c.is_removed)
        .join_from(rules, rule_versions, history.rule == rules.c.name)
        .where(rules.c.name == name, history.version == rules.c.version)
    )


def _deployment(name: str) -> Select[tuple[int, datetime, str, bool]]:
    if is_template(name):
        return _current(templates, templates.c.text == name)
    history, mine = deployment_versions.c, deployments.c
    return (
        select(history.version.label("number"), history.at, history.actor, mine.is_removed)
        .join_from(deployments, deployment_versions, history.deployment == mine.name)
        .where(mine.name == name, history.version == mine.config_version)
    )


def _batch_job(name: str) -> Select[tuple[int, datetime, str, bool]]:
    return _current(batch_jobs, batch_jobs.c.name == name)


def _current(table: Table, is_mine: ColumnElement[bool]) -> Select[tuple[int, datetime, str, bool]]:
    """Of what keeps its last version only."""
    return select(
        table.c.version.label("number"),
        table.c.updated_at.label("at"),
        table.c.updated_by.label("actor"),
        false().label("is_removed"),
    ).where(is_mine)


_QUERIES = {"rules": _rule, "deployments": _deployment, "batch_jobs": _batch_job}
