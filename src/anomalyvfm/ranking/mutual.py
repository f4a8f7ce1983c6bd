"""What no other image of a batch shows: an image's oddest patches against the nearest of every other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# So many of an image's oddest patches are compared, each with every patch of every reference image.
_COMPARED = 16
# Over this share of the other images, those that come nearest, the distance is averaged: what most of them
# lack may be good all the same where a few show it, and one that comes near may be near by chance.
_NEAREST_SHARE = 0.02
# Squared distances are no smaller: logarithms are taken of them.
_LEAST = 1e-6


class MutualDistances:
    """Distances of an image's oddest patches to the nearest ones of other images, wherever these lie.

    Mutual scoring of Li et al. (2024), "MuSc: Zero-shot industrial anomaly classification and segmentation
    with mutual scoring of the unlabeled images", of a few patches for each image rather than of all, so that
    what it costs for an image is bounded.
    """

    def __init__(self, patches: Tensor, keys: Sequence[int]) -> None:
        """From the patches (R, h, w, D) of reference images; of those with equal ``keys`` only one counts."""
        references = {key: patches[row].flatten(0, 1) for row, key in enumerate(keys)}
        self._keys = torch.tensor(list(references), device=patches.device)
        self._references = [
            (-reference.square().sum(1) / 2, reference.T) for reference in references.values()
        ]

    def of(self, patches: Tensor, keys: Sequence[int], map_: Tensor) -> Tensor:
        """(B, k) logarithms of mean distances of the oddest by ``map_`` (B, h, w) of patches (B, h, w, D).

        An image is not compared with the reference of its own key.
        """
        flat = patches.flatten(1, 2)
        oddest = map_.flatten(1).topk(min(_COMPARED, flat.shape[1]), dim=1).indices
        compared = flat.gather(1, oddest[:, :, None].expand(-1, -1, flat.shape[2])).flatten(0, 1)
        # By |a|² − 2 (a·b − |b|² / 2), of which the last is largest where the distance is least.
        nearest = [torch.addmm(less, compared, others).amax(1) for less, others in self._references]
        squared = (compared.square().sum(1, keepdim=True) - 2 * torch.stack(nearest, 1)).clamp_min(_LEAST)
        squared = squared.reshape(*oddest.shape, -1)
        own = torch.tensor(keys, device=patches.device)[:, None] == self._keys
        squared = squared.masked_fill(own[:, None, :], torch.inf)
        count = max(1, round(_NEAREST_SHARE * (len(self._keys) - 1)))
        found: Tensor = squared.topk(count, dim=2, largest=False).values.log().mean(2) / 2
        return found
