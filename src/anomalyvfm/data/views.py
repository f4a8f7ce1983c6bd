"""An image in the frame as a backbone sees it: in a standard exposure, at each scale. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.pixels import plane_of, thrice, written_out
from anomalyvfm.data.placing import InputFrame
from anomalyvfm.data.roi import filled

BRIGHTNESS, CONTRAST = 127.5, 48
"""Mean (half a grey level above it, for values are cut off) and standard deviation of a standard exposure."""
OUTSIDE = 127
"""Grey level of what does not count, that of the mean of what does."""
LEAST_CONTRAST = 4
"""Grey levels: a nearly uniform image has no contrast to be stretched, only noise."""


def views_of(
    pixels: NDArray[np.uint8],
    views: Sequence[InputFrame],
    standard: bool,
    inside: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.uint8], ...]:
    """An image (H, W, 3) in the frame at each size of ``views``, in a ``standard`` exposure or not.

    Where only what is ``inside`` (H, W) counts, the rest is uniform and of medium grey.
    """
    exposed = filled(standard_exposure(pixels, inside) if standard else pixels, inside, OUTSIDE)
    return tuple(written_out(view.place(exposed)) for view in views)


def standard_exposure(
    pixels: NDArray[np.uint8], inside: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """An image (H, W, 3) with the brightness and contrast of any other: its mean and standard deviation.

    Those of what is ``inside`` where only that counts.

    One gain and one offset for all channels, so colours keep their differences. What changes the light of
    the whole image then no longer looks like a change of the part.
    """
    plane = plane_of(pixels)
    # What a value becomes depends on nothing but the value: 256 of them are worked out, not all pixels.
    counted = plane.ravel() if inside is None else plane[inside].ravel()
    counts, levels = np.bincount(counted, minlength=256), np.arange(256)
    mean = counts @ levels / counted.size
    gain = CONTRAST / (np.sqrt(counts @ np.square(levels - mean) / counted.size) + LEAST_CONTRAST)
    table = np.clip((levels - mean) * gain + BRIGHTNESS, 0, 255).astype(np.uint8)
    looked_up = plane.tobytes().translate(table.tobytes())
    result = np.frombuffer(looked_up, np.uint8).reshape(plane.shape)
    return result if plane.ndim == 3 else thrice(result)
