"""What a rollback goes back to, pauses, protected tags, and rules that were removed.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from envelope.registry.tables import Json, UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("reason", WORDS, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.Column("resumed_at", UtcTime()),
        sa.Column("resumed_by", WORDS),
        sa.PrimaryKeyConstraint("id", name="pauses_pk"),
    )
    op.create_table(
        "protected_tags",
        sa.Column("key", WORDS, nullable=False),
        sa.Column("actors", Json(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("key", name="protected_tags_pk"),
    )
    is_removed: sa.Column[bool] = sa.Column(
        "is_removed", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("rules", is_removed)  # in place: rule_versions refers to the rows
    with op.batch_alter_table("exclusions") as exclusions:
        exclusions.add_column(sa.Column("back_to", WORDS))
        exclusions.create_foreign_key("exclusions_back_to_fk", "envelopes", ["back_to"], ["id"])
