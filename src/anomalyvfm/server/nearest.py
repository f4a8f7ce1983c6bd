"""The place of a good part that looks most like the odd place of this one."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import case, or_, select
from sqlalchemy.orm import Session

from anomalyvfm.server.store.tables import InspectionRow

_CANDIDATES = 40
_SHIFTS = (-4, -2, 0, 2, 4)
_LEAST_SIDE = 16  # of the patch compared, in pixels of the thumbnail


def nearest_good(
    session: Session, row: InspectionRow, thumbnail: Callable[[str], bytes]
) -> dict[str, Any] | None:
    """Compare the oddest region with the same place, shifted a little, of the newest good parts.

    Parts that review found good come first, then those the model passed. Patches are compared on
    thumbnails, each at its own mean brightness. None where nothing is odd or there is no good part.
    """
    if not row.regions:
        return None
    own = _grey(thumbnail(row.image))
    x0, y0, x1, y1 = _box(row, own.shape)
    patch = _centred(own[y0:y1, x0:x1])
    best: tuple[float, InspectionRow, int, int] | None = None
    for other in _candidates(session, row):
        picture = _grey(thumbnail(other.image))
        if picture.shape != own.shape:
            continue
        for dy in _SHIFTS:
            for dx in _SHIFTS:
                top, left = y0 + dy, x0 + dx
                if top < 0 or left < 0 or y1 + dy > own.shape[0] or x1 + dx > own.shape[1]:
                    continue
                there = _centred(picture[top : y1 + dy, left : x1 + dx])
                distance = float(np.sqrt(np.mean((there - patch) ** 2)))
                if best is None or distance < best[0]:
                    best = distance, other, dx, dy
    if best is None:
        return None
    distance, other, dx, dy = best
    scale = row.width / own.shape[1]
    own_bbox = [round(side * scale) for side in (x0, y0, x1, y1)]
    bbox = [round((side + shift) * scale) for side, shift in zip((x0, y0, x1, y1), (dx, dy) * 2, strict=True)]
    return {
        "inspection_id": other.id,
        "bbox": bbox,
        "own_bbox": own_bbox,
        "distance": round(distance, 3),
    }


def _candidates(session: Session, row: InspectionRow) -> list[InspectionRow]:
    other = InspectionRow
    passed = or_(other.label == "good", other.label.is_(None) & ~other.anomalous)
    query = select(other).where(
        other.model == row.model,
        other.id != row.id,
        other.image != row.image,
        other.width == row.width,
        other.height == row.height,
        passed,
    )
    reviewed_first = case((other.label == "good", 0), else_=1)
    return list(session.scalars(query.order_by(reviewed_first, other.id.desc()).limit(_CANDIDATES)))


def _box(row: InspectionRow, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The oddest region on the thumbnail, at least a few pixels wide."""
    scale = shape[1] / row.width
    x0, y0, x1, y1 = (side * scale for side in row.regions[0]["bbox"])
    sides = []
    for low, high, length in ((x0, x1, shape[1]), (y0, y1, shape[0])):
        middle, half = (low + high) / 2, max(high - low, _LEAST_SIDE) / 2
        begin = int(max(0, min(middle - half, length - 2 * half)))
        sides.append((begin, min(length, int(np.ceil(begin + 2 * half)))))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def _grey(picture: bytes) -> NDArray[np.float32]:
    # Thumbnails are our own JPEGs, made by a decoding worker; nothing of the upload is left in them.
    with Image.open(BytesIO(picture), formats=["JPEG"]) as image:
        return np.asarray(image.convert("L"), np.float32)


def _centred(patch: NDArray[np.float32]) -> NDArray[np.float32]:
    centred: NDArray[np.float32] = patch - patch.mean()
    return centred
