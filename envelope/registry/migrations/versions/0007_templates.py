"""Deployments that a rule template makes, and what they have in common.

Revision ID: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from envelope.registry.tables import Json, UtcTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("deployments", sa.Column("made_of", Json()))
    op.add_column(
        "deployments",
        sa.Column("is_made", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.create_table(
        "templates",
        sa.Column("text", WORDS, nullable=False),
        sa.Column("config", Json(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.Column("updated_by", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("text", name="templates_pk"),
    )
