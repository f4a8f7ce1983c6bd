"""What sources of the station have brought: frames that were refused, and files that were taken."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    fields = ("line", "product", "lot", "serial", "operator", "shift")
    op.create_table(
        "refusals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("picture", sa.LargeBinary(), nullable=True),
        *(sa.Column(field, sa.String(length=100), nullable=True) for field in fields),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusals")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_refusals_at"), "refusals", ["at"])
    op.create_table(
        "source_files",
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("path", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("source", "path", name=op.f("pk_source_files")),
    )
    op.add_column("sinks", sa.Column("refusals_told", sa.Integer(), nullable=False, server_default="0"))
