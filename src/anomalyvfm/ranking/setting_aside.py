"""A fit of images that nobody has looked at: the oddest of them are left out before anything is learned."""

from __future__ import annotations

from anomalyvfm.data.roi import Roi
from anomalyvfm.data.sources import source_names
from anomalyvfm.pipeline import Good
from anomalyvfm.presets import GaussianPreset, Preset, preset
from anomalyvfm.ranking.rank import rank
from anomalyvfm.tracking import Tracker


def without_odd(
    good: Good, share: float, settings: Preset, device: str, seed: int, track: Tracker, roi: Roi | None
) -> tuple[Good, list[tuple[str, float]]]:
    """All but that ``share`` of the images which is the most unlike the rest, as `rank` orders them.

    Images are seen as ``settings`` have it. Returned too are the names and scores of those left out, the
    oddest first. Raises InputError where there is nothing to rank.
    """
    every, learned = [*good.images, *good.validation], len(good.images)
    if not isinstance(settings, GaussianPreset):
        image = {f"image.{key}": value for key, value in settings.image.model_dump().items()}
        settings = preset("v2").override({"backbone": settings.backbone, **image})
    assert isinstance(settings, GaussianPreset)
    ranking = rank(every, settings, share, device, seed, track, roi)
    odd, names = ranking.order[: ranking.odd], source_names(every)
    kept = sorted(set(range(len(every))).difference(odd))
    left = Good(
        [every[row] for row in kept if row < learned],
        [every[row] for row in kept if row >= learned],
        good.category,
        good.defects,
    )
    return left, [(names[row], float(ranking.scores[row])) for row in odd]
