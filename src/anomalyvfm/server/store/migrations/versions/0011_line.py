"""The fields of parts, and what sinks have been told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for field in ("line", "product", "lot", "serial", "operator", "shift"):
        op.add_column("inspections", sa.Column(field, sa.String(length=100), nullable=True))
    for field in ("lot", "serial"):
        op.create_index(op.f(f"ix_inspections_{field}"), "inspections", [field])
    op.add_column("jobs", sa.Column("fields", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "sinks",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sinks")),
    )
    op.create_table(
        "put_off",
        sa.Column("sink", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("given_up", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sink", "number", name=op.f("pk_put_off")),
    )
