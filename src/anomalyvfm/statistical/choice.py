"""What a model chooses when it is fitted, without defects: how far parts are aligned, which scales count.

Both are asked of good images that have not been learned. How large a window of positions shares a Gaussian is
told by the density that these images have under each; which scales count, by how well their scores tell
drawn defects from the same images without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anomalyvfm.decision.calibration import Alternative

WINDOWS = (1, 2, 4, 8, 16)
"""Positions a side that may be learned together."""

# A window twice as large must raise the mean log density of good patches by so much, for each dimension.
# Where parts are aligned it gains at most 0.02, on layouts and textures 0.04 or more (docs/trials.md).
_GAIN_OF_A_LARGER_WINDOW = 0.03

# A scale counts no more where another tells drawn defects by so much more area under the ROC curve. Smaller
# differences say more of what was drawn than of what will come.
_LEAD_THAT_DECIDES = 0.05

# Where parts are aligned, defects show rather at the coarse scale; elsewhere neither scale is likelier, and
# the image as a whole, whose content varies, is less likely to tell.
_LOG_PRIOR_OF_FINE = -1.0
_LOG_PRIOR_OF_WHOLE = -2.0


@dataclass(frozen=True)
class Choice:
    """Windows of so many positions a side, and which scores tell a defect, alone or together.

    ``densities`` are the mean log densities by window, ``told`` the areas under the ROC curve of drawn
    defects by scale, the largest scale first; both empty where nothing was measured.
    """

    window: int
    alternatives: tuple[Alternative, ...]
    densities: Mapping[int, float] = field(default_factory=dict)
    told: Sequence[float] = ()

    def counts(self, scale: int) -> bool:
        """Whether the scale's score has a part in any alternative."""
        return any(one.weights[scale] > 0 for one in self.alternatives)

    def as_dict(self) -> dict[str, Any]:
        """As ``model.json`` holds it."""
        return {
            "window": self.window,
            "alternatives": [
                {"weights": list(one.weights), "log_prior": one.log_prior} for one in self.alternatives
            ],
            "densities": {str(window): round(density, 4) for window, density in self.densities.items()},
            "told": [round(area, 4) for area in self.told],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Choice:
        """The inverse of :meth:`as_dict`."""
        return cls(
            data["window"],
            tuple(Alternative(tuple(one["weights"]), one["log_prior"]) for one in data["alternatives"]),
            {int(window): density for window, density in data["densities"].items()},
            tuple(data["told"]),
        )


def larger_pays(density: float, of_larger: float) -> bool:
    """Whether the window twice as large is worth it, by good images' mean log densities under both."""
    return of_larger - density > _GAIN_OF_A_LARGER_WINDOW


def counting_scales(told: Sequence[float]) -> tuple[int, ...]:
    """Which scales tell drawn defects about as well as the best, by their areas under the ROC curve."""
    return tuple(n for n, area in enumerate(told) if area > max(told) - _LEAD_THAT_DECIDES)


def alternatives(
    window: int, scales: Sequence[int], count: int, summary_weight: float
) -> tuple[Alternative, ...]:
    """How the scores of ``count`` scales and of the image as a whole are joined, where ``scales`` count."""

    def weights(*own: int, summary: float = 0.0) -> tuple[float, ...]:
        return (*(float(number in own) for number in range(count)), summary)

    if window > 1:
        return (
            *(Alternative(weights(n)) for n in scales),
            Alternative(weights(summary=1.0), _LOG_PRIOR_OF_WHOLE),
        )
    *finer, coarsest = scales
    with_summary = Alternative(weights(coarsest, summary=summary_weight))
    return (*(Alternative(weights(n), _LOG_PRIOR_OF_FINE) for n in finer), with_summary)
