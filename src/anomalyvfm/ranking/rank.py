"""From a batch of images to the order in which they are unlike the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anomalyvfm.data import ImageSource, InputFrame
from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.extractor import Extracted, Extractor, frame_for
from anomalyvfm.presets import GaussianPreset
from anomalyvfm.ranking.mutual import MutualDistances
from anomalyvfm.ranking.subspace import Subspace
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
# An image is compared with at most so many others, or fewer where they have more patches in all: what an
# image costs does not grow with the batch, and little more with its size.
_REFERENCES, _PATCHES_COMPARED, _FEWEST_REFERENCES = 200, 60_000, 30


@dataclass(frozen=True)
class Ranking:
    """How unlike the others each image of a batch is.

    Attributes
    ----------
    scores : (N,) about 0 for the median image and 1 for one that stands off by as much as images usually do;
        NaN for unreadable ones
    maps : (N, h, w) the same of patches, 0 where a patch is no odder than most; NaN for unreadable ones
    broken : messages about images that could not be read, by their number
    frame : where the maps lie
    references : with how many of them each was compared
    odd : how many of the first in :attr:`order` are called odd
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
        """Where heat starts, which three of four images nowhere reach, and where it is full."""
        low = float(np.nanquantile(self.maps.reshape(len(self.maps), -1).max(1), 0.75))
        return low, 2 * low + 1e-6


def rank(
    images: Sequence[ImageSource],
    settings: GaussianPreset,
    odd_share: float = ODD_SHARE,
    device: str = "auto",
    seed: int = 0,
    track: Tracker = untracked,
) -> Ranking:
    """Compare the images of a batch with each other; none need be good.

    ``seed`` chooses those that all are compared with, where there are many. Raises InputError where fewer
    than three different ones can be read.
    """
    extractor = _extractor(images, settings, device)
    patches = extractor.grid_shape[0] * extractor.grid_shape[1]
    most = min(_REFERENCES, max(_FEWEST_REFERENCES, _PATCHES_COMPARED // patches))
    order = np.random.default_rng(seed).permutation(len(images)).tolist()
    broken: dict[int, str] = {}

    def extracted(numbers: Sequence[int], description: str) -> Iterator[tuple[list[int], Extracted]]:
        """Batches of these images, and the numbers of those that could be read."""
        batches = extractor.extract([images[number] for number in numbers])
        seen = 0
        for batch in track(batches, math.ceil(len(numbers) / extractor.batch), description):
            broken.update({numbers[seen + place]: str(error) for place, error in batch.broken.items()})
            seen += len(batch.sources)
            if batch.features is not None:
                yield [numbers[position] for position in batch.positions], batch

    known = list(extracted(order[:most], "looking"))
    keys = [key for _, batch in known for key in _keys(batch)]
    if len(set(keys)) < _FEWEST:
        raise InputError(_too_few(len(images), len(keys), broken))
    compared = _Compared([batch for _, batch in known], keys, extractor.backbone.layer_channels)
    first = [compared.maps(batch) for _, batch in track(known, len(known), "comparing")]
    usual = [_usual(torch.cat(maps)) for maps in zip(*first, strict=True)]
    scores = np.full((len(images), len(usual)), np.nan)
    joined = np.full((len(images), *extractor.grid_shape), np.nan, np.float32)

    def put(rows: list[int], maps: list[Tensor]) -> None:
        scores[rows] = torch.stack([_oddest(map_) for map_ in maps], 1).double().cpu().numpy()
        joined[rows] = _joined(maps, usual, extractor.grid_shape).cpu().numpy()

    for (rows, _), maps in zip(known, first, strict=True):
        put(rows, maps)
    known.clear()
    for rows, batch in extracted(order[most:], "comparing"):
        put(rows, compared.maps(batch))
    odd = math.ceil(odd_share * (len(images) - len(broken)))
    return Ranking(_scores(scores), joined, broken, extractor.frame, len(keys), odd)


class _Compared:
    """What all images are compared with: at each scale and layer the references, and their subspace."""

    def __init__(self, references: Sequence[Extracted], keys: Sequence[int], widths: Sequence[int]) -> None:
        self._widths = list(widths)
        features = [batch.features for batch in references if batch.features is not None]
        grids = (torch.cat(parts) for parts in zip(*map(self._grids, features), strict=True))
        self._mutual = [MutualDistances.of(grid, keys) for grid in grids]
        self._subspace = Subspace.of(torch.cat([one.patches for one in features]))

    def maps(self, batch: Extracted) -> list[Tensor]:
        """Of each of the comparisons the logarithms of the patches' distances, (B, h, w)."""
        assert batch.features is not None
        grids, keys = self._grids(batch.features), _keys(batch)
        found = [mutual.maps(grid, keys) for mutual, grid in zip(self._mutual, grids, strict=True)]
        found.append(self._subspace.maps(batch.features.patches))
        return [map_.clamp_min(_LEAST).log() for map_ in found]

    def _grids(self, features: PatchFeatures) -> list[Tensor]:
        """(B, h, w, C) of every layer at every scale."""
        scales = features.scales
        return [part for scale in scales for part in torch.split(scale.patches, self._widths, dim=3)]


def _extractor(images: Sequence[ImageSource], settings: GaussianPreset, device: str) -> Extractor:
    """What sees the images as a fit with these settings would, but for the finest detail."""
    chosen = backbones.choose(settings.backbone, device)
    backbone = backbones.load(chosen, layers=settings.features.layers, device=device)
    frame = frame_for(images, settings.image, backbone)
    return Extractor(backbone, frame, settings.image, settings.batch, settings.gaussian.scales)


def _keys(batch: Extracted) -> list[int]:
    return [image.key for image in batch.images]


def _oddest(logarithms: Tensor) -> Tensor:
    """(B,) logarithm of the mean of the largest distances, of whose (B, h, w) these are the logarithms."""
    flat = logarithms.flatten(1)
    count = min(_PATCHES, flat.shape[1])
    return flat.topk(count, dim=1).values.logsumexp(1) - math.log(count)


def _usual(values: Tensor) -> tuple[float, float]:
    """Middle and spread of values, by medians, which what is odd does not move."""
    middle = values.median()
    return float(middle), max(_MAD_OF_NORMAL * float((values - middle).abs().median()), _LEAST)


def _joined(maps: Sequence[Tensor], usual: Sequence[tuple[float, float]], size: tuple[int, int]) -> Tensor:
    """(B, h, w) how odd patches are by all maps of logarithms together, on the finest grid.

    The root of the mean square of what stands off in each, in units of its spread: what one comparison tells
    is not lost among those that see nothing.
    """
    off = [
        ((map_ - middle) / spread).clamp_min(0) for map_, (middle, spread) in zip(maps, usual, strict=True)
    ]
    fine = [F.interpolate(map_[:, None], size, mode="bilinear")[:, 0] for map_ in off]
    return torch.stack(fine).square().mean(0).sqrt()


def _scores(oddest: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) of the images by all comparisons together, from the logarithms (N, G) by each.

    As maps are joined, but signed, for the plainest images have an order as well.
    """
    middle = np.nanmedian(oddest, axis=0)
    spread = _MAD_OF_NORMAL * np.nanmedian(np.abs(oddest - middle), axis=0)
    off = (oddest - middle) / np.maximum(spread, _LEAST)
    squares = (np.sign(off) * off**2).mean(1)
    scores: NDArray[np.float64] = np.sign(squares) * np.sqrt(np.abs(squares))
    return scores


def _too_few(count: int, readable: int, broken: dict[int, str]) -> str:
    unread = f", of which {count - readable} cannot be read ({next(iter(broken.values()))})" if broken else ""
    return (
        f"{count} image{'s' * (count != 1)}{unread}: nothing to compare; a batch takes {_FEWEST} different"
        " images or more, and tells more the more there are"
    )
