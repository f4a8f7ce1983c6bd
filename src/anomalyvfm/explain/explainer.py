"""Reasons for what is odd: how much each layer contributes, and which good patch is most like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from anomalyvfm.decision.reason import GoodPatch, LayerContribution, Reason
from anomalyvfm.decision.regions import Region
from anomalyvfm.decision.verdict import Explain
from anomalyvfm.explain.gallery import Gallery, Match
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.extractor import Extractor

LayerShares = Callable[[PatchFeatures, Tensor, Sequence[int]], Tensor]
"""From one image's features, K places (K, 2) in its grid and L layers' widths to their shares (K, L)."""


class Explainer:
    """Asks a scorer for the layers that contribute at a peak, and a gallery for the place most like it."""

    def __init__(self, layer_shares: LayerShares, gallery: Gallery, extractor: Extractor) -> None:
        self._layer_shares = layer_shares
        self._gallery = gallery
        self._backbone = extractor.backbone
        self._frame = extractor.frame
        self._grid = gallery.grid

    def of(self, features: PatchFeatures, row: int) -> Explain:
        """Explains the regions of one image of a batch; holds a copy of its features, and of nothing else."""
        own = PatchFeatures(features.patches[row, None].clone(), features.summary[row, None].clone())
        return lambda regions, size: self._explain(own, regions, size)

    def _explain(
        self, features: PatchFeatures, regions: Sequence[Region], size: tuple[int, int]
    ) -> list[Reason]:
        places = self._places(regions, size)
        contributions = self._layer_contributions(features, places)
        if not len(self._gallery):
            return [Reason(None, layers) for layers in contributions]
        step = self._grid.step
        code = self._gallery.encode(features.patches)[0]
        matches = self._gallery.nearest(code, [(y // step, x // step) for y, x in places])
        return [
            Reason(self._good_patch(region, match, size), layers)
            for region, match, layers in zip(regions, matches, contributions, strict=True)
        ]

    def _places(self, regions: Sequence[Region], size: tuple[int, int]) -> list[tuple[int, int]]:
        """Row and column of the feature under each region's peak."""
        peaks = np.array([region.peak_at for region in regions]) + 0.5
        shares = self._frame.to_frame(peaks, size) / (self._frame.width, self._frame.height)
        last = np.array([self._grid.width, self._grid.height]) - 1
        found = np.clip((shares * (last + 1)).astype(int), 0, last)
        return [(int(y), int(x)) for x, y in found]

    def _layer_contributions(
        self, features: PatchFeatures, places: Sequence[tuple[int, int]]
    ) -> list[tuple[LayerContribution, ...]]:
        where = torch.tensor(places, device=features.patches.device)
        shares = self._layer_shares(features, where, self._backbone.layer_channels).tolist()
        sees, layers = self._backbone.sees, self._backbone.layers
        rows = (
            [LayerContribution(n, share, sees(n)) for n, share in zip(layers, row, strict=True)]
            for row in shares
        )
        return [tuple(sorted(row, key=lambda one: -one.share)) for row in rows]

    def _good_patch(self, region: Region, match: Match, size: tuple[int, int]) -> GoodPatch:
        """The region's box, moved as the patch around its peak is to the one it matches."""
        stride = np.array([self._frame.width / self._grid.width, self._frame.height / self._grid.height])
        moved = np.array(match.shift[::-1]) * self._grid.step * stride
        corners = self._frame.to_frame(np.reshape(region.bbox, (2, 2)).astype(float), size) + moved
        (x0, y0), (x1, y1) = np.rint(self._frame.from_frame(corners, match.image.size)).astype(int).tolist()
        return GoodPatch(
            image=match.image.name,
            bbox=(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)),
            distance=match.distance,
            size=match.image.size,
            picture=match.image.picture,
        )
