"""Outlines of defects that people drew, and versions that learned from them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("reviews", "versions"):
        op.add_column(table, sa.Column("outline", sa.JSON(none_as_null=True), nullable=True))
