"""Images in which a person has confirmed a defect, with masks of it where there are some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.placing import InputFrame
from anomalyvfm.data.sources import ImageSource, ReadingSettings, describe, readable_sizes
from anomalyvfm.errors import InputError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Defect:
    """An image of a defective part, and where its defect is: a mask's file, or (H, W) as large as the image.

    Without a mask, its oddest places are taken for the defect.
    """

    image: ImageSource
    mask: str | Path | Mask | None = None

    def marked(self, size: tuple[int, int]) -> Mask | None:
        """(H, W) where the defect is, in an image of ``size``; None where nobody has marked it.

        Raises InputError for a mask of another size, or one that marks nothing.
        """
        if self.mask is None:
            return None
        if isinstance(self.mask, np.ndarray):
            mask, name = np.asarray(self.mask != 0, bool), f"the mask of {describe(self.image)}"
        else:
            from anomalyvfm.data.reading import read_mask  # arrays do without Pillow

            mask, name = read_mask(Path(self.mask)), str(self.mask)
        if mask.shape != size:
            found = "×".join(map(str, mask.shape))
            raise InputError(
                f"{name}: mask of {found} pixels for an image of {size[0]}×{size[1]}"
                f" ({describe(self.image)}); make them the same size"
            )
        if not mask.any():
            raise InputError(
                f"{name}: marks nothing; draw the defect in it, or remove it to have the oddest places taken"
            )
        return mask

    def covered(self, size: tuple[int, int], frame: InputFrame) -> NDArray[np.float32] | None:
        """(height, width) by how much the mask covers each pixel of the frame, 0 to 1."""
        mask = self.marked(size)
        if mask is None:
            return None
        white = np.where(mask, np.uint8(255), np.uint8(0))
        placed = frame.place(np.repeat(white[..., None], 3, axis=2))[..., 0]
        covered: NDArray[np.float32] = placed.astype(np.float32) / np.float32(255)
        return covered


def check_masks(defects: Sequence[Defect], settings: ReadingSettings) -> None:
    """Raise InputError, before anything is learned, for a mask that does not fit its image."""
    for defect in defects:
        if defect.mask is not None:
            for size in readable_sizes([defect.image], settings):  # what cannot be read is named later
                defect.marked(size)
