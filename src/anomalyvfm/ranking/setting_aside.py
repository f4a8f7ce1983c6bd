"""Learning from images that nobody has looked at: what is unlike the others is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anomalyvfm.data import ImageSource
from anomalyvfm.data.sources import source_names
from anomalyvfm.presets import GaussianPreset, Preset, preset
from anomalyvfm.ranking.rank import rank
from anomalyvfm.tracking import Tracker, untracked


@dataclass(frozen=True)
class Sorted:
    """Images by whether they are like the others: the numbers ``kept``, and names and scores of the ``odd``.

    The oddest come first; what cannot be read is among the kept, for the fit to say so.
    """

    kept: list[int]
    odd: list[tuple[str, float]]


def set_aside(
    images: Sequence[ImageSource],
    settings: Preset,
    share: float,
    device: str = "auto",
    seed: int = 0,
    track: Tracker = untracked,
) -> Sorted:
    """Tell the oddest ``share`` of the images from the others, as ``rank`` does, in the settings' frame.

    Raises InputError where fewer than three different ones can be read.
    """
    looking = settings
    if not isinstance(looking, GaussianPreset):
        image = {f"image.{key}": value for key, value in settings.image.model_dump().items()}
        looking = preset("v2").override({"backbone": settings.backbone, **image})
        assert isinstance(looking, GaussianPreset)
    ranking = rank(images, looking, share, device, seed, track)
    names = source_names(images)
    odd = ranking.order[: ranking.odd]
    kept = sorted({*range(len(images))} - {*odd})
    return Sorted(kept, [(names[row], float(ranking.scores[row])) for row in odd])
