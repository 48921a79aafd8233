"""What the arms of experiments answered.

Revision ID: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from envelope.registry.tables import UtcTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "arm_counts",
        sa.Column("release_id", WORDS, nullable=False),
        sa.Column("counting", WORDS, nullable=False),
        sa.Column("arm", WORDS, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("times", sa.Text(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="arm_counts_release_id_fk"),
        sa.PrimaryKeyConstraint("release_id", "counting", "arm", name="arm_counts_pk"),
    )
