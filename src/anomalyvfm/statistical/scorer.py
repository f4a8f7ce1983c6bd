"""The scorer of v2: Gaussians of positions at each scale, beside one of the image as a whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from anomalyvfm.decision.odd_patches import OddPatches
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.counting import Counting
from anomalyvfm.features.grid import PatchGrid
from anomalyvfm.features.illumination import LIGHT_NUMBERS
from anomalyvfm.pipeline import Distances, Scorer, Spread, under
from anomalyvfm.presets import GaussianSettings
from anomalyvfm.statistical.choice import Choice
from anomalyvfm.statistical.confirmed_defects import ConfirmedDefects, DefectHead, on_grid, raised
from anomalyvfm.statistical.image_scorer import ImageScorer
from anomalyvfm.statistical.layer_contributions import shares
from anomalyvfm.statistical.memory_bank import MemoryBank
from anomalyvfm.statistical.patch_scorer import PatchScorer
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics

# Standard deviations: their exponential is a float32.
_MOST_LIKE = 80.0
# So many of an image's patches can make it score as like confirmed defects, the oddest: what good images show
# there is kept with the calibration, and the false-alarm promise made anew of it whenever one is confirmed.
_ODD_PATCHES = 128


class StatisticalScorer(Scorer):
    """Scores of an image: of its oddest patches at each scale, the largest first, of its summary, and last,
    where that is judged, of the light it was taken in.

    Between these are those of its patches farthest from all remembered ones, at the scales whose banks count
    and in detail: a bank's number is that of what it compares among `PatchFeatures.grids`. ``grids`` are
    those of the scales, ``detail_channels`` the channels of the detail, which is learned by position, too,
    where it has a ``detail_grid``: maps are finer by it where parts are aligned, and scores as without it.
    What is chosen, by `choose`, is how large a window of positions is and which scales and banks count; other
    banks remember nothing.

    Where ``defects`` are confirmed, the map is raised where patches are like theirs, and a score of those
    most like them, among the oddest of the image, comes after all others; it counts where
    ``defects.log_prior`` says so.

    With ``counting``, only the patches of a region of interest make scores, and maps are 0 far from it.
    """

    def __init__(
        self,
        grids: Sequence[PatchGrid],
        summary_channels: int,
        detail_channels: int,
        detail_grid: PatchGrid | None,
        settings: GaussianSettings,
        choice: Choice,
        device: torch.device,
        tensors: Mapping[str, Tensor] | None = None,
        counting: Counting | None = None,
    ) -> None:
        self.device = device
        self._counting = counting
        self.context_dimensions = min(settings.context_dimensions, summary_channels)
        self.grids = tuple(grids)
        inside = self.grid.height * self.grid.width if counting is None else int(counting.inside[0].sum())
        # How many of an image's patches can be like confirmed defects: the oddest, of those that count.
        self._odd_patches = min(_ODD_PATCHES, inside)
        self._light_weight = settings.light_weight / max(settings.light_share, 1e-9)
        self._may_widen = settings.widen == "auto"
        kept = None if tensors is None else dict(tensors)

        def sums(name: str) -> SufficientStatistics | None:
            return None if kept is None else SufficientStatistics.from_tensors(under(kept, name), device)

        self.patches = [
            PatchScorer(
                grid,
                self.context_dimensions,
                summary_channels,
                settings,
                self._light_weight,
                device,
                sums(_name(number)),
            )
            for number, grid in enumerate(self.grids)
        ]
        self._detail = None
        if detail_grid is not None:
            kept_sums = sums("detail")
            self._detail = PatchScorer(
                detail_grid, 0, summary_channels, settings, self._light_weight, device, kept_sums
            )
        channels = [*(grid.channels for grid in self.grids), detail_channels]
        self.banks = {
            number: MemoryBank(
                channels[number], device, None if kept is None else under(kept, _bank_name(number))
            )
            for number in choice.banks
        }
        self._summary = ImageScorer(summary_channels, device, sums("summary"), self._light_weight)
        self.judges_light = settings.judge_light
        self._light = ImageScorer(LIGHT_NUMBERS, device, sums("light")) if self.judges_light else None
        kept_defects = None if kept is None else under(kept, "defects")
        self.defects = ConfirmedDefects(len(self.grids), device, kept_defects)
        self._defect_head: DefectHead | None = None
        # Where the statistics hold a projection of the channels, the channels' own sums (P, C) beside them:
        # only these tell which layers deviate.
        self._channels: Tensor | None = None
        if self.grid.dimensions < self.grid.channels:
            empty = torch.zeros(self.grid.positions, self.grid.channels, dtype=torch.float64)
            self._channels = (empty if tensors is None else tensors["channels"]).to(device)
        self.choose(choice)

    @property
    def grid(self) -> PatchGrid:
        """That of the largest scale, which maps have."""
        return self.grids[0]

    def choose(self, choice: Choice) -> None:
        """Judge by these windows and scales."""
        self.choice = choice
        self.banks = {number: self.banks[number] for number in choice.banks}
        self._shows_detail = self._detail is not None and choice.window == 1 and 0 in choice.scales
        priors = np.exp([*choice.log_priors(len(self.grids)), *([0.0] if self._shows_detail else [])])
        self._map_weights = (priors / priors.sum()).tolist()
        self._widened = self._may_widen and choice.window > 1
        for patches in self._learning:
            patches.use_window(choice.window)
        self.count_defects(self.defects.log_prior)

    def count_defects(self, log_prior: float | None) -> None:
        """Let likeness to confirmed defects count for an image's score, with this logarithm of a prior."""
        self.defects.log_prior = log_prior if self.defects else None
        self._defect_head = None
        without = self.choice.alternatives(len(self.grids), self.judges_light)
        self.alternatives = self.defects.alternatives(without, self.judges_light)

    def learn(self, features: PatchFeatures, sign: int = 1) -> None:
        self.learn_map(features, sign)
        self._summary.learn(features.summary, sign)
        if self._light is not None and features.light is not None:
            self._light.learn(features.light, sign)
        if self._channels is not None:
            self._channels += sign * self.grid.to_positions(features.patches).sum(1, dtype=torch.float64)

    def remember(self, features: PatchFeatures, keys: Sequence[int], sign: int = 1) -> None:
        """Take images, by their keys, into the banks, or with ``sign=-1`` let them go."""
        for number, bank in self.banks.items():
            bank.remember(features.grids[number], keys, sign)

    def leave_out(self, keys: Collection[int]) -> None:
        """Compare with what images other than these have shown."""
        for bank in self.banks.values():
            bank.leave_out(keys)

    def learn_augmented(self, features: PatchFeatures, augmented: PatchFeatures, sign: int = 1) -> None:
        """Add how features of learned images change with the light, or with ``sign=-1`` take it back."""
        self.learn_map_augmented(features, augmented, sign)
        self._summary.learn_augmented(features.summary, augmented.summary, sign)

    def merge(self, other: Self) -> None:
        self._defect_head = None
        for mine, theirs in zip(self._learning, other._learning, strict=True):
            mine.fitted.merge(theirs.fitted)
        for number, bank in self.banks.items():
            bank.merge(other.banks[number])
        self._summary.fitted.merge(other._summary.fitted)
        if self._light is not None and other._light is not None:
            self._light.fitted.merge(other._light.fitted)
        if self._channels is not None and other._channels is not None:
            self._channels += other._channels

    def distances(self, features: PatchFeatures) -> Distances:
        return self.distances_with(features, self._whole_scores(features))

    def layer_shares(self, features: PatchFeatures, places: Tensor, widths: Sequence[int]) -> Tensor:
        """(K, L) share of each layer, of ``widths`` channels, in the distances at K ``places``."""
        return shares(self.patches[0].contributions(features, places, self._channels), widths)

    def learn_map(self, features: PatchFeatures, sign: int = 1) -> None:
        """As :meth:`learn`, but of the patches alone: what comes and goes while a map is cross-fitted."""
        self._defect_head = None
        for patches, seen in zip(self._learning, self._learned(features), strict=True):
            patches.learn(seen, sign)

    def learn_map_augmented(self, features: PatchFeatures, augmented: PatchFeatures, sign: int = 1) -> None:
        """As :meth:`learn_augmented`, but of the patches alone."""
        pairs = zip(self._learned(features), self._learned(augmented), strict=True)
        for patches, (seen, changed) in zip(self._learning, pairs, strict=True):
            patches.learn_augmented(seen, changed, sign)

    def whole_scores_without(
        self, summaries: Tensor, changes: Tensor, light: Tensor | None, groups: Sequence[Sequence[int]]
    ) -> Tensor:
        """(B, 1 or 2) scores of learned images as a whole, as if none of their group had been.

        By their summaries (B, D), whose ``changes`` (B, D) are those in another light, 0 where an image was
        not augmented; and by the ``light`` (B, 4) where that is judged.
        """
        scores = [self._summary.image_scores_without(summaries, changes, groups)]
        if self._light is not None and light is not None:
            scores.append(self._light.image_scores_without(light, torch.zeros_like(light), groups))
        return torch.stack(scores, 1)

    def distances_with(self, features: PatchFeatures, whole_scores: Tensor) -> Distances:
        """As :meth:`distances`, where the scores (B, 1 or 2) of the images as a whole are known."""
        found = self._plain(features, whole_scores)
        if not self.defects:
            return found
        responses = self._head().responses(features)
        likeness = self.likeness(self._among_oddest(responses, found.patch_distances).flatten(1))
        return Distances(
            self._raised(found.patch_distances, responses),
            torch.cat([found.image_scores, likeness[:, None]], 1),
        )

    def distances_of_good(self, features: PatchFeatures) -> Distances:
        return self.distances_of_good_with(features, self._whole_scores(features))

    def distances_of_good_with(self, features: PatchFeatures, whole_scores: Tensor) -> Distances:
        """As :meth:`distances_of_good`, where the scores (B, 1 or 2) of the images as a whole are known."""
        found = self._plain(features, whole_scores)
        places = self._oddness(found.patch_distances).topk(self._odd_patches).indices.sort().values
        arrays = (found.patch_distances, places, self._deviations(features, places))
        return replace(found, odd=OddPatches.of(*(array.cpu().numpy() for array in arrays)))

    def raised_by(self, odd: OddPatches, responses: Tensor) -> Tensor:
        """(n, H, W) distances of images of which only the odd patches' responses (n, M) are known.

        Where maps of good images are highest, that is all of it: levels of outlines are told by these.
        """
        grid = torch.full((len(odd), self.grid.height * self.grid.width), -_MOST_LIKE)
        grid.scatter_(1, torch.from_numpy(odd.places).long(), responses.cpu())
        responses = grid.reshape(-1, self.grid.height, self.grid.width)
        return self._raised(torch.from_numpy(odd.maps), responses)

    def _raised(self, map_: Tensor, responses: Tensor) -> Tensor:
        """As `raised`, and nothing outside the region of interest."""
        higher = raised(map_, responses, self.defects.rise)
        if self._counting is None:
            return higher
        return higher * self._counting.shown_of(higher.shape[1:]).to(higher.device)

    def likeness(self, responses: Tensor) -> Tensor:
        """(B,) > 0: the exponential of the mean of the largest of the responses (B, M)."""
        most = min(self.patches[0].settings.patches, responses.shape[1])
        return responses.topk(most, dim=1).values.mean(1).clamp(-_MOST_LIKE, _MOST_LIKE).exp()

    def _plain(self, features: PatchFeatures, whole_scores: Tensor) -> Distances:
        """What is known without confirmed defects."""
        maps, compared = self._maps(features), self._compared(features)
        counting = [*(maps[scale] for scale in self.choice.scales), *compared]
        scores = self._image_scores(maps, compared)
        size = maps[0].shape[1:]
        if self._detail is not None and self._shows_detail:
            counting.append(self._detail.distances(features.in_detail()))
            size = counting[-1].shape[1:]
        joined = _joined(counting, self._map_weights, size)
        map_ = widened(joined) if self._widened else joined
        if self._counting is not None:
            map_ = map_ * self._counting.shown_of(map_.shape[1:])
        return Distances(map_, torch.cat([torch.stack(scores, 1), whole_scores], 1))

    def patch_scores(self, features: PatchFeatures) -> Tensor:
        """(B, S + N) scores of the oddest patches at each of S scales and by each of N banks."""
        return torch.stack(self._image_scores(self._maps(features), self._compared(features)), 1)

    def derive(self) -> None:
        for patches in self._learning:
            _ = patches.gaussian
        for bank in self.banks.values():
            bank.derive()
        if self.defects:
            _ = self._head()
        _ = self._summary.gaussian
        if self._light is not None:
            _ = self._light.gaussian

    def spread(self) -> Spread | None:
        statistics = self.patches[0].fitted.statistics
        return statistics.spread(self.grid.shape[0], skipped=self.context_dimensions)

    def identity(self) -> dict[str, Any]:
        return {
            "grid": asdict(self.grid),
            "coarser_grids": [asdict(grid) for grid in self.grids[1:]],
            "detail_grid": None if self._detail is None else asdict(self._detail.grid),
            "context_dimensions": self.context_dimensions,
            "light_weight": self._light_weight,
            "may_widen": self._may_widen,
            "judges_light": self.judges_light,
            "choice": self.choice.identity(),
            "confirmed": sorted(self.defects.images),
        }

    def to_tensors(self) -> dict[str, Tensor]:
        sums = {_name(number): patches.fitted.statistics for number, patches in enumerate(self.patches)}
        if self._detail is not None:
            sums["detail"] = self._detail.fitted.statistics
        sums["summary"] = self._summary.fitted.statistics
        if self._light is not None:
            sums["light"] = self._light.fitted.statistics
        return {
            **{
                f"{name}.{part}": tensor
                for name, statistics in sums.items()
                for part, tensor in statistics.to_tensors().items()
            },
            **{
                f"{_bank_name(number)}.{part}": tensor
                for number, bank in self.banks.items()
                for part, tensor in bank.to_tensors().items()
            },
            **({} if self._channels is None else {"channels": self._channels.cpu()}),
            **{f"defects.{part}": tensor for part, tensor in self.defects.to_tensors().items()},
        }

    @property
    def _learning(self) -> list[PatchScorer]:
        """What learns by position: at each scale, and then in detail."""
        return [*self.patches, *([] if self._detail is None else [self._detail])]

    def _learned(self, features: PatchFeatures) -> list[PatchFeatures]:
        """What these learn, in their order."""
        return [*features.scales, *([] if self._detail is None else [features.in_detail()])]

    def _whole_scores(self, features: PatchFeatures) -> Tensor:
        """(B, 1 or 2) scores of images as a whole, and where that is judged, of their light."""
        whole = [self._summary.image_scores(features.summary)]
        if self._light is not None and features.light is not None:
            whole.append(self._light.image_scores(features.light))
        return torch.stack(whole, 1)

    def _head(self) -> DefectHead:
        """What tells confirmed defects; derived when it is first asked for."""
        if self._defect_head is None:
            self._defect_head = DefectHead(self.patches, self.defects.moments(self.patches).directions())
        return self._defect_head

    def _oddness(self, map_: Tensor) -> Tensor:
        """(B, h·w) the largest distance in each patch of the largest scale, of maps (B, H, W)."""
        odd = map_
        size = self.grid.height, self.grid.width
        if tuple(map_.shape[1:]) != size:
            steps = [fine // coarse for fine, coarse in zip(map_.shape[1:], size, strict=True)]
            odd = F.max_pool2d(map_[:, None], steps)[:, 0]
        if self._counting is not None:
            odd = odd.where(self._counting.inside[0], -1.0)
        return odd.flatten(1)

    def _among_oddest(self, responses: Tensor, map_: Tensor) -> Tensor:
        """(B, h, w) responses of the oddest patches; those of others are as small as can be."""
        oddness = self._oddness(map_)
        least = oddness.topk(self._odd_patches, dim=1).values[:, -1:]
        return responses.where((oddness >= least).reshape(responses.shape), -_MOST_LIKE)

    def _deviations(self, features: PatchFeatures, places: Tensor) -> Tensor:
        """(B, M, D) how patches deviate at places (B, M) of the largest scale, at all scales, whitened.

        Along a direction of confirmed defects, all scales' in a row, that is what `DefectHead` gives.
        """
        size = self.grid.height, self.grid.width
        own = []
        for scorer, scale in zip(self.patches, features.scales, strict=True):
            kept = scorer.kept(scale)
            count, height, width, channels = kept.shape
            rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            every = torch.stack([rows.flatten(), columns.flatten()], 1).to(kept.device).repeat(count, 1)
            whitened = scorer.deviations(kept.reshape(-1, channels), every)
            planes = whitened.reshape(count, height, width, channels).permute(0, 3, 1, 2)
            wide = on_grid(planes, size).flatten(2)
            at = places[:, None].expand(-1, channels, -1)
            own.append(wide.gather(2, at).transpose(1, 2) / len(self.patches) ** 0.5)
        return torch.cat(own, 2)

    def _maps(self, features: PatchFeatures) -> list[Tensor]:
        """(B, h, w) distances at each scale."""
        return [
            patches.distances(scale) for patches, scale in zip(self.patches, features.scales, strict=True)
        ]

    def _compared(self, features: PatchFeatures) -> list[Tensor]:
        """(B, h, w) distances to the nearest remembered patches, of each bank that counts."""
        return [bank.distances(features.grids[number]) for number, bank in self.banks.items()]

    def _image_scores(self, maps: list[Tensor], compared: list[Tensor]) -> list[Tensor]:
        """(B,) scores of the oddest patches of each, of those that count."""
        every = [*maps, *compared]
        if self._counting is not None:
            numbers = [*range(len(maps)), *self.banks]
            every = [
                map_ * self._counting.inside[number] for number, map_ in zip(numbers, every, strict=True)
            ]
        return [self.patches[0].image_scores(map_) for map_ in every]


def _joined(maps: list[Tensor], weights: Sequence[float], size: Sequence[int]) -> Tensor:
    """(B, H, W) geometric mean, by weights whose sum is 1, of maps of distances, on the finest grid."""
    if len(maps) == 1 and maps[0].shape[1:] == size:
        return maps[0]
    logarithms = [
        # Half-pixel centres, as where a backbone joins layers of different stride.
        weight * F.interpolate(map_.clamp_min(1e-6).log()[:, None], tuple(size), mode="bilinear")[:, 0]
        for map_, weight in zip(maps, weights, strict=True)
    ]
    return torch.stack(logarithms).sum(0).exp()


def widened(map_: Tensor) -> Tensor:
    """(B, H, W) distances, each the geometric mean of itself and the largest of the 3 × 3 around it.

    Where parts are not aligned, a patch at a defect's edge still finds a good patch like it, somewhere: of a
    defect only the middle is odd. The middle stays the oddest, so that peaks keep their places.
    """
    around = F.max_pool2d(map_[:, None], 3, stride=1, padding=1)[:, 0]
    return (map_ * around).sqrt()


def _bank_name(number: int) -> str:
    return f"bank_{number}"


def _name(scale: int) -> str:
    """What the sums of a scale are called in a file."""
    return "patches" if scale == 0 else f"patches_{scale}"
