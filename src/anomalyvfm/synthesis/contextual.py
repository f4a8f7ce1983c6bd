"""Contextual defects: something normal in a place where it is not."""

from __future__ import annotations

import numpy as np

from anomalyvfm.errors import InputError
from anomalyvfm.synthesis.patch import (
    Image8,
    Mask,
    changed,
    check_image,
    check_severity,
    draw_patch,
    place_patch,
)

OPACITY = (0.6, 0.8)

# Much of an image may be empty background, and pasting background on background changes nothing.
_ATTEMPTS = 8


def contextual(
    image: Image8, rng: np.random.Generator, severity: float = 1.0, *, donor: Image8
) -> tuple[Image8, Mask]:
    """A copy of (H, W, C) with a patch of another normal image blended in, and its mask (H, W).

    The patch comes from anywhere in `donor`, whose size may differ, with an opacity of 0.6 to 0.8 times
    `severity` in (0, 1]. Where it changes less than half of the pixels it covers, other places are tried
    and the one that changes most is taken; the mask is empty only where none changes anything. Raises
    InputError for an image or donor too small for a patch, and for a donor of other channels.
    """
    check_image(image)
    check_image(donor)
    check_severity(severity)
    if donor.shape[2] != image.shape[2]:
        raise InputError(
            f"an image of {donor.shape[2]} channels cannot be pasted into one of {image.shape[2]};"
            " give images of the same kind"
        )
    size, source_size = (image.shape[0], image.shape[1]), (donor.shape[0], donor.shape[1])
    opacity = severity * rng.uniform(*OPACITY)
    best, best_mask = image, np.zeros(size, np.bool_)
    for _ in range(_ATTEMPTS):
        target = draw_patch(size, rng)
        if target.height > source_size[0] or target.width > source_size[1]:
            raise InputError(
                f"a patch of {target.height}×{target.width} px cannot be cut from an image of"
                f" {source_size[0]}×{source_size[1]} px; give images of about the same size"
            )
        source = place_patch(target.height, target.width, source_size, rng)
        old, new = image[target.window].astype(np.float64), donor[source.window].astype(np.float64)
        defective = image.copy()
        defective[target.window] = np.rint(old + opacity * (new - old)).astype(np.uint8)
        mask = changed(image, defective)
        if mask.sum() > best_mask.sum():
            best, best_mask = defective, mask
        if 2 * mask.sum() >= target.height * target.width:
            break
    return best, best_mask
