"""Which step of its rollout a release is at, and since when.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from envelope.registry.tables import UtcTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("releases", sa.Column("step", sa.Integer()))
    op.add_column("releases", sa.Column("step_since", UtcTime()))
