"""Every table of the registry, and the two column types that SQLite and PostgreSQL share.

Text compares by code point on both: SQLite's BINARY and PostgreSQL's "C" collation order the bytes
of UTF-8, which is the order of code points. A change here comes with a migration in
`migrations/versions`; a test compares the two on both databases.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    false,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class UtcTime(TypeDecorator[datetime]):
    """An instant: `timestamptz` on PostgreSQL, microseconds since 1970 on SQLite.

    Aware on the way in and on the way out, there always UTC. Raises ValueError for a naive time.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return (value - EPOCH) // MICROSECOND if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if dialect.name == "sqlite":
            return EPOCH + timedelta(0, 0, value)
        instant: datetime = value.astimezone(UTC)
        return instant


class Json(TypeDecorator[Any]):
    """A JSON value kept as text, so that both databases give back what was written."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


WORDS = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
NUMBER = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows only in INTEGER

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
        "uq": "%(table_name)s_%(column_0_name)s_uq",
    }
)


def _envelope_id(**options: Any) -> Column[str]:
    return Column("envelope_id", WORDS, ForeignKey("envelopes.id"), nullable=False, **options)


envelopes = Table(
    "envelopes",
    metadata,
    Column("id", WORDS, primary_key=True),
    Column("name", WORDS, nullable=False),
    Column("description", WORDS, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", WORDS, nullable=False),
    Column("manifest_sha256", WORDS, nullable=False),
    Column("default_function", WORDS, nullable=False),
    Column("python_version", WORDS, nullable=False),
    Column("environment_sha256", WORDS, nullable=False),
    Index("envelopes_by_time", "created_at", "id"),
    Index("envelopes_by_name", "name", "created_at", "id"),
)

functions = Table(
    "functions",
    metadata,
    _envelope_id(primary_key=True),
    Column("name", WORDS, primary_key=True),
    Column("sha256", WORDS, nullable=False),
    Column("added_at", UtcTime, nullable=False),
    Column("added_by", WORDS, nullable=False),
    sqlite_with_rowid=False,
)

# registered_at repeats the envelope's created_at, so that the index lists the envelopes of one tag
# newest first: "the newest with these three tags" reads a few entries, of a million.
tags = Table(
    "tags",
    metadata,
    _envelope_id(primary_key=True),
    Column("key", WORDS, primary_key=True),
    Column("value", WORDS, nullable=False),
    Column("registered_at", UtcTime, nullable=False),
    Index("tags_by_value", "key", "value", "registered_at", "envelope_id"),
    sqlite_with_rowid=False,
)

tag_changes = Table(
    "tag_changes",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    _envelope_id(),
    Column("key", WORDS, nullable=False),
    Column("old", WORDS),
    Column("new", WORDS),
    Column("at", UtcTime, nullable=False),
    Column("actor", WORDS, nullable=False),
    Index("tag_changes_by_key", "envelope_id", "key", "id"),
)

# What a query may ask of the manifest, see facts.py. subject: an envelope's id, or its
# environment_sha256, since hundreds of envelopes share one environment of many packages.
# text: the first characters; long_text: all of them, where there are more (an index entry of
# PostgreSQL holds 2,704 bytes). version_key: sorts versions, see query/versions.py.
facts = Table(
    "facts",
    metadata,
    Column("subject", WORDS, primary_key=True),
    Column("path", WORDS, primary_key=True),
    Column("kind", WORDS, nullable=False),
    Column("text", WORDS),
    Column("long_text", WORDS),
    Column("number", Double),
    Column("version_key", WORDS),
    Index(
        "facts_by_text",
        "path",
        "text",
        "subject",
        sqlite_where=text("text IS NOT NULL"),
        postgresql_where=text("text IS NOT NULL"),
    ),
    Index(
        "facts_by_number",
        "path",
        "number",
        "subject",
        sqlite_where=text("number IS NOT NULL"),
        postgresql_where=text("number IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

# number: NULL for structured values and for NaN and the infinities, which never compare.
# value: the JSON of what is not a finite number.
metric_points = Table(
    "metric_points",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    _envelope_id(),
    Column("name", WORDS, nullable=False),
    Column("number", Double),
    Column("value", Json),
    Column("at", UtcTime, nullable=False),
    Column("logged_at", UtcTime, nullable=False),
    Column("actor", WORDS, nullable=False),
    Index("metric_points_by_name", "envelope_id", "name", "at", "id"),
)

metrics_latest = Table(
    "metrics_latest",
    metadata,
    _envelope_id(primary_key=True),
    Column("name", WORDS, primary_key=True),
    Column("number", Double),
    Column("at", UtcTime, nullable=False),
    Index("metrics_latest_by_number", "name", "number", "envelope_id"),
    sqlite_with_rowid=False,
)

# report: the JSON of proofs.Report; NULL of an attempt that came to no environment.
proofs = Table(
    "proofs",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    _envelope_id(),
    Column("platform", WORDS, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("detail", WORDS, nullable=False),
    Column("report", Json),
    Column("at", UtcTime, nullable=False),
    Column("actor", WORDS, nullable=False),
    Index("proofs_by_envelope", "envelope_id", "platform", "id"),
)

deployments = Table(
    "deployments",
    metadata,
    Column("name", WORDS, primary_key=True),
    Column("config", Json, nullable=False),
    Column("config_version", Integer, nullable=False),
    Column("pin_envelope_id", WORDS, ForeignKey("envelopes.id")),
    Column("pin_until", UtcTime),
    Column("pinned_by", WORDS),
    Column("is_removed", Boolean, nullable=False),
    Column("made_of", Json),
    Column("is_made", Boolean, nullable=False, server_default=false()),
)

# What the deployments of a rule template have in common, by the template's text.
templates = Table(
    "templates",
    metadata,
    Column("text", WORDS, primary_key=True),
    Column("config", Json, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("updated_by", WORDS, nullable=False),
)

deployment_versions = Table(
    "deployment_versions",
    metadata,
    Column("deployment", WORDS, ForeignKey("deployments.name"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("config", Json, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", WORDS, nullable=False),
)

rules = Table(
    "rules",
    metadata,
    Column("name", WORDS, primary_key=True),
    Column("query", WORDS, nullable=False),
    Column("deploy_to", WORDS, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("is_removed", Boolean, nullable=False, server_default=false()),
    Index("rules_by_deployment", "deploy_to"),
)

rule_versions = Table(
    "rule_versions",
    metadata,
    Column("rule", WORDS, ForeignKey("rules.name"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("query", WORDS, nullable=False),
    Column("deploy_to", WORDS, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", WORDS, nullable=False),
)

batch_jobs = Table(
    "batch_jobs",
    metadata,
    Column("name", WORDS, primary_key=True),
    Column("config", Json, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("updated_by", WORDS, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("id", WORDS, primary_key=True),
    Column("deployment", WORDS, ForeignKey("deployments.name"), nullable=False),
    _envelope_id(),
    Column("state", WORDS, nullable=False),
    Column("rule", WORDS),
    Column("rule_version", Integer),
    Column("config_version", Integer, nullable=False),
    Column("app_version", WORDS),
    Column("actor", WORDS, nullable=False),
    Column("reason", WORDS, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("live_at", UtcTime),
    Column("ended_at", UtcTime),
    Column("step", Integer),
    Column("step_since", UtcTime),
    Index("releases_by_deployment", "deployment", "created_at", "id"),
    Index("releases_by_time", "created_at", "id"),
    Index(
        "releases_open",
        "deployment",
        "created_at",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

release_events = Table(
    "release_events",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("release_id", WORDS, ForeignKey("releases.id"), nullable=False),
    Column("from_state", WORDS),
    Column("to_state", WORDS, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", WORDS, nullable=False),
    Column("reason", WORDS, nullable=False),
    Index("release_events_by_release", "release_id", "id"),
)

# What gates that run on the cluster said. gate: its kind and a hash of its config. spec: what ran.
# attempt: from 1.
gate_runs = Table(
    "gate_runs",
    metadata,
    Column("deployment", WORDS, ForeignKey("deployments.name"), primary_key=True),
    _envelope_id(primary_key=True),
    Column("gate", WORDS, primary_key=True),
    Column("spec", Json, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("state", WORDS, nullable=False),
    Column("reason", WORDS, nullable=False),
    Column("at", UtcTime, nullable=False),
    Index(
        "gate_runs_under_way",
        "state",
        sqlite_where=text("state IN ('asked', 'running')"),
        postgresql_where=text("state IN ('asked', 'running')"),
    ),
)

# What the arms of an experiment answered, by the release of its challenger. counting: each begins
# at zero; the sum of all counts. times: how many took how long, as `ArmCounts` says.
arm_counts = Table(
    "arm_counts",
    metadata,
    Column("release_id", WORDS, ForeignKey("releases.id"), primary_key=True),
    Column("counting", WORDS, primary_key=True),
    Column("arm", WORDS, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("times", Json, nullable=False),
    Column("at", UtcTime, nullable=False),
)

# What was rolled back. back_to: the envelope that takes its place until a newer one comes.
exclusions = Table(
    "exclusions",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("deployment", WORDS, ForeignKey("deployments.name"), nullable=False),
    _envelope_id(),
    Column("reason", WORDS, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", WORDS, nullable=False),
    Column("lifted_at", UtcTime),
    Column("lifted_by", WORDS),
    Column("back_to", WORDS, ForeignKey("envelopes.id")),
    Index("exclusions_by_deployment", "deployment", "envelope_id"),
)

# Who may set a tag: patterns of actors.
protected_tags = Table(
    "protected_tags",
    metadata,
    Column("key", WORDS, primary_key=True),
    Column("actors", Json, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", WORDS, nullable=False),
)

# While a row has no resumed_at, rules start nothing.
pauses = Table(
    "pauses",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("reason", WORDS, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", WORDS, nullable=False),
    Column("resumed_at", UtcTime),
    Column("resumed_by", WORDS),
)

controllers = Table(
    "controllers",
    metadata,
    Column("id", WORDS, primary_key=True),
    Column("host", WORDS, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("beat_at", UtcTime, nullable=False),
)

# At most one row: which controller leads. epoch grows with each that takes it over.
lease = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", WORDS, nullable=False),
    Column("host", WORDS, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("taken_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
)

# Who may ask a registry server. Of a token only its hash is kept: 256 random bits need no salt.
tokens = Table(
    "tokens",
    metadata,
    Column("id", WORDS, primary_key=True),
    Column("sha256", WORDS, nullable=False, unique=True),
    Column("holder", WORDS, nullable=False),
    Column("role", WORDS, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", WORDS, nullable=False),
    Column("revoked_at", UtcTime),
    Column("revoked_by", WORDS),
)

changes = Table(
    "changes",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", WORDS, nullable=False),
    Column("key", WORDS, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", WORDS, nullable=False),
    Column("detail", Json),
)

# One row. Its lock, taken last in each writing transaction, makes `seq` the order of commits.
change_counter = Table(
    "change_counter",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
)
