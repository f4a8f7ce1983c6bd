"""Whether the threshold that an inspection was judged by keeps a promise; not known of earlier ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("inspections", sa.Column("promised", sa.Boolean(), nullable=True))
