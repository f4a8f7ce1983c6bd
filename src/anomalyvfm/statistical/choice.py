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
# Where parts are aligned it gains at most 0.02, on layouts and textures 0.05 or more (docs/trials.md).
_GAIN_OF_A_LARGER_WINDOW = 0.03

# What tells drawn defects less well than another is less likely to tell others: by so much of the logarithm
# for each unit of area under the ROC curve. What is less likely than this does not count.
_LOG_PRIOR_OF_A_LEAD = -20.0
_LEAST_LOG_PRIOR = -3.0

# Where parts are aligned, defects show rather at the coarse scale; elsewhere neither scale is likelier, and
# the image as a whole, whose content varies, is less likely to tell.
_LOG_PRIOR_OF_FINE = -1.0
_LOG_PRIOR_OF_WHOLE = -1.5

# Of the summary's distance beside that of the patches, where it is known by any number of images; and by how
# many images, for each of its dimensions, half of that.
_SUMMARY_WEIGHT = 0.6
_HALF_KNOWN = 0.5


@dataclass(frozen=True)
class Choice:
    """How a model judges: by windows of so many positions a side, at these of its scales, 0 the largest.

    ``banks`` are the scales at which patches are compared with remembered ones; the number after the scales'
    stands for the detail. ``summary_weight`` is that of the image as a whole where parts are aligned.
    ``densities`` are the mean log densities by window, ``told`` the areas under the ROC curve of drawn
    defects, of the Gaussians by scale and then of the banks; both are empty where nothing was measured.
    """

    window: int
    scales: tuple[int, ...]
    summary_weight: float
    banks: tuple[int, ...] = ()
    densities: Mapping[int, float] = field(default_factory=dict)
    told: Sequence[float] = ()

    def alternatives(self, count: int, light: bool = False) -> tuple[Alternative, ...]:
        """How the scores of ``count`` scales, of the banks and of the whole image are joined into one.

        With ``light``, that of the light comes after them.
        """
        patches = count + len(self.banks)
        priors = self.log_priors(count)

        def weights(*own: int, summary: float = 0.0, light_alone: float = 0.0) -> tuple[float, ...]:
            whole = (summary, light_alone) if light else (summary,)
            return (*(float(number in own) for number in range(patches)), *whole)

        by_light = (Alternative(weights(light_alone=1.0), _LOG_PRIOR_OF_WHOLE),) if light else ()
        if self.window > 1:
            return (
                *(
                    Alternative(weights(number), prior)
                    for number, prior in zip((*self.scales, *range(count, patches)), priors, strict=True)
                ),
                Alternative(weights(summary=1.0), _LOG_PRIOR_OF_WHOLE),
                *by_light,
            )
        *finer, coarsest = self.scales
        with_summary = Alternative(weights(coarsest, summary=self.summary_weight))
        fine = (Alternative(weights(scale), _LOG_PRIOR_OF_FINE) for scale in finer)
        return (*fine, with_summary, *by_light)

    def log_priors(self, count: int) -> list[float]:
        """Logarithms of how likely each is to tell a defect: the scales, of ``count``, and then the banks.

        That of the likeliest is 0.
        """
        judging = [*self.scales, *(count + number for number in self.banks)]
        return [_log_prior(self.told, number) if self.told else 0.0 for number in judging]

    def reasons(self, seen: Sequence[Sequence[int]]) -> tuple[str, str, str]:
        """What was chosen and why, a line each: of places, of scales, and of the image as a whole.

        ``seen`` are height and width of the image at each scale.
        """
        sizes = [f"{height}×{width}" for height, width in seen]
        place = f"{self.window} × {self.window} places together" if self.window > 1 else "each place alone"
        places = f"learned {place}"
        if self.densities:
            found = ", ".join(f"{density:.3f} by {n} × {n}" for n, density in self.densities.items())
            aligned = "parts are not aligned" if self.window > 1 else "parts are aligned"
            places = f"{aligned}: {places} (log density of good images left out: {found})"
        count = len(sizes)
        named = [*(f"at {size} px" for size in sizes), "in detail"]
        kinds = {"by place": self.scales, "by the nearest good patches": self.banks}
        judged = [
            f"{kind} {' and '.join(named[number] for number in own)}" for kind, own in kinds.items() if own
        ]
        scales = f"judged {', '.join(judged)}"
        if self.told:
            each = zip(kinds, (self.told[:count], self.told[count:]), strict=True)
            told = "; ".join(
                f"{kind} {', '.join(f'{area:.3f} {name}' for area, name in zip(areas, named, strict=False))}"
                for kind, areas in each
                if areas
            )
            scales = f"{scales} (AUROC on drawn defects: {told})"
        whole = f"the image as a whole counts {self.summary_weight:.2f} beside its patches"
        if self.window > 1:
            whole = "the image as a whole counts apart from its patches: what lies in it varies"
        return places, scales, whole

    def identity(self) -> dict[str, Any]:
        """What two models must have in common to be judged by as one, as plain data."""
        return {"window": self.window, "scales": list(self.scales), "banks": list(self.banks)}

    def as_dict(self) -> dict[str, Any]:
        """As ``model.json`` holds it."""
        return {
            **self.identity(),
            "summary_weight": self.summary_weight,
            "densities": {str(window): round(density, 4) for window, density in self.densities.items()},
            "told": [round(area, 4) for area in self.told],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Choice:
        """The inverse of :meth:`as_dict`."""
        return cls(
            data["window"],
            tuple(data["scales"]),
            data["summary_weight"],
            tuple(data["banks"]),
            {int(window): density for window, density in data["densities"].items()},
            tuple(data["told"]),
        )


def larger_pays(density: float, of_larger: float) -> bool:
    """Whether the window twice as large is worth it, by good images' mean log densities under both."""
    return of_larger - density > _GAIN_OF_A_LARGER_WINDOW


def likely_to_tell(told: Sequence[float]) -> tuple[int, ...]:
    """Which of several count, by how well they tell drawn defects: their areas under the ROC curve."""
    return tuple(number for number in range(len(told)) if _log_prior(told, number) >= _LEAST_LOG_PRIOR)


def _log_prior(told: Sequence[float], number: int) -> float:
    return _LOG_PRIOR_OF_A_LEAD * (max(told) - told[number])


def summary_weight(images: int, dimensions: int) -> float:
    """That of a summary of so many dimensions, learned from so many images."""
    return round(_SUMMARY_WEIGHT * images / (images + _HALF_KNOWN * dimensions), 4)
