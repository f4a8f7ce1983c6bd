"""A look at good images while they are learned: what is asked of them once all have been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anomalyvfm.data.near_copies import NearCopies
from anomalyvfm.features.extractor import Extracted
from anomalyvfm.statistical.kept_images import KeptImages


@dataclass(frozen=True)
class Look:
    """Which images are judged again, and which show nearly the same as images of confirmed defects."""

    kept: KeptImages
    defects: Sequence[str]
    """The names of images of defects, in the order ``near`` has them."""
    near: NearCopies

    def add(self, batch: Extracted, names: Sequence[str]) -> None:
        """Note what a batch shows, out of images with ``names``. Raises InputError on a full disk."""
        self.kept.add(batch, names)
        if self.defects:
            for image, position in zip(batch.images, batch.positions, strict=True):
                self.near.look(names[position], image.pixels)

    def near_copies(self) -> list[tuple[str, str]]:
        """Names of images of defects, and of the good image that shows nearly the same as each."""
        return [(self.defects[row], name) for row, name in self.near.found().items()]
