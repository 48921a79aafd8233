"""What is wanted: deployments, rules and batch jobs, with every version that they had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    check_deployment_name,
)
from envelope.errors import ConfigError, QueryError
from envelope.registry import tables
from envelope.registry.changes import Writer
from envelope.registry.engine import Database
from envelope.registry.protected_tags import put_protected, read_protected
from envelope.registry.query.parse import parse
from envelope.registry.text import check_key, check_text


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRow:
    """A deployment. pin_envelope_id: deployed by hand, until unpinned or pin_until."""

    name: str
    config: DeploymentConfig
    config_version: int
    pin_envelope_id: str | None
    pin_until: datetime | None
    pinned_by: str | None
    is_removed: bool


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
    faults = list(_faults(state, set(deployments)))
    if faults:
        raise ConfigError("\n".join(faults))
    lines: list[str] = []
    for name, config in state.deployments.items():
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
    for name, row in _deployments(connection).items():
        if name not in state.deployments and not row.is_removed:
            remove(writer, name)
            lines.append(f"deployment {name}: undeployed")
    for name in _batch_jobs(connection).keys() - state.batch_jobs.keys():
        connection.execute(delete(tables.batch_jobs).where(tables.batch_jobs.c.name == name))
        writer.note("batch_job", name, writer.now(), is_removed=[False, True])
        lines.append(f"batch job {name}: removed")
    return sorted(lines)


def read_state(database: Database) -> DesiredState:
    """All that is wanted, as it would be written."""
    with database.reading() as connection:
        deployments, rules = _deployments(connection), _rules(connection)
        jobs, protected = _batch_jobs(connection), read_protected(connection)
    return DesiredState(
        deployments={
            name: each.config for name, each in deployments.items() if not each.is_removed
        },
        rules={name: _rule_config(each) for name, each in rules.items()},
        batch_jobs={name: each.config for name, each in jobs.items()},
        protected_tags=protected,
    )


def _rule_config(row: RuleRow) -> RuleConfig:
    return RuleConfig(**{key: getattr(row, key) for key in RuleConfig.model_fields})


def _faults(state: DesiredState, known: set[str]) -> Iterator[str]:
    for name in state.deployments:
        try:
            check_deployment_name(name)
        except ConfigError as exc:
            yield str(exc)
    there = known | set(state.deployments)
    for name, rule in state.rules.items():
        yield from _name_fault("rule", name)
        if rule.deploy_to not in there:
            names = ", ".join(sorted(there)) or "none"
            yield (
                f"rule {name!r} deploys to {rule.deploy_to!r}, which is no deployment; add "
                f"`deployments: {{{rule.deploy_to}: {{}}}}` to the file (there are: {names})"
            )
        yield from _query_fault(f"rule {name!r}", rule.query)
    for name, job in state.batch_jobs.items():
        yield from _name_fault("batch job", name)
        yield from _query_fault(f"batch job {name!r}", job.query)


def _name_fault(kind: str, name: str) -> Iterator[str]:
    try:
        check_key(name, f"the name of {kind} {name!r}")
    except ConfigError as exc:
        yield str(exc)


def _query_fault(where: str, query: str) -> Iterator[str]:
    try:
        parse(query)
    except QueryError as exc:
        yield f"the query of {where} cannot be understood: {exc}"


def put_deployment(
    writer: Writer, name: str, config: DeploymentConfig | None = None
) -> DeploymentRow:
    """Create a deployment that is missing, with the default config unless given; bring back a
    removed one; keep the config of one that is there when none is given."""
    check_deployment_name(name)
    old = _deployments(writer.connection).get(name)
    wanted = config or (old.config if old else DeploymentConfig())
    _put_deployment(writer, name, wanted, old)
    return _deployments(writer.connection)[name]


def _put_deployment(
    writer: Writer, name: str, config: DeploymentConfig, old: DeploymentRow | None
) -> list[str]:
    where = f"deployment {name}"
    if old is None:
        version, lines, changed = 1, [f"{where}: created"], _changed(None, config)
    else:
        changed = _changed(old.config, config)
        version = old.config_version + bool(changed)
        lines = _lines(where, changed) + ([f"{where}: brought back"] if old.is_removed else [])
    if not lines:
        return []
    removed = {"is_removed": [True, False]} if old is not None and old.is_removed else {}
    now = writer.now()
    dumped = config.model_dump(mode="json")
    row = {"config": dumped, "config_version": version, "is_removed": False}
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
