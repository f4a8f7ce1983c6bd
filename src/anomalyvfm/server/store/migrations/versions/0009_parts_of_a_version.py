"""A version's parts found without reading the model's others."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_inspections_model_version"), "inspections", ["model", "version"])
