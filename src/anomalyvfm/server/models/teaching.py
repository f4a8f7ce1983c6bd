"""A part becomes one of the good images of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector


def teach(detector: Detector, pixels: NDArray[Any], part: int | None, name: str) -> None:
    """Have a detector learn a part (H, W, 3), which its gallery then knows by its name and number."""
    known = detector.gallery_.images.keys()
    detector.update([pixels])
    called = f"part {part}" + f", {name}" * bool(name)
    new = detector.gallery_.images.keys() - known
    detector.gallery_ = detector.gallery_.renamed(dict.fromkeys(new, called))
