"""What is wanted: deployments, rules and batch jobs, with every version that they had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy import Connection, delete, insert, select, update

from envelope.config import (
    BatchJobConfig,
    DeploymentConfig,
    DesiredState,
    RuleConfig,
)
from envelope.deployment_names import (
    NoName,
    check_deployment_name,
    is_template,
    name_of,
    read_template,
)
from envelope.errors import ConfigError
from envelope.registry import tables
from envelope.registry.changes import Writer
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
    write_template,
)
from envelope.registry.text import check_text


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRow:
    """A deployment. pin_envelope_id: deployed by hand, until unpinned or pin_until.

    made_of: the template and the tags that its name belongs to; None: nobody but rules that name
    it may deploy to it. is_made: no entry names it, so its config is its template's; without
    made_of it was removed together with its template, and comes back with it.
    """

    name: str
    config: DeploymentConfig
    config_version: int
    pin_envelope_id: str | None
    pin_until: datetime | None
    pinned_by: str | None
    is_removed: bool
    made_of: Made | None = None
    is_made: bool = False


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


def read_deployments(database: Database) -> list[DeploymentRow]:
    """Every deployment, by name; removed ones are flagged."""
    with database.reading() as connection:
        return list(_deployments(connection).values())


def read_config(database: Database, name: str, version: int) -> DeploymentConfig:
    """A deployment's config as it was in one version. Raises ConfigError when unknown."""
    table = tables.deployment_versions
    mine = select(table.c.config).where(table.c.deployment == name, table.c.version == version)
    with database.reading() as connection:
        config = connection.execute(mine).scalar()
    if config is None:
        raise ConfigError(f"deployment {name!r} never had config version {version}")
    return DeploymentConfig.model_validate(config)


def read_rules(database: Database) -> list[RuleRow]:
    """Every rule, by name."""
    with database.reading() as connection:
        return list(_rules(connection).values())


def read_batch_jobs(database: Database) -> list[BatchJobRow]:
    """Every batch job, by name."""
    with database.reading() as connection:
        return list(_batch_jobs(connection).values())


def _deployments(connection: Connection) -> dict[str, DeploymentRow]:
    rows = connection.execute(select(tables.deployments).order_by(tables.deployments.c.name))
    return {
        row.name: DeploymentRow(
            name=row.name,
            config=DeploymentConfig.model_validate(row.config),
            config_version=row.config_version,
            pin_envelope_id=row.pin_envelope_id,
            pin_until=row.pin_until,
            pinned_by=row.pinned_by,
            is_removed=row.is_removed,
            made_of=None if row.made_of is None else Made(**row.made_of),
            is_made=row.is_made,
        )
        for row in rows
    }


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
    deployments = _deployments(connection)
    named = {name for name, row in deployments.items() if not row.is_made}
    faults = list(faults_of(state, named))
    if faults:
        raise ConfigError("\n".join(faults))
    lines: list[str] = []
    for name, config in state.deployments.items():
        if is_template(name):
            lines += _put_template(writer, name, config, deployments)
        else:
            lines += _put_deployment(writer, name, config, deployments.get(name))
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
        lines += _configure_made(writer, text, DeploymentConfig(), _deployments(connection))
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
    for name, row in _deployments(writer.connection).items():
        if name in state.deployments or row.is_removed:
            continue
        is_made = row.made_of is not None and row.made_of.template in templates
        made_of = row.made_of if is_made else makers.get(name)
        if made_of is None:
            remove(writer, name)
            lines.append(f"deployment {name}: undeployed")
        else:
            config = config_of(writer.connection, made_of.template)
            lines += _put_deployment(writer, name, config, row, is_made=True)
        if made_of != row.made_of or made_of is None:
            _set_made_of(writer, name, made_of, is_made=True)
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
        deployments, rules = _deployments(connection), _rules(connection)
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


def put_deployment(
    writer: Writer, name: str, config: DeploymentConfig | None = None
) -> DeploymentRow:
    """Create a deployment that is missing, with the default config unless given; bring back a
    removed one; keep the config of one that is there when none is given."""
    check_deployment_name(name)
    old = _deployments(writer.connection).get(name)
    wanted = config or (old.config if old else DeploymentConfig())
    made_of = old.made_of if old is not None and old.is_made and config is None else None
    if made_of is not None:
        wanted = config_of(writer.connection, made_of.template)
    _put_deployment(writer, name, wanted, old, is_made=made_of is not None)
    return _deployments(writer.connection)[name]


def make_deployment(
    writer: Writer, name: str, made_of: Made, *, instead_of: Made | None = None
) -> bool:
    """Give a name to a template's tags; create the deployment that is missing.

    instead_of: to whom it belonged as the caller saw it. Returns whether it could be: a deployment
    that was undeployed, or whose name belongs to somebody else, stays as it is.
    """
    check_deployment_name(name)
    old = _deployments(writer.connection).get(name)
    is_gone = old is not None and old.is_removed and not (old.is_made and old.made_of is None)
    if is_gone or (old.made_of if old else None) != instead_of:
        return False
    if old is None or old.is_made:
        config = config_of(writer.connection, made_of.template)
        _put_deployment(writer, name, config, old, is_made=True)
    _set_made_of(writer, name, made_of, is_made=old is None or old.is_made)
    return True


def _set_made_of(writer: Writer, name: str, made_of: Made | None, *, is_made: bool) -> None:
    words = made_of and {"template": made_of.template, "tags": dict(made_of.tags)}
    _change_deployment(writer, name, {"made_of": words, "is_made": is_made}, made_of=words)


def _put_template(
    writer: Writer, text: str, config: DeploymentConfig, rows: Mapping[str, DeploymentRow]
) -> list[str]:
    old = read_templates(writer.connection).get(text)
    changed = _changed(None if old is None else old.config, config)
    if old is not None and not changed:
        return []
    write_template(writer, text, config, old, changed)
    where = f"template {text}"
    lines = [f"{where}: created"] if old is None else _lines(where, changed)
    return lines + _configure_made(writer, text, config, rows)


def _configure_made(
    writer: Writer, text: str, config: DeploymentConfig, rows: Mapping[str, DeploymentRow]
) -> list[str]:
    """Give what a template has made its config. What is undeployed gets it when it comes back."""
    lines: list[str] = []
    for name, row in rows.items():
        is_mine = row.made_of is not None and row.made_of.template == text
        if is_mine and row.is_made and not row.is_removed:
            lines += _put_deployment(writer, name, config, row, is_made=True)
    return lines


def _put_deployment(
    writer: Writer,
    name: str,
    config: DeploymentConfig,
    old: DeploymentRow | None,
    *,
    is_made: bool = False,
) -> list[str]:
    """is_made: the config is that of its template, not its own."""
    where = f"deployment {name}"
    if old is None:
        version, lines, changed = 1, [f"{where}: created"], _changed(None, config)
    else:
        changed = _changed(old.config, config)
        version = old.config_version + bool(changed)
        lines = _lines(where, changed) + ([f"{where}: brought back"] if old.is_removed else [])
        if old.is_made != is_made:
            whose = "of its template" if is_made else "its own"
            lines.append(f"{where}: the config is {whose}")
    if not lines:
        return []
    removed = {"is_removed": [True, False]} if old is not None and old.is_removed else {}
    if old is not None and old.is_made != is_made:
        removed["is_made"] = [old.is_made, is_made]
    now = writer.now()
    dumped = config.model_dump(mode="json")
    row = {"config": dumped, "config_version": version, "is_removed": False, "is_made": is_made}
    if old is None:
        writer.connection.execute(insert(tables.deployments), {"name": name, **row})
    else:
        mine = update(tables.deployments).where(tables.deployments.c.name == name)
        writer.connection.execute(mine.values(row))
    if old is None or version != old.config_version:
        history = {"deployment": name, "version": version, "config": dumped}
        writer.connection.execute(
            insert(tables.deployment_versions), {**history, "at": now, "actor": writer.actor}
        )
    writer.note("deployment", name, now, version=version, changed=changed, **removed)
    return lines


def _put_rule(writer: Writer, name: str, rule: RuleConfig, old: RuleRow | None) -> list[str]:
    row = rule.model_dump(mode="json")
    if old is None:
        version, changed, lines = 1, _changed(None, rule), [f"rule {name}: created"]
    else:
        version, changed = old.version + 1, _changed(_rule_config(old), rule)
        lines = _lines(f"rule {name}", changed)
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
    changed = _changed(_rule_config(former), rule)
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
        version, changed, lines = 1, _changed(None, job), [f"batch job {name}: created"]
    else:
        version, changed = old.version + 1, _changed(old.config, job)
        lines = _lines(f"batch job {name}", changed)
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


def _changed(old: BaseModel | None, new: BaseModel) -> dict[str, list[Any]]:
    """The keys that differ, each with [old, new]; of what is new, those that are no defaults."""
    before = {} if old is None else _flat(old.model_dump(mode="json"))
    after = _flat(new.model_dump(mode="json", exclude_defaults=old is None))
    return {
        key: [before.get(key), after.get(key)]
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    }


def _lines(where: str, changed: Mapping[str, list[Any]]) -> list[str]:
    return [f"{where}: {key} {old} -> {new}" for key, (old, new) in changed.items()]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, member in value.items():
        if isinstance(member, dict):
            found |= _flat(member, f"{prefix}{key}.")
        else:
            found[prefix + key] = member
    return found


# --- by hand


def pin(writer: Writer, deployment: str, envelope_id: str, until: datetime | None) -> None:
    """Pin a deployment to an envelope; rules wait until it is unpinned, or `until`."""
    old = existing_deployment(writer, deployment).pin_envelope_id
    row = {"pin_envelope_id": envelope_id, "pin_until": until, "pinned_by": writer.actor}
    ends = {} if until is None else {"until": until.isoformat()}
    _change_deployment(writer, deployment, row, pin=[old, envelope_id], **ends)


def unpin(writer: Writer, deployment: str) -> None:
    """Take the pin off; nothing happens where there is none. Raises ConfigError if unknown."""
    old = existing_deployment(writer, deployment).pin_envelope_id
    if old is not None:
        row = {"pin_envelope_id": None, "pin_until": None, "pinned_by": None}
        _change_deployment(writer, deployment, row, pin=[old, None])


def remove(writer: Writer, deployment: str) -> None:
    """Want the deployment gone, its pin too. Raises ConfigError if unknown."""
    if not existing_deployment(writer, deployment).is_removed:
        row = {"pin_envelope_id": None, "pin_until": None, "pinned_by": None, "is_removed": True}
        _change_deployment(writer, deployment, row, is_removed=[False, True])


def _change_deployment(
    writer: Writer, deployment: str, row: Mapping[str, Any], **detail: Any
) -> None:
    mine = update(tables.deployments).where(tables.deployments.c.name == deployment)
    writer.connection.execute(mine.values(row))
    writer.note("deployment", deployment, writer.now(), **detail)


def existing_deployment(writer: Writer, name: str) -> DeploymentRow:
    """The deployment, its row locked. Raises ConfigError naming those there are."""
    check_text(name, "the deployment's name")
    mine = select(tables.deployments.c.name).where(tables.deployments.c.name == name)
    writer.connection.execute(mine.with_for_update())
    known = _deployments(writer.connection)
    if name not in known:
        names = ", ".join(known) or "none yet"
        raise ConfigError(f"there is no deployment {name!r}; there are: {names}")
    return known[name]
