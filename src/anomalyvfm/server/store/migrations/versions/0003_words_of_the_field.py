"""Thresholds of regions and the input frame by the names that the rest of the program calls them."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_RENAMED = {"outline_level": "low_threshold", "region_level": "high_threshold", "canvas": "input_frame"}


def upgrade() -> None:
    for old, new in _RENAMED.items():
        op.execute(f"ALTER TABLE inspections RENAME COLUMN {old} TO {new}")
