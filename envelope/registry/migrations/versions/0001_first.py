"""The first schema.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from envelope.registry.tables import Json, UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "batch_jobs",
        sa.Column("name", WORDS, nullable=False),
        sa.Column("config", Json(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.Column("updated_by", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("name", name="batch_jobs_pk"),
    )
    op.create_table(
        "change_counter",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="change_counter_pk"),
    )
    op.create_table(
        "changes",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.Column("detail", Json(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="changes_pk"),
    )
    op.create_table(
        "controllers",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("host", WORDS, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("beat_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="controllers_pk"),
    )
    op.create_table(
        "envelopes",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("description", WORDS, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("created_by", WORDS, nullable=False),
        sa.Column("manifest_sha256", WORDS, nullable=False),
        sa.Column("default_function", WORDS, nullable=False),
        sa.Column("python_version", WORDS, nullable=False),
        sa.Column("environment_sha256", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("id", name="envelopes_pk"),
    )
    op.create_index("envelopes_by_name", "envelopes", ["name", "created_at", "id"], unique=False)
    op.create_index("envelopes_by_time", "envelopes", ["created_at", "id"], unique=False)
    op.create_table(
        "facts",
        sa.Column("subject", WORDS, nullable=False),
        sa.Column("path", WORDS, nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("text", WORDS, nullable=True),
        sa.Column("long_text", WORDS, nullable=True),
        sa.Column("number", sa.Double(), nullable=True),
        sa.Column("version_key", WORDS, nullable=True),
        sa.PrimaryKeyConstraint("subject", "path", name="facts_pk"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "facts_by_number",
        "facts",
        ["path", "number", "subject"],
        unique=False,
        sqlite_where=sa.text("number IS NOT NULL"),
        postgresql_where=sa.text("number IS NOT NULL"),
    )
    op.create_index(
        "facts_by_text",
        "facts",
        ["path", "text", "subject"],
        unique=False,
        sqlite_where=sa.text("text IS NOT NULL"),
        postgresql_where=sa.text("text IS NOT NULL"),
    )
    op.create_table(
        "rules",
        sa.Column("name", WORDS, nullable=False),
        sa.Column("query", WORDS, nullable=False),
        sa.Column("deploy_to", WORDS, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="rules_pk"),
    )
    op.create_index("rules_by_deployment", "rules", ["deploy_to"], unique=False)
    op.create_table(
        "deployments",
        sa.Column("name", WORDS, nullable=False),
        sa.Column("config", Json(), nullable=False),
        sa.Column("config_version", sa.Integer(), nullable=False),
        sa.Column("pin_envelope_id", WORDS, nullable=True),
        sa.Column("pin_until", UtcTime(), nullable=True),
        sa.Column("pinned_by", WORDS, nullable=True),
        sa.Column("is_removed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pin_envelope_id"], ["envelopes.id"], name="deployments_pin_envelope_id_fk"
        ),
        sa.PrimaryKeyConstraint("name", name="deployments_pk"),
    )
    op.create_table(
        "functions",
        sa.Column("envelope_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("sha256", WORDS, nullable=False),
        sa.Column("added_at", UtcTime(), nullable=False),
        sa.Column("added_by", WORDS, nullable=False),
        sa.ForeignKeyConstraint(["envelope_id"], ["envelopes.id"], name="functions_envelope_id_fk"),
        sa.PrimaryKeyConstraint("envelope_id", "name", name="functions_pk"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metric_points",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("envelope_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("number", sa.Double(), nullable=True),
        sa.Column("value", Json(), nullable=True),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("logged_at", UtcTime(), nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.ForeignKeyConstraint(
            ["envelope_id"], ["envelopes.id"], name="metric_points_envelope_id_fk"
        ),
        sa.PrimaryKeyConstraint("id", name="metric_points_pk"),
    )
    op.create_index(
        "metric_points_by_name", "metric_points", ["envelope_id", "name", "at", "id"], unique=False
    )
    op.create_table(
        "metrics_latest",
        sa.Column("envelope_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("number", sa.Double(), nullable=True),
        sa.Column("at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["envelope_id"], ["envelopes.id"], name="metrics_latest_envelope_id_fk"
        ),
        sa.PrimaryKeyConstraint("envelope_id", "name", name="metrics_latest_pk"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "metrics_latest_by_number",
        "metrics_latest",
        ["name", "number", "envelope_id"],
        unique=False,
    )
    op.create_table(
        "proofs",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("envelope_id", WORDS, nullable=False),
        sa.Column("platform", WORDS, nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("detail", WORDS, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.ForeignKeyConstraint(["envelope_id"], ["envelopes.id"], name="proofs_envelope_id_fk"),
        sa.PrimaryKeyConstraint("id", name="proofs_pk"),
    )
    op.create_index("proofs_by_envelope", "proofs", ["envelope_id", "platform", "id"], unique=False)
    op.create_table(
        "rule_versions",
        sa.Column("rule", WORDS, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("query", WORDS, nullable=False),
        sa.Column("deploy_to", WORDS, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.ForeignKeyConstraint(["rule"], ["rules.name"], name="rule_versions_rule_fk"),
        sa.PrimaryKeyConstraint("rule", "version", name="rule_versions_pk"),
    )
    op.create_table(
        "tag_changes",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("envelope_id", WORDS, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("old", WORDS, nullable=True),
        sa.Column("new", WORDS, nullable=True),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.ForeignKeyConstraint(
            ["envelope_id"], ["envelopes.id"], name="tag_changes_envelope_id_fk"
        ),
        sa.PrimaryKeyConstraint("id", name="tag_changes_pk"),
    )
    op.create_index("tag_changes_by_key", "tag_changes", ["envelope_id", "key", "id"], unique=False)
    op.create_table(
        "tags",
        sa.Column("envelope_id", WORDS, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("value", WORDS, nullable=False),
        sa.Column("registered_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["envelope_id"], ["envelopes.id"], name="tags_envelope_id_fk"),
        sa.PrimaryKeyConstraint("envelope_id", "key", name="tags_pk"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "tags_by_value", "tags", ["key", "value", "registered_at", "envelope_id"], unique=False
    )
    op.create_table(
        "deployment_versions",
        sa.Column("deployment", WORDS, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("config", Json(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment"], ["deployments.name"], name="deployment_versions_deployment_fk"
        ),
        sa.PrimaryKeyConstraint("deployment", "version", name="deployment_versions_pk"),
    )
    op.create_table(
        "exclusions",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("deployment", WORDS, nullable=False),
        sa.Column("envelope_id", WORDS, nullable=False),
        sa.Column("reason", WORDS, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.Column("lifted_at", UtcTime(), nullable=True),
        sa.Column("lifted_by", WORDS, nullable=True),
        sa.ForeignKeyConstraint(
            ["deployment"], ["deployments.name"], name="exclusions_deployment_fk"
        ),
        sa.ForeignKeyConstraint(
            ["envelope_id"], ["envelopes.id"], name="exclusions_envelope_id_fk"
        ),
        sa.PrimaryKeyConstraint("id", name="exclusions_pk"),
    )
    op.create_index(
        "exclusions_by_deployment", "exclusions", ["deployment", "envelope_id"], unique=False
    )
    op.create_table(
        "releases",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("deployment", WORDS, nullable=False),
        sa.Column("envelope_id", WORDS, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("rule", WORDS, nullable=True),
        sa.Column("rule_version", sa.Integer(), nullable=True),
        sa.Column("config_version", sa.Integer(), nullable=False),
        sa.Column("app_version", WORDS, nullable=True),
        sa.Column("actor", WORDS, nullable=False),
        sa.Column("reason", WORDS, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.Column("live_at", UtcTime(), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["deployment"], ["deployments.name"], name="releases_deployment_fk"
        ),
        sa.ForeignKeyConstraint(["envelope_id"], ["envelopes.id"], name="releases_envelope_id_fk"),
        sa.PrimaryKeyConstraint("id", name="releases_pk"),
    )
    op.create_index(
        "releases_by_deployment", "releases", ["deployment", "created_at", "id"], unique=False
    )
    op.create_index("releases_by_time", "releases", ["created_at", "id"], unique=False)
    op.create_index(
        "releases_open",
        "releases",
        ["deployment", "created_at"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "release_events",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("release_id", WORDS, nullable=False),
        sa.Column("from_state", WORDS, nullable=True),
        sa.Column("to_state", WORDS, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.Column("reason", WORDS, nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.id"], name="release_events_release_id_fk"
        ),
        sa.PrimaryKeyConstraint("id", name="release_events_pk"),
    )
    op.create_index(
        "release_events_by_release", "release_events", ["release_id", "id"], unique=False
    )

    counter = sa.table("change_counter", sa.column("id"), sa.column("seq"))
    op.execute(counter.insert().values(id=1, seq=0))
