"""Deployments: what is wanted of each, by whose configuration, and by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from envelope.config import DeploymentConfig
from envelope.deployment_names import check_deployment_name
from envelope.errors import ConfigError
from envelope.registry import tables
from envelope.registry.changes import Writer
from envelope.registry.differences import changed_keys, lines_of
from envelope.registry.engine import Database
from envelope.registry.templates import Made, config_of, read_templates, write_template
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


def read_deployments(database: Database) -> list[DeploymentRow]:
    """Every deployment, by name; removed ones are flagged."""
    with database.reading() as connection:
        return list(rows_of(connection).values())


def read_config(database: Database, name: str, version: int) -> DeploymentConfig:
    """A deployment's config as it was in one version. Raises ConfigError when unknown."""
    table = tables.deployment_versions
    mine = select(table.c.config).where(table.c.deployment == name, table.c.version == version)
    with database.reading() as connection:
        config = connection.execute(mine).scalar()
    if config is None:
        raise ConfigError(f"deployment {name!r} never had config version {version}")
    return DeploymentConfig.model_validate(config)


def rows_of(connection: Connection) -> dict[str, DeploymentRow]:
    """Every deployment, in the order of their names."""
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


# --- written


def put_deployment(
    writer: Writer, name: str, config: DeploymentConfig | None = None
) -> DeploymentRow:
    """Create a deployment that is missing, with the default config unless given; bring back a
    removed one; keep the config of one that is there when none is given."""
    check_deployment_name(name)
    old = rows_of(writer.connection).get(name)
    wanted = config or (old.config if old else DeploymentConfig())
    made_of = old.made_of if old is not None and old.is_made and config is None else None
    if made_of is not None:
        wanted = config_of(writer.connection, made_of.template)
    write_deployment(writer, name, wanted, old, is_made=made_of is not None)
    return rows_of(writer.connection)[name]


def make_deployment(
    writer: Writer, name: str, made_of: Made, *, instead_of: Made | None = None
) -> bool:
    """Give a name to a template's tags; create the deployment that is missing.

    instead_of: to whom it belonged as the caller saw it. Returns whether it could be: a deployment
    that was undeployed, or whose name belongs to somebody else, stays as it is.
    """
    check_deployment_name(name)
    old = rows_of(writer.connection).get(name)
    is_gone = old is not None and old.is_removed and not (old.is_made and old.made_of is None)
    if is_gone or (old.made_of if old else None) != instead_of:
        return False
    if old is None or old.is_made:
        config = config_of(writer.connection, made_of.template)
        write_deployment(writer, name, config, old, is_made=True)
    set_made_of(writer, name, made_of, is_made=old is None or old.is_made)
    return True


def set_made_of(writer: Writer, name: str, made_of: Made, *, is_made: bool) -> None:
    """Say what a deployment is made of; see `DeploymentRow`."""
    words = {"template": made_of.template, "tags": dict(made_of.tags)}
    _change_deployment(writer, name, {"made_of": words, "is_made": is_made}, made_of=words)


def put_template(
    writer: Writer, text: str, config: DeploymentConfig, rows: Mapping[str, DeploymentRow]
) -> list[str]:
    """Write what the deployments of a template have in common, of rows too that follow it."""
    old = read_templates(writer.connection).get(text)
    changed = changed_keys(None if old is None else old.config, config)
    if old is not None and not changed:
        return []
    write_template(writer, text, config, old, changed)
    where = f"template {text}"
    lines = [f"{where}: created"] if old is None else lines_of(where, changed)
    return lines + configure_made(writer, text, config, rows)


def configure_made(
    writer: Writer, text: str, config: DeploymentConfig, rows: Mapping[str, DeploymentRow]
) -> list[str]:
    """Give what a template has made its config. What is undeployed gets it when it comes back."""
    lines: list[str] = []
    for name, row in rows.items():
        is_mine = row.made_of is not None and row.made_of.template == text
        if is_mine and row.is_made and not row.is_removed:
            lines += write_deployment(writer, name, config, row, is_made=True)
    return lines


def write_deployment(
    writer: Writer,
    name: str,
    config: DeploymentConfig,
    old: DeploymentRow | None,
    *,
    is_made: bool = False,
) -> list[str]:
    """Create, change or bring back a deployment; a line for each change.

    old: as it is. is_made: the config is that of its template, not its own.
    """
    where = f"deployment {name}"
    if old is None:
        version, lines, changed = 1, [f"{where}: created"], changed_keys(None, config)
    else:
        changed = changed_keys(old.config, config)
        version = old.config_version + bool(changed)
        lines = lines_of(where, changed) + ([f"{where}: brought back"] if old.is_removed else [])
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


def remove(writer: Writer, deployment: str, *, with_template: bool = False) -> None:
    """Want the deployment gone, its pin too. Raises ConfigError if unknown.

    with_template: it comes back once a template makes it.
    """
    if not existing_deployment(writer, deployment).is_removed:
        row = {"pin_envelope_id": None, "pin_until": None, "pinned_by": None, "is_removed": True}
        row |= {"made_of": None, "is_made": True} if with_template else {}
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
    known = rows_of(writer.connection)
    if name not in known:
        names = ", ".join(known) or "none yet"
        raise ConfigError(f"there is no deployment {name!r}; there are: {names}")
    return known[name]
