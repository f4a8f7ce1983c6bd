"""From a batch of images to the order in which they are unlike the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anomalyvfm.data import ImageSource, InputFrame
from anomalyvfm.data.roi import Roi
from anomalyvfm.data.sources import readable_sizes
from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.extractor import Extractor, frame_for
from anomalyvfm.features.grid import PatchGrid
from anomalyvfm.presets import GaussianPreset
from anomalyvfm.ranking.mutual import MutualDistances
from anomalyvfm.ranking.trimmed import TrimmedGaussians
from anomalyvfm.statistical.pipeline import position_grids
from anomalyvfm.tracking import Tracker, untracked

ODD_SHARE = 0.05
"""So many images of a batch are called odd, unless another share is asked for."""

# Fewer have nothing that most of them share.
_FEWEST = 3
# So many of the oddest patches make an image's score: a defect is small, noise is everywhere.
_PATCHES = 5
# Standard deviations of a normal distribution in its median absolute deviation.
_MAD_OF_NORMAL = 1.4826
# Of distances and spreads: logarithms are taken of them, and they are divided by.
_LEAST = 1e-6
# So many positions a side of the largest scale are learned together.
_WINDOW = 2
# How much each look counts.
_WEIGHTS = (1.0, 0.5)
# What is usual is learned of at most so many images, in memory: what a batch takes does not grow with it.
_REFERENCES = 200


@dataclass(frozen=True)
class Ranking:
    """How unlike the others each image of a batch is.

    Attributes
    ----------
    scores : (N,) by how much odder than the median image, in standard deviations of most; NaN for unreadable
    maps : (N, h, w) how unlike the usual patches are, in such deviations
    broken : messages about images that could not be read, by their number
    frame : where the maps lie
    references : with how many of them each was compared
    odd : how many of the first in :attr:`order` are called odd: one at least, else no more than the share
    """

    scores: NDArray[np.float64]
    maps: NDArray[np.float32]
    broken: dict[int, str]
    frame: InputFrame
    references: int
    odd: int

    @property
    def order(self) -> list[int]:
        """The numbers of the readable images, the oddest first."""
        return [int(row) for row in np.argsort(-self.scores, kind="stable") if row not in self.broken]

    @property
    def heat_range(self) -> tuple[float, float]:
        """Where heat starts, which every other image nowhere reaches, and where it is full: at the oddest."""
        highest = self.maps.reshape(len(self.maps), -1).max(1)
        low = float(np.nanmedian(highest))
        return low, max(float(np.nanmax(highest)), low + _LEAST)


def rank(
    images: Sequence[ImageSource],
    settings: GaussianPreset,
    odd_share: float = ODD_SHARE,
    device: str = "auto",
    seed: int = 0,
    track: Tracker = untracked,
    roi: Roi | None = None,
) -> Ranking:
    """Compare the images of a batch with each other; none need be good.

    ``seed`` chooses those that all are compared with, where there are many. With a ``roi`` what lies outside
    is not looked at. Raises InputError where fewer than three different images can be read, and where the
    ``roi`` is of images of another shape or leaves no patch.
    """
    if roi is not None:
        roi.require_fit(readable_sizes(images, settings.image))
    extractor = _extractor(images, settings, device, roi)
    grids = position_grids(extractor, settings.gaussian)
    order = np.random.default_rng(seed).permutation(len(images)).tolist()
    maps = np.full((len(images), *extractor.grid_shape), np.nan, np.float32)
    broken: dict[int, str] = {}

    def seen(numbers: Sequence[int], description: str) -> Iterator[tuple[list[int], list[int], list[Tensor]]]:
        """Batches of those of the images that can be read: their numbers, keys and patches by scale."""
        batches = extractor.extract([images[number] for number in numbers])
        done = 0
        for batch in track(batches, math.ceil(len(numbers) / extractor.batch), description):
            broken.update({numbers[done + place]: str(error) for place, error in batch.broken.items()})
            done += len(batch.sources)
            if batch.features is not None:
                rows = [numbers[position] for position in batch.positions]
                yield rows, [image.key for image in batch.images], _kept(batch.features, grids)

    known = list(seen(order[:_REFERENCES], "looking"))
    keys = [key for _, of_batch, _ in known for key in of_batch]
    if len(set(keys)) < _FEWEST:
        raise InputError(_too_few(len(images), len(images) - len(broken), broken))
    references = [torch.cat(parts) for parts in zip(*(scales for _, _, scales in known), strict=True)]
    usual = _Usual(grids, references, settings.gaussian.prior_images)
    others = {scale: MutualDistances(references[scale], keys) for scale in usual.looks}
    unusual, unmatched = np.full((2, len(images), len(usual.looks)), np.nan)
    for rows, of_batch, scales in chain(known, seen(order[_REFERENCES:], "comparing")):
        found = usual.maps(scales)
        joined = _joined(list(found.values()), extractor.grid_shape)
        if extractor.counting is not None:
            joined = joined * extractor.counting.shown_of(extractor.grid_shape)
        maps[rows] = joined.cpu().numpy()
        unusual[rows] = _of_oddest([map_.flatten(1) for map_ in found.values()])
        unmatched[rows] = _of_oddest(
            [others[scale].of(scales[scale], of_batch, map_) for scale, map_ in found.items()]
        )
    odd = _count_of(odd_share, len(images) - len(broken))
    scores = (_scores(unusual) + _scores(unmatched)) / 2
    return Ranking(scores, maps, broken, extractor.frame, len(references[0]), odd)


class _Usual:
    """What most images show: in windows at the largest scale, and place by place at the smallest.

    The first look finds what is small, and what is anywhere; the second what is large, or wrong at its place.
    That is much where parts are aligned, and noise where they are not: it counts half.
    """

    def __init__(self, grids: Sequence[PatchGrid], references: Sequence[Tensor], prior_images: float) -> None:
        looks = {0: grids[0].coarsened(_WINDOW)}
        if len(grids) > 1:
            looks[len(grids) - 1] = grids[-1]
        self.looks = {
            scale: TrimmedGaussians(grid, references[scale], prior_images) for scale, grid in looks.items()
        }
        self._middles = {scale: _middle(look.maps(references[scale])) for scale, look in self.looks.items()}

    def maps(self, scales: Sequence[Tensor]) -> dict[int, Tensor]:
        """By the scale of each look (B, h, w) how odd patches are, in spreads of distances' logarithms."""
        found = {}
        for scale, look in self.looks.items():
            middle, spread = self._middles[scale]
            found[scale] = (look.maps(scales[scale]) - middle) / spread
        return found


def _count_of(share: float, images: int) -> int:
    """How many of the images a share of them is, rounded down, but one at least.

    Of few images each counts: a fit of 25 is not better for missing a second good one.
    """
    return max(1, math.floor(share * images + 1e-9))


def _middle(values: Tensor) -> tuple[float, float]:
    """Middle and spread of values, by medians, which what is odd does not move."""
    middle = values.median()
    return float(middle), max(_MAD_OF_NORMAL * float((values - middle).abs().median()), _LEAST)


def _of_oddest(looks: Sequence[Tensor]) -> NDArray[np.float64]:
    """(B, L) means of the largest values of patches (B, P) by each look."""
    means = [values.topk(min(_PATCHES, values.shape[1]), dim=1).values.mean(1) for values in looks]
    return torch.stack(means, 1).double().cpu().numpy()


def _joined(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """(B, h, w) of the maps the largest, on the finest grid: one look is enough to find something odd."""
    fine = [F.interpolate(map_[:, None], size, mode="bilinear")[:, 0] for map_ in maps]
    return torch.stack([map_ * weight for map_, weight in zip(fine, _WEIGHTS, strict=False)]).amax(0)


def _scores(oddest: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) of images by the look that finds them oddest, from how odd (N, L) each look finds them.

    By how much odder than the median image, in robust standard deviations.
    """
    middle = np.nanmedian(oddest, axis=0)
    spread = _MAD_OF_NORMAL * np.nanmedian(np.abs(oddest - middle), axis=0)
    off = (oddest - middle) / np.maximum(spread, _LEAST)
    scores: NDArray[np.float64] = (off * _WEIGHTS[: off.shape[1]]).max(1)
    return scores


def _kept(features: PatchFeatures, grids: Sequence[PatchGrid]) -> list[Tensor]:
    """(B, h, w, D) patches at each scale, in the dimensions that are kept."""
    projections = [grid.projection() for grid in grids]
    return [
        scale.patches if projection is None else scale.patches @ projection.to(scale.patches)
        for scale, projection in zip(features.scales, projections, strict=True)
    ]


def _extractor(
    images: Sequence[ImageSource], settings: GaussianPreset, device: str, roi: Roi | None
) -> Extractor:
    """What sees the images as a fit with these settings would, but for the finest detail."""
    chosen = backbones.choose(settings.backbone, device)
    backbone = backbones.load(chosen, layers=settings.features.layers, device=device)
    frame = frame_for(images, settings.image, backbone)
    return Extractor(backbone, frame, settings.image, settings.batch, settings.gaussian.scales, roi=roi)


def _too_few(count: int, readable: int, broken: dict[int, str]) -> str:
    unread = f", of which {count - readable} cannot be read ({next(iter(broken.values()))})" if broken else ""
    return (
        f"{count} image{'s' * (count != 1)}{unread}: nothing to compare; a batch takes {_FEWEST} different"
        " images or more, and tells more the more there are"
    )
