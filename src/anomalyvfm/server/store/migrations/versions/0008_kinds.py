"""Kinds of defect that people saw, a model's parts by time, and which calibration waits for an engineer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("reviews", "inspections"):
        op.add_column(table, sa.Column("kind", sa.String(length=60), nullable=True))
    op.add_column("models", sa.Column("held_back", sa.JSON(), nullable=True))
    op.create_index(op.f("ix_inspections_model_kind"), "inspections", ["model", "kind"])
    op.create_index(op.f("ix_inspections_model_at"), "inspections", ["model", "at"])
