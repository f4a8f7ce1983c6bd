"""What one image changes in a model: the same when a person says so and when a version is made again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalyvfm.data.defects import Defect
from anomalyvfm.data.polygons import painted

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector


@dataclass(frozen=True)
class ImageChange:
    """``learn`` and ``forget`` it as a good one; ``confirm`` a defect in it, or ``take_back`` that.

    Of a version that did so, ``added`` says whether the image was learned as well, as where a confirmed
    defect turns out to be good, and ``removed`` whether it was forgotten as well, as where a learned image
    turns out to have a defect. ``outline`` is the defect's, where somebody drew it.
    """

    action: str
    added: bool
    removed: bool
    outline: list[Any] | None = None

    def apply(self, detector: Detector, pixels: Any, name: str) -> None:
        """Change a detector by the image (H, W, 3), by which name it lists it.

        Raises InputError where it cannot learn that, NotLearnedError where there is nothing to be forgotten;
        the detector may then be half changed.
        """
        if self.action == "take_back":
            detector.take_back([pixels])
        if self.removed and self.action != "take_back":
            detector.forget([pixels])
        if self.action == "confirm":
            detector.confirm([Defect(pixels, self._mask(pixels))], names=[name])
        elif self.added:
            detector.update([pixels], names=[name])

    def _mask(self, pixels: Any) -> Any:
        if self.outline is None:
            return None
        height, width = np.shape(pixels)[:2]
        return painted(self.outline, (width, height))
