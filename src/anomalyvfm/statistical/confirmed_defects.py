"""Defects that a person has confirmed: what their patches have in common, beside good ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anomalyvfm.decision.calibration import Alternative, Array
from anomalyvfm.decision.odd_patches import ODD_ARRAYS, OddPatches
from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.statistical.patch_scorer import PatchScorer

# So many patches of an image are kept at each scale: an image counts once, however large its defect.
_PATCHES = 64
# Of an image without a mask: so many of its oddest.
_ODDEST = 5
# A patch shows a defect where the mask covers more than this of it.
_COVERED = 0.5
# What lies so many patches from the defect shows nothing of it, though a backbone sees further than a patch.
_AWAY = 3
# How strongly directions are held to be short: in variances of good patches.
_RIDGE = 1.0
# Standard scores of likeness count so much for an image's score: the more, the less does a likeness that good
# images have by chance, as the prior that goes with it is the lower (docs/trials.md).
_WEIGHT = 2.0


@dataclass(frozen=True)
class DefectPatches:
    """Patches of one image at one scale: vectors (N, D), and places (N, 2), y and x."""

    vectors: Tensor
    places: Tensor


@dataclass(frozen=True)
class ConfirmedDefect:
    """What is kept of an image in which a person has confirmed a defect."""

    patches: tuple[DefectPatches, ...]
    """Those that show it, at each scale."""
    image_scores: Array
    """(K,) of the image, when it was confirmed, but for its likeness to confirmed defects."""
    odd: OddPatches
    """Its oddest patches, whether they show the defect or not."""
    beside: NDArray[np.bool_]
    """(M,) which of these are known to show nothing of it; none without a mask."""


@dataclass(frozen=True)
class DefectMoments:
    """Of n confirmed images, how their patches deviate from good ones, whitened by these.

    Lengths of deviations are their square roots: no glaring patch speaks for all.
    """

    keys: list[int]
    """Ascending."""
    means: list[Tensor]
    """(n, D) at each scale."""
    seconds: list[Tensor]
    """(n, D, D) mean outer products, at each scale."""

    def directions(self, without: Collection[int] = ()) -> list[Tensor]:
        """At each scale (D,) the direction, of length 1, in which defects differ from good patches.

        Fisher's linear discriminant (Hastie, Tibshirani & Friedman, 2009, "The Elements of Statistical
        Learning", section 4.3) with a ridge: among vectors z whitened by what good patches have in common,
        so that these have covariance I, v ∝ ((1 + λ)·I + S)⁻¹ m, where m and S are mean and second moment of
        defects. Every image has the same weight, however large its defect. ``without`` leaves images out.
        """
        rows = [row for row, key in enumerate(self.keys) if key not in without]
        directions = []
        for means, seconds in zip(self.means, self.seconds, strict=True):
            ridge = (1 + _RIDGE) * torch.eye(means.shape[1]).to(means)
            direction = torch.linalg.solve(seconds[rows].mean(0) + ridge, means[rows].mean(0))
            directions.append(direction / direction.norm().clamp_min(1e-12))
        return directions


class ConfirmedDefects:
    """Patches of confirmed defects by the key of their image, from the largest scale to the smallest.

    They are kept as the backbone sees them: what follows from them and from what good images have shown is a
    pure function of both, so that a defect taken back leaves nothing. ``log_prior`` is the logarithm of how
    likely a defect is to be like these, beside all others; None where scores of images do without it.
    ``rise`` is what a patch's response, in standard deviations of good patches, adds to its distance. Both
    follow from the calibration, see `calibrated_with_defects`.
    """

    def __init__(
        self, scales: int, device: torch.device, tensors: Mapping[str, Tensor] | None = None
    ) -> None:
        self._scales = scales
        self.images: dict[int, ConfirmedDefect] = {}
        self.log_prior: float | None = None
        self.rise = 0.0
        if tensors:
            self._restore(tensors, device)

    def __bool__(self) -> bool:
        return bool(self.images)

    def confirm(
        self,
        key: int,
        features: PatchFeatures,
        mask: Tensor | None,
        scorers: Sequence[PatchScorer],
        image_scores: Array,
        odd: OddPatches,
    ) -> None:
        """Keep what one image (1, h, w, D) shows of its defect, its scores (K,) and its oddest patches.

        The defect is where the ``mask`` (H, W) over the frame is 1, or without a mask what is oddest.
        """
        found = []
        for scorer, scale in zip(scorers, features.scales, strict=True):
            kept = scorer.kept(scale)[0]
            if mask is None:
                oddness = scorer.distances(scale)[0].flatten()
                chosen = oddness.topk(min(_ODDEST, len(oddness))).indices.sort().values
            else:
                size = (kept.shape[0], kept.shape[1])
                chosen = _covered(F.adaptive_avg_pool2d(mask[None, None], size).flatten())
            if len(chosen) > _PATCHES:
                steps = torch.linspace(0, len(chosen) - 1, _PATCHES, dtype=torch.float64).round().long()
                chosen = chosen[steps.to(chosen.device)]
            places = torch.stack([chosen // kept.shape[1], chosen % kept.shape[1]], 1)
            found.append(DefectPatches(kept.flatten(0, 1)[chosen].clone(), places))
        _, height, width, _ = scorers[0].kept(features.scales[0]).shape
        self.images[key] = ConfirmedDefect(
            tuple(found), image_scores, odd, _beside(mask, odd, (height, width))
        )

    def forget(self, key: int) -> None:
        """Take an image back. Raises KeyError where it was not confirmed."""
        del self.images[key]

    def alternatives(self, without: tuple[Alternative, ...], judges_light: bool) -> tuple[Alternative, ...]:
        """How scores are joined into one, where those of likeness to confirmed defects come last.

        ``without`` it, the last of the alternatives is that of the light where that is judged, and stays it.
        """
        if not self.images:
            return without
        count = len(without[0].weights)
        longer = [one._replace(weights=(*one.weights, 0.0)) for one in without]
        if self.log_prior is not None:
            like_these = Alternative((*(0.0 for _ in range(count)), _WEIGHT), self.log_prior)
            longer.insert(len(longer) - judges_light, like_these)
        return tuple(longer)

    def moments(self, scorers: Sequence[PatchScorer]) -> DefectMoments:
        """What is common to their patches, image by image."""
        keys = sorted(self.images)
        means, seconds = [], []
        for scale, scorer in enumerate(scorers):
            own = [self.images[key].patches[scale] for key in keys]
            counts = [len(one.vectors) for one in own]
            off = scorer.deviations(
                torch.cat([one.vectors for one in own]), torch.cat([one.places for one in own])
            )
            length = off.norm(dim=1, keepdim=True) / off.shape[1] ** 0.5
            shown = torch.split(off / length.clamp_min(1e-6).sqrt(), counts)
            means.append(torch.stack([one.mean(0) for one in shown]))
            seconds.append(torch.stack([one.T @ one / len(one) for one in shown]))
        return DefectMoments(keys, means, seconds)

    def to_tensors(self) -> dict[str, Tensor]:
        """All that is kept, to be stored; nothing where nothing was confirmed."""
        if not self.images:
            return {}
        images = sorted(self.images.items())
        prior = [] if self.log_prior is None else [self.log_prior]
        tensors = {
            "keys": torch.tensor([key for key, _ in images], dtype=torch.int64),
            "log_prior": torch.tensor(prior, dtype=torch.float64),
            "rise": torch.tensor(self.rise, dtype=torch.float64),
            "image_scores": torch.from_numpy(np.stack([one.image_scores for _, one in images])),
        }
        tensors["beside"] = torch.from_numpy(np.stack([one.beside for _, one in images]))
        odd = OddPatches.joined([one.odd for _, one in images]).arrays()
        tensors |= {f"odd_{name}": torch.from_numpy(array) for name, array in odd.items()}
        for scale in range(self._scales):
            own = [one.patches[scale] for _, one in images]
            tensors[f"counts_{scale}"] = torch.tensor([len(one.vectors) for one in own], dtype=torch.int64)
            tensors[f"vectors_{scale}"] = torch.cat([one.vectors for one in own]).cpu().contiguous()
            tensors[f"places_{scale}"] = torch.cat([one.places for one in own]).cpu().contiguous()
        return tensors

    def _restore(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        if "beside" not in tensors:
            raise InputError("its defects were confirmed by an earlier version; fit it anew")
        scales = []
        for scale in range(self._scales):
            counts = tensors[f"counts_{scale}"].tolist()
            vectors, places = (tensors[f"{name}_{scale}"].to(device) for name in ("vectors", "places"))
            split = zip(torch.split(vectors, counts), torch.split(places, counts), strict=True)
            scales.append([DefectPatches(*pair) for pair in split])
        arrays = {name: tensors[f"odd_{name}"].cpu().numpy() for name in ODD_ARRAYS}
        rows = range(len(tensors["keys"]))
        odd = [OddPatches.from_arrays({name: array[[row]] for name, array in arrays.items()}) for row in rows]
        scores, beside = (tensors[name].cpu().numpy() for name in ("image_scores", "beside"))
        kept = zip(zip(*scales, strict=True), scores, odd, beside, strict=True)
        images = (ConfirmedDefect(*one) for one in kept)
        self.images = dict(zip(tensors["keys"].tolist(), images, strict=True))
        self.log_prior = next(iter(tensors["log_prior"].tolist()), None)
        self.rise = float(tensors["rise"])


class DefectHead:
    """How far patches lie in the direction of confirmed defects, in standard deviations of good ones.

    That is linear in the patch, with an offset for each place; those of the scales are added up on the
    largest one's grid, over the root of how many they are.
    """

    def __init__(self, scorers: Sequence[PatchScorer], directions: Sequence[Tensor]) -> None:
        self._scorers = scorers
        self._planes = [
            scorer.plane(direction) for scorer, direction in zip(scorers, directions, strict=True)
        ]

    def responses(self, features: PatchFeatures) -> Tensor:
        """(B, h, w) of images at all scales."""
        own = [
            scorer.kept(scale) @ weights - offsets
            for scorer, scale, (weights, offsets) in zip(
                self._scorers, features.scales, self._planes, strict=True
            )
        ]
        size = own[0].shape[1:]
        together = [own[0], *(on_grid(map_[:, None], size)[:, 0] for map_ in own[1:])]
        mean: Tensor = torch.stack(together).sum(0) / len(together) ** 0.5
        return mean


def raised(map_: Tensor, responses: Tensor, rise: float) -> Tensor:
    """(B, H, W) distances d where patches respond by r ≥ 0: d + ``rise`` · r, and d elsewhere.

    What is like no confirmed defect keeps its distance.
    """
    return map_ + rise * on_grid(responses.clamp_min(0)[:, None], map_.shape[1:])[:, 0]


def on_grid(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) of (B, C, h, w), with half-pixel centres."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear")


def _beside(mask: Tensor | None, odd: OddPatches, size: Sequence[int]) -> NDArray[np.bool_]:
    """(M,) which of an image's oddest patches, on a grid (h, w), lie away from what the mask (H, W) marks."""
    if mask is None:
        return np.zeros(odd.places.shape[1], bool)
    touched = F.adaptive_max_pool2d((mask > 0).float()[None, None], tuple(size))
    near = F.max_pool2d(touched, 2 * _AWAY - 1, 1, _AWAY - 1)[0, 0].flatten().cpu().numpy() > 0
    away: NDArray[np.bool_] = ~near[odd.places[0]]
    return away


def _covered(coverage: Tensor) -> Tensor:
    """Numbers of the patches that show a defect, by how much of each it covers: at least the most covered."""
    most = coverage.max()
    return (coverage > torch.minimum(most * (1 - 1e-6), torch.full_like(most, _COVERED))).nonzero()[:, 0]
