"""What gates that run on the cluster have said.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from envelope.registry.tables import Json, UtcTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "gate_runs",
        sa.Column("deployment", WORDS, nullable=False),
        sa.Column("envelope_id", WORDS, nullable=False),
        sa.Column("gate", WORDS, nullable=False),
        sa.Column("spec", Json(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("reason", WORDS, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment"], ["deployments.name"], name="gate_runs_deployment_fk"
        ),
        sa.ForeignKeyConstraint(["envelope_id"], ["envelopes.id"], name="gate_runs_envelope_id_fk"),
        sa.PrimaryKeyConstraint("deployment", "envelope_id", "gate", name="gate_runs_pk"),
    )
    op.create_index(
        "gate_runs_under_way",
        "gate_runs",
        ["state"],
        sqlite_where=sa.text("state IN ('asked', 'running')"),
        postgresql_where=sa.text("state IN ('asked', 'running')"),
    )
