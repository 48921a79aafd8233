"""Tokens of the registry server: who they are for, and what they may do.

Revision ID: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from envelope.registry.tables import UtcTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("sha256", WORDS, nullable=False),
        sa.Column("holder", WORDS, nullable=False),
        sa.Column("role", WORDS, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("created_by", WORDS, nullable=False),
        sa.Column("revoked_at", UtcTime(), nullable=True),
        sa.Column("revoked_by", WORDS, nullable=True),
        sa.PrimaryKeyConstraint("id", name="tokens_pk"),
        sa.UniqueConstraint("sha256", name="tokens_sha256_uq"),
    )
