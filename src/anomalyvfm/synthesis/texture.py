"""Texture defects: a patch whose grain is not the material's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalyvfm.synthesis.patch import (
    Image8,
    Mask,
    changed,
    check_image,
    check_severity,
    draw_patch,
    scale_of,
)

KINDS = ("gaussian", "salt-and-pepper", "blur")

_SIGMA = 30.0  # grey levels
_SPECKLED = 0.15  # share of a patch's pixels that become black or white
_BLUR = 4.0  # standard deviation, px in an image of the reference size


def texture(
    image: Image8, rng: np.random.Generator, severity: float = 1.0, kinds: Sequence[str] = KINDS[:1]
) -> tuple[Image8, Mask]:
    """A copy of (H, W, C) with a patch of noise, specks or blur, and its mask (H, W).

    `severity` in (0, 1] scales the noise's standard deviation (30 grey levels at 1), the share of specks and
    the width of the blur. One of `kinds` is drawn. Raises InputError for an image too small for a patch.
    """
    check_image(image)
    check_severity(severity)
    height, width, channels = image.shape
    window = draw_patch((height, width), rng).window
    kind = kinds[int(rng.integers(len(kinds)))]
    old = image[window].astype(np.float32)
    if kind == "gaussian":
        # A grey image stays grey: coloured noise would be told from any real defect at a glance.
        depth = 1 if (image == image[..., :1]).all() else channels
        new = old + rng.normal(0, _SIGMA * severity, (*old.shape[:2], depth)).astype(np.float32)
    elif kind == "salt-and-pepper":
        specks = rng.random(old.shape[:2]) < _SPECKLED * severity
        white = rng.random(old.shape[:2]) < 0.5
        new = np.where(specks[..., None], np.where(white, 255, 0)[..., None], old)
    else:
        from scipy.ndimage import gaussian_filter

        sigma = max(_BLUR * severity * scale_of((height, width)), 0.5)
        # The whole image's pixels reach into the patch, or its border would be sharper than its middle.
        new = gaussian_filter(image.astype(np.float32), (sigma, sigma, 0), mode="nearest")[window]
    defective = image.copy()
    defective[window] = np.clip(np.rint(new), 0, 255).astype(np.uint8)
    return defective, changed(image, defective)
