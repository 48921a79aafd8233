"""What the deployments of a rule template have in common, and which tags its matches have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from envelope.config import DeploymentConfig
from envelope.deployment_names import NoName, name_of, read_template, values_of
from envelope.errors import ConfigError
from envelope.registry import tables
from envelope.registry.changes import Writer
from envelope.registry.query import Query, query_from_tags
from envelope.registry.search import begin

MOST_VALUES = 1000  # combinations that are looked at; a rule that wants more is a mistake


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a deployment is made of. template: its text. tags: key -> value, what its models have.

    The name belongs to these as long as a rule has the template and an envelope matches with them.
    """

    template: str
    tags: Mapping[str, str]


def check_made(name: str, made_of: Made) -> None:
    """Raise ConfigError unless the template makes this name of these tags, and of no others."""
    template = read_template(made_of.template)
    values = values_of(template, made_of.tags)
    found = values if isinstance(values, NoName) else name_of(template, values)
    if found != name or values != dict(made_of.tags):
        words = found.why if isinstance(found, NoName) else f"makes {found!r} of these tags"
        raise ConfigError(f"{template.text} does not make {name!r}: {words}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TagValues:
    """tags: key -> value, as some matches have them. envelope_id: one of these, the latest id."""

    tags: Mapping[str, str]
    envelope_id: str


def narrowed(query: str, values: Mapping[str, str]) -> str:
    """Write the query for those of its matches that have these tags.

    >>> narrowed("proved = true or name = 'a'", {"region": "US"})
    "(proved = true or name = 'a') and tags.region = 'US'"
    """
    return f"({query}) and {query_from_tags(dict(values))}"


def read_tag_values(
    connection: Connection, query: Query, keys: Sequence[str], limit: int
) -> list[TagValues]:
    """Each combination of values of these tags among the matches that have all of them.

    At most `limit`, in the order of the values.
    """
    aliases = [tables.tags.alias(f"of_{n}") for n in range(len(keys))]
    columns = [alias.c.value.label(f"value_{n}") for n, alias in enumerate(aliases)]
    newest = func.max(tables.envelopes.c.id).label("envelope_id")
    matches = begin(connection, query, None).select(*columns, newest)
    for key, alias in zip(keys, aliases, strict=True):
        matches = matches.join(alias, alias.c.envelope_id == tables.envelopes.c.id)
        matches = matches.where(alias.c.key == key)
    rows = connection.execute(matches.group_by(*columns).order_by(*columns).limit(limit))
    return [
        TagValues(tags=dict(zip(keys, row[:-1], strict=True)), envelope_id=row.envelope_id)
        for row in rows
    ]


# --- what they have in common


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRow:
    """A template whose deployments have a config in common."""

    text: str
    config: DeploymentConfig
    version: int


def read_templates(connection: Connection) -> dict[str, TemplateRow]:
    """Every template that has a config, by its text."""
    rows = connection.execute(select(tables.templates).order_by(tables.templates.c.text))
    return {
        row.text: TemplateRow(
            text=row.text, config=DeploymentConfig.model_validate(row.config), version=row.version
        )
        for row in rows
    }


def config_of(connection: Connection, template: str) -> DeploymentConfig:
    """What the deployments of a template have in common; the defaults where nothing is said."""
    row = read_templates(connection).get(template)
    return DeploymentConfig() if row is None else row.config


def write_template(
    writer: Writer,
    text: str,
    config: DeploymentConfig,
    old: TemplateRow | None,
    changed: Mapping[str, Any],
) -> None:
    """Write a template's config, and what of it changed into the history."""
    now = writer.now()
    row = {"config": config.model_dump(mode="json"), "updated_at": now, "updated_by": writer.actor}
    if old is None:
        version = 1
        writer.connection.execute(
            insert(tables.templates), {"text": text, "version": version, **row}
        )
    else:
        version = old.version + 1
        mine = update(tables.templates).where(tables.templates.c.text == text)
        writer.connection.execute(mine.values(version=version, **row))
    writer.note("template", text, now, version=version, changed=changed)


def remove_template(writer: Writer, text: str) -> None:
    """Forget a template's config."""
    writer.connection.execute(delete(tables.templates).where(tables.templates.c.text == text))
    writer.note("template", text, writer.now(), is_removed=[False, True])
