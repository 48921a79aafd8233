"""What is wanted: deployments, rules and batch jobs, with every version that they had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, delete, insert, select, update

from envelope.config import (
    BatchJobConfig,
    DeploymentConfig,
    DesiredState,
    RuleConfig,
)
from envelope.deployment_names import (
    NoName,
    is_template,
    name_of,
    read_template,
)
from envelope.errors import ConfigError
from envelope.registry import tables
from envelope.registry.changes import Writer
from envelope.registry.deployments import (
    configure_made,
    put_template,
    remove,
    rows_of,
    set_made_of,
    write_deployment,
)
from envelope.registry.differences import changed_keys, lines_of
from envelope.registry.engine import Database
from envelope.registry.faults import faults_of
from envelope.registry.protected_tags import put_protected, read_protected
from envelope.registry.query import parse
from envelope.registry.templates import (
    MOST_VALUES,
    Made,
    config_of,
    read_tag_values,
    read_templates,
    remove_template,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRow:
    """A rule as it is now."""

    name: str
    query: str
    deploy_to: str
    priority: int
    paused: bool
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJobRow:
    """A batch job as it is now."""

    name: str
    config: BatchJobConfig
    version: int


# --- reading


def read_rules(database: Database) -> list[RuleRow]:
    """Every rule, by name."""
    with database.reading() as connection:
        return list(_rules(connection).values())


def read_batch_jobs(database: Database) -> list[BatchJobRow]:
    """Every batch job, by name."""
    with database.reading() as connection:
        return list(_batch_jobs(connection).values())


def _rules(connection: Connection, *, removed: bool = False) -> dict[str, RuleRow]:
    columns = [tables.rules.c[name] for name in RuleRow.__slots__]
    is_mine = tables.rules.c.is_removed.is_(removed)
    mine = select(*columns).where(is_mine).order_by(tables.rules.c.name)
    return {row["name"]: RuleRow(**row) for row in connection.execute(mine).mappings()}


def _batch_jobs(connection: Connection) -> dict[str, BatchJobRow]:
    rows = connection.execute(select(tables.batch_jobs).order_by(tables.batch_jobs.c.name))
    return {
        row.name: BatchJobRow(
            name=row.name, config=BatchJobConfig.model_validate(row.config), version=row.version
        )
        for row in rows
    }


# --- applying


Rest = Literal["keep", "remove"]


def apply_state(writer: Writer, state: DesiredState, rest: Rest = "keep") -> list[str]:
    """Create and update what the state names; return a line for each change.

    rest: what becomes of what it does not name; a deployment is undeployed.
    A second call with the same state changes nothing and returns []. A deployment or rule that was
    removed comes back when the state names it.
    Raises ConfigError for a rule whose deployment or query is wrong, a name that cannot be.
    """
    connection = writer.connection
    deployments = rows_of(connection)
    named = {name for name, row in deployments.items() if not row.is_made}
    faults = list(faults_of(state, named))
    if faults:
        raise ConfigError("\n".join(faults))
    lines: list[str] = []
    unnamed = {name: row for name, row in deployments.items() if name not in state.deployments}
    for name, config in state.deployments.items():
        if is_template(name):
            lines += put_template(writer, name, config, unnamed)
        else:
            lines += write_deployment(writer, name, config, deployments.get(name))
    rules, removed = _rules(connection), _rules(connection, removed=True)
    for name, rule in state.rules.items():
        if name in removed:
            lines += _bring_back_rule(writer, name, rule, removed[name])
        else:
            lines += _put_rule(writer, name, rule, rules.get(name))
    jobs = _batch_jobs(connection)
    for name, job in state.batch_jobs.items():
        lines += _put_batch_job(writer, name, job, jobs.get(name))
    lines += put_protected(writer, state.protected_tags, is_whole=rest == "remove")
    return lines + (_remove_rest(writer, state) if rest == "remove" else [])


def _remove_rest(writer: Writer, state: DesiredState) -> list[str]:
    connection, lines = writer.connection, []
    for name in _rules(connection).keys() - state.rules.keys():
        mine = update(tables.rules).where(tables.rules.c.name == name)
        connection.execute(mine.values(is_removed=True))
        writer.note("rule", name, writer.now(), is_removed=[False, True])
        lines.append(f"rule {name}: removed")
    lines += _prune_deployments(writer, state)
    for text in read_templates(connection).keys() - state.deployments.keys():
        remove_template(writer, text)
        lines.append(f"template {text}: removed")
        lines += configure_made(writer, text, DeploymentConfig(), rows_of(connection))
    for name in _batch_jobs(connection).keys() - state.batch_jobs.keys():
        connection.execute(delete(tables.batch_jobs).where(tables.batch_jobs.c.name == name))
        writer.note("batch_job", name, writer.now(), is_removed=[False, True])
        lines.append(f"batch job {name}: removed")
    return sorted(lines)


def _prune_deployments(writer: Writer, state: DesiredState) -> list[str]:
    """Undeploy what neither an entry names nor a rule's template makes.

    What is removed so comes back when an entry names it again, or a template makes it.
    """
    lines: list[str] = []
    templates = {rule.deploy_to for rule in state.rules.values()}
    makers = _makers(writer.connection, state)
    for name, row in rows_of(writer.connection).items():
        if name in state.deployments or row.is_removed:
            continue
        is_made = row.made_of is not None and row.made_of.template in templates
        made_of = row.made_of if is_made else makers.get(name)
        if made_of is None:
            remove(writer, name, with_template=True)
            lines.append(f"deployment {name}: undeployed")
            continue
        config = config_of(writer.connection, made_of.template)
        lines += write_deployment(writer, name, config, row, is_made=True)
        if made_of != row.made_of:
            set_made_of(writer, name, made_of, is_made=True)
    return lines


def _makers(connection: Connection, state: DesiredState) -> dict[str, Made]:
    """What the templates of the rules make of what matches now."""
    found: dict[str, Made] = {}
    for rule in state.rules.values():
        if not is_template(rule.deploy_to):
            continue
        template = read_template(rule.deploy_to)
        for each in read_tag_values(connection, parse(rule.query), template.keys, MOST_VALUES):
            name = name_of(template, each.tags)
            if not isinstance(name, NoName):
                found.setdefault(name, Made(template=template.text, tags=each.tags))
    return found


def read_state(database: Database) -> DesiredState:
    """All that is wanted, as it would be written."""
    with database.reading() as connection:
        deployments, rules = rows_of(connection), _rules(connection)
        jobs, protected = _batch_jobs(connection), read_protected(connection)
        templates = read_templates(connection)
    named = [row for row in deployments.values() if not (row.is_removed or row.is_made)]
    return DesiredState(
        deployments={
            **{row.name: row.config for row in named},
            **{text: each.config for text, each in templates.items()},
        },
        rules={name: _rule_config(each) for name, each in rules.items()},
        batch_jobs={name: each.config for name, each in jobs.items()},
        protected_tags=protected,
    )


def _rule_config(row: RuleRow) -> RuleConfig:
    return RuleConfig(**{key: getattr(row, key) for key in RuleConfig.model_fields})


def _put_rule(writer: Writer, name: str, rule: RuleConfig, old: RuleRow | None) -> list[str]:
    row = rule.model_dump(mode="json")
    if old is None:
        version, changed, lines = 1, changed_keys(None, rule), [f"rule {name}: created"]
    else:
        version, changed = old.version + 1, changed_keys(_rule_config(old), rule)
        lines = lines_of(f"rule {name}", changed)
    if not lines:
        return []
    if old is None:
        writer.connection.execute(insert(tables.rules), {"name": name, "version": version, **row})
    else:
        _update_rule(writer, name, version, row)
    _record_rule(writer, name, version, row, changed=changed)
    return lines


def _bring_back_rule(writer: Writer, name: str, rule: RuleConfig, former: RuleRow) -> list[str]:
    row, version, lines = rule.model_dump(mode="json"), former.version + 1, [f"rule {name}: back"]
    _update_rule(writer, name, version, {**row, "is_removed": False})
    changed = changed_keys(_rule_config(former), rule)
    _record_rule(writer, name, version, row, changed=changed, is_removed=[True, False])
    return lines


def _update_rule(writer: Writer, name: str, version: int, row: Mapping[str, Any]) -> None:
    mine = update(tables.rules).where(tables.rules.c.name == name)
    writer.connection.execute(mine.values({"version": version, **row}))


def _record_rule(
    writer: Writer, name: str, version: int, row: Mapping[str, Any], **detail: Any
) -> None:
    now = writer.now()
    history = {"rule": name, "version": version, "at": now, "actor": writer.actor, **row}
    writer.connection.execute(insert(tables.rule_versions), history)
    writer.note("rule", name, now, version=version, **detail)


def _put_batch_job(
    writer: Writer, name: str, job: BatchJobConfig, old: BatchJobRow | None
) -> list[str]:
    if old is None:
        version, changed, lines = 1, changed_keys(None, job), [f"batch job {name}: created"]
    else:
        version, changed = old.version + 1, changed_keys(old.config, job)
        lines = lines_of(f"batch job {name}", changed)
    if not lines:
        return []
    now = writer.now()
    row = {"config": job.model_dump(mode="json"), "version": version}
    row |= {"updated_at": now, "updated_by": writer.actor}
    if old is None:
        writer.connection.execute(insert(tables.batch_jobs), {"name": name, **row})
    else:
        mine = update(tables.batch_jobs).where(tables.batch_jobs.c.name == name)
        writer.connection.execute(mine.values(row))
    writer.note("batch_job", name, now, version=version, changed=changed)
    return lines
