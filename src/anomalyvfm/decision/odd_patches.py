"""What images show where they are oddest: enough to tell, later, how like anything else that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_CODE = 127


@dataclass(frozen=True)
class OddPatches:
    """The M oddest patches of each of n images, and the images' maps.

    How a patch deviates from good ones at its place is kept whitened, so that good patches vary by about 1
    in every direction, and in 8 bits: a code is off by at most half a step, 1/254 of the patch's largest
    deviation.
    """

    maps: NDArray[np.float32]
    """(n, H, W) patch distances."""
    places: NDArray[np.int32]
    """(n, M) numbers of the patches in their grid, row by row; ascending."""
    codes: NDArray[np.int8]
    """(n, M, D) deviations in units of ``steps``."""
    steps: NDArray[np.float32]
    """(n, M) > 0."""

    @classmethod
    def of(cls, maps: NDArray[Any], places: NDArray[Any], deviations: NDArray[Any]) -> OddPatches:
        """Of maps (n, H, W), places (n, M) and deviations (n, M, D)."""
        steps = np.maximum(np.abs(deviations).max(2) / _MOST_CODE, 1e-30).astype(np.float32)
        codes = np.rint(deviations / steps[..., None]).clip(-_MOST_CODE, _MOST_CODE).astype(np.int8)
        return cls(maps.astype(np.float32), places.astype(np.int32), codes, steps)

    @classmethod
    def joined(cls, parts: Sequence[OddPatches]) -> OddPatches:
        """Those of all images of the parts, in their order."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in ODD_ARRAYS})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> OddPatches:
        """What `arrays` gave."""
        return cls(**{name: arrays[name] for name in ODD_ARRAYS})

    def __len__(self) -> int:
        return len(self.maps)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that is kept, by the names of `ODD_ARRAYS`."""
        return {name: getattr(self, name) for name in ODD_ARRAYS}

    def along(self, direction: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, M) how far the patches deviate along a direction (D,), image by image."""
        found = np.empty(self.steps.shape, np.float32)
        for row, (codes, steps) in enumerate(zip(self.codes, self.steps, strict=True)):
            found[row] = (codes.astype(np.float32) @ direction) * steps
        return found


ODD_ARRAYS = tuple(field.name for field in fields(OddPatches))
"""What is stored of odd patches."""
