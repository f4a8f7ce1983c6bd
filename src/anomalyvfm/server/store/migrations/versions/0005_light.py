"""What an inspected part scored by its light alone; null where the model does not judge it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("inspections", sa.Column("light", sa.Double(), nullable=True))
