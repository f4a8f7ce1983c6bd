"""Synthetic defects as files: images, their masks, and a sheet to look at."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from anomalyvfm.errors import InputError
from anomalyvfm.synthesis.patch import Image8, Mask
from anomalyvfm.synthesis.synthesize import Synthetic

Picture = tuple[Image8, str]
"""A picture (h, w, 3) and its caption, as contact sheets are made of."""

_OUTLINE = np.array((255, 0, 255), np.uint8)
_LONGEST_SIDE = 512


def write_pairs(made: Iterable[Synthetic], folder: Path, shown: int = 24) -> list[Picture]:
    """Write `images/` and `masks/`, and `synthetic.json` that lists them; return pictures for a sheet.

    `folder` is new or empty. The first `shown` come back as two pictures each: the image as a model sees it,
    and with the mask outlined. Grey, RGB and RGBA images can be written; InputError for other channels.
    """
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    listing: list[dict[str, object]] = []
    pictures: list[Picture] = []
    for number, synthetic in enumerate(made):
        stem = f"{number:03d}_{synthetic.stage}"
        image, mask = f"images/{stem}.png", f"masks/{stem}_mask.png"
        _writable(synthetic.image).save(folder / image, compress_level=1)
        Image.fromarray(synthetic.mask).save(folder / mask)
        listing.append(
            {
                "image": image,
                "mask": mask,
                "stage": synthetic.stage,
                "source": synthetic.source,
                "donor": synthetic.donor,
                "pixels": int(synthetic.mask.sum()),
            }
        )
        if number < shown:
            plain, outlined = _pictures(synthetic)
            pictures += [(plain, f"{number}. {synthetic.stage}"), (outlined, "its mask")]
    (folder / "synthetic.json").write_text(json.dumps(listing, indent=2) + "\n", encoding="utf-8")
    return pictures


def _pictures(synthetic: Synthetic) -> tuple[Image8, Image8]:
    """The image and the image with its mask outlined, (h, w, 3), no side over 512 px."""
    whole = _writable(synthetic.image).convert("RGB")
    whole.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    plain = np.asarray(whole)
    # Any defective pixel counts in the smaller picture: a thin line must not vanish.
    share = Image.fromarray(synthetic.mask.astype(np.float32)).resize(whole.size, Image.Resampling.BOX)
    outlined = plain.copy()
    outlined[_border(np.asarray(share) > 0)] = _OUTLINE
    return plain, outlined


def _border(mask: Mask) -> Mask:
    """Pixels just outside the mask once its gaps are closed: specks get one outline, not hundreds."""
    from scipy.ndimage import binary_closing, binary_dilation

    reach = 4
    wide = np.pad(mask, 2 * reach)
    closed = binary_closing(wide, iterations=reach)
    border: Mask = binary_dilation(closed, iterations=3) & ~binary_dilation(closed)
    return border[2 * reach : -2 * reach, 2 * reach : -2 * reach]


def _writable(image: Image8) -> Image.Image:
    channels = image.shape[2]
    if channels not in (1, 3, 4):
        raise InputError(f"images of {channels} channels cannot be written as PNG; give 1, 3 or 4")
    return Image.fromarray(image[..., 0] if channels == 1 else image)
