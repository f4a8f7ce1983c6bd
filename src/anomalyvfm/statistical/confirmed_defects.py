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
# What lies so many patches from the defect shows nothing of it, though a backbone sees further than a patch;
# of that so many patches are kept.
_AWAY, _PATCHES_BESIDE = 3, 128
# How strongly directions are held to be short: in variances of good patches.
_RIDGE = 1.0
# What lies beside defects counts so much more than they do for the directions in which images vary anyhow.
_BESIDE = 10.0
# Standard scores of likeness count so much for an image's score: the more, the less does a likeness that good
# images have by chance, as the prior that goes with it is the lower (docs/trials.md).
_WEIGHT = 2.0


@dataclass(frozen=True)
class ShownPatches:
    """Patches of one image at one scale: vectors (N, D), and places (N, 2), y and x."""

    vectors: Tensor
    places: Tensor


@dataclass(frozen=True)
class ConfirmedDefect:
    """What is kept of an image in which a person has confirmed a defect."""

    patches: tuple[ShownPatches, ...]
    """Those that show it, at each scale."""
    beside: tuple[ShownPatches, ...]
    """Some of those that are known to show nothing of it, at each scale; none without a mask."""
    image_scores: Array
    """(K,) of the image, when it was confirmed, but for its likeness to confirmed defects."""
    odd: OddPatches
    """Its oddest patches, whether they show the defect or not."""
    odd_beside: NDArray[np.bool_]
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
    """(n, D, D) mean outer products, at each scale: of the defect, and of what lies beside it."""

    def directions(self, without: Collection[int] = ()) -> list[Tensor]:
        """At each scale (D,) the direction, of length 1, in which defects differ from good patches.

        Fisher's linear discriminant (Hastie, Tibshirani & Friedman, 2009, "The Elements of Statistical
        Learning", section 4.3) with a ridge: among vectors z whitened by what good patches have in common,
        so that these have covariance I, v ∝ ((1 + λ)·I + S + β·B)⁻¹ m, where m and S are mean and second
        moment of defects, and B is the second moment of what lies beside them: how images vary with the
        light, or from part to part, is no defect. Every image has the same weight, however large its defect.
        ``without`` leaves images out.
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
        found, beside = [], []
        odd_beside = np.zeros(odd.places.shape[1], bool)
        for number, (scorer, scale) in enumerate(zip(scorers, features.scales, strict=True)):
            kept = scorer.kept(scale)[0]
            away = torch.zeros(0, dtype=torch.int64, device=kept.device)
            if mask is None:
                oddness = scorer.distances(scale)[0].flatten()
                chosen = oddness.topk(min(_ODDEST, len(oddness))).indices.sort().values
            else:
                size = (kept.shape[0], kept.shape[1])
                chosen = _covered(F.adaptive_avg_pool2d(mask[None, None], size).flatten())
                away = _away(mask, size).nonzero()[:, 0]
                if number == 0:
                    odd_beside = np.isin(odd.places[0], away.cpu().numpy())
            found.append(_shown(kept, _evenly(chosen, _PATCHES)))
            beside.append(_shown(kept, _evenly(away, _PATCHES_BESIDE)))
        self.images[key] = ConfirmedDefect(tuple(found), tuple(beside), image_scores, odd, odd_beside)

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
            shown = _deviations(scorer, [self.images[key].patches[scale] for key in keys])
            beside = _deviations(scorer, [self.images[key].beside[scale] for key in keys])
            means.append(torch.stack([one.mean(0) for one in shown]))
            pairs = zip(shown, beside, strict=True)
            seconds.append(torch.stack([_second(one) + _BESIDE * _second(other) for one, other in pairs]))
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
        tensors["odd_beside"] = torch.from_numpy(np.stack([one.odd_beside for _, one in images]))
        odd = OddPatches.joined([one.odd for _, one in images]).arrays()
        tensors |= {f"odd_{name}": torch.from_numpy(array) for name, array in odd.items()}
        for scale in range(self._scales):
            tensors |= _stored([one.patches[scale] for _, one in images], str(scale))
            tensors |= _stored([one.beside[scale] for _, one in images], f"beside_{scale}")
        return tensors

    def _restore(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        if "odd_beside" not in tensors:
            raise InputError("its defects were confirmed by an earlier version; fit it anew")
        every = range(self._scales)
        shown = zip(*(_restored(tensors, str(scale), device) for scale in every), strict=True)
        beside = zip(*(_restored(tensors, f"beside_{scale}", device) for scale in every), strict=True)
        arrays = {name: tensors[f"odd_{name}"].cpu().numpy() for name in ODD_ARRAYS}
        rows = range(len(tensors["keys"]))
        odd = [OddPatches.from_arrays({name: array[[row]] for name, array in arrays.items()}) for row in rows]
        scores, odd_beside = (tensors[name].cpu().numpy() for name in ("image_scores", "odd_beside"))
        kept = zip(shown, beside, scores, odd, odd_beside, strict=True)
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


def _second(deviations: Tensor) -> Tensor:
    """(D, D) mean outer product of deviations (N, D); 0 of none."""
    return deviations.T @ deviations / max(len(deviations), 1)


def on_grid(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) of (B, C, h, w), with half-pixel centres."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear")


def _shown(patches: Tensor, numbers: Tensor) -> ShownPatches:
    """Some patches of an image (h, w, D), by their numbers (N,), row by row."""
    width = patches.shape[1]
    places = torch.stack([numbers // width, numbers % width], 1)
    return ShownPatches(patches.flatten(0, 1)[numbers].clone(), places)


def _evenly(numbers: Tensor, most: int) -> Tensor:
    """No more than so many of the numbers (N,), as far apart as can be."""
    if len(numbers) <= most:
        return numbers
    steps = torch.linspace(0, len(numbers) - 1, most, dtype=torch.float64).round().long()
    return numbers[steps.to(numbers.device)]


def _deviations(scorer: PatchScorer, images: Sequence[ShownPatches]) -> Sequence[Tensor]:
    """Of each image (N, D) how its patches deviate, their lengths the roots of what they were."""
    vectors, places = (torch.cat([getattr(one, name) for one in images]) for name in ("vectors", "places"))
    off = scorer.deviations(vectors, places)
    length = off.norm(dim=1, keepdim=True) / off.shape[1] ** 0.5
    return torch.split(off / length.clamp_min(1e-6).sqrt(), [len(one.vectors) for one in images])


def _stored(images: Sequence[ShownPatches], name: str) -> dict[str, Tensor]:
    return {
        f"counts_{name}": torch.tensor([len(one.vectors) for one in images], dtype=torch.int64),
        f"vectors_{name}": torch.cat([one.vectors for one in images]).cpu().contiguous(),
        f"places_{name}": torch.cat([one.places for one in images]).cpu().contiguous(),
    }


def _restored(tensors: Mapping[str, Tensor], name: str, device: torch.device) -> list[ShownPatches]:
    """What `_stored` gave."""
    counts = tensors[f"counts_{name}"].tolist()
    split = (torch.split(tensors[f"{kind}_{name}"].to(device), counts) for kind in ("vectors", "places"))
    return [ShownPatches(*pair) for pair in zip(*split, strict=True)]


def _away(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(h · w,) of a grid's patches, which are far enough from all that the mask (H, W) touches."""
    touched = F.adaptive_max_pool2d((mask > 0).float()[None, None], size)
    return F.max_pool2d(touched, 2 * _AWAY - 1, 1, _AWAY - 1).flatten() == 0


def _covered(coverage: Tensor) -> Tensor:
    """Numbers of the patches that show a defect, by how much of each it covers: at least the most covered."""
    most = coverage.max()
    return (coverage > torch.minimum(most * (1 - 1e-6), torch.full_like(most, _COVERED))).nonzero()[:, 0]
