"""A fitted detector as one torch module, from the frame to score, p-value and map: what gets exported."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from anomalyvfm.data.placing import bilinear
from anomalyvfm.data.views import BRIGHTNESS, CONTRAST, LEAST_CONTRAST, OUTSIDE
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import Backbone, PatchFeatures
from anomalyvfm.features.backbones.efficientnet import EfficientNetLite
from anomalyvfm.features.backbones.vit import DinoViT
from anomalyvfm.features.extractor import features_of
from anomalyvfm.features.illumination import light_of
from anomalyvfm.runtime.manifest import LIGHT, SCORES, TAKEN_IN, patches_name, view_name


class JudgingGraph(nn.Module):
    """Judges images (B, H, W, 3) uint8 that lie in the frame, with the detector's own parts, in float32.

    The formulas are the scorer's and the calibration's, called while torch records; what is repeated here in
    torch is what a detector does to pixels in numpy and Pillow: exposure and resizing.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        extractor, calibration = detector.pipeline_.extractor, detector.calibration_
        backbone = extractor.backbone
        # Registered under one name, by which the backbone's nodes are told from the scorer's.
        self.backbone = _network(backbone)
        self._frame = extractor.frame
        self._views = extractor.views
        grids = 1 if extractor.stacked else len(extractor.views)
        grids += backbone.detail_channels > 0
        self._judges_light = extractor.light
        self.outputs = (
            *SCORES,
            "summary",
            *(patches_name(number) for number in range(grids)),
            *(view_name(number) for number in range(len(self._views))),
            *((LIGHT, TAKEN_IN) if self._judges_light else ()),
        )
        self._tilings = extractor.tilings
        self._stacked = extractor.stacked
        self._standard = extractor.settings.exposure == "standard"
        self._seen_by = backbone
        self._counting = extractor.counting
        inside = extractor.inside
        self.inside = None if inside is None else nn.Buffer(torch.from_numpy(inside))
        self._scorer = detector.pipeline_.scorer
        self._scorer.derive()
        self._calibration = calibration
        self.good_scores = nn.Buffer(torch.from_numpy(calibration.scores).float())

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The ``outputs`` for B images; scores, map and light's score follow from the others alone."""
        # In planes, as the backbone takes them: nothing is turned round but the pixels themselves, once.
        planes = pixels.permute(0, 3, 1, 2).float()
        exposed = standard_exposure(planes, self.inside) if self._standard else planes
        if self.inside is not None:
            exposed = exposed.where(self.inside, OUTSIDE)
        size = (self._frame.height, self._frame.width)
        views = [resized(exposed, size, (view.height, view.width)) for view in self._views]
        seen = [view.permute(0, 2, 3, 1) for view in views]
        features = features_of(seen, self._tilings, self._features, self._stacked)
        if self._counting is not None:
            features = self._counting.repeated(features)
        if self._judges_light:
            features = replace(features, light=light_of(pixels, self.inside))
        summary = features.summary.flatten(1)
        whole = summary.reshape(-1, *features.summary.shape[1:])
        distances = self._scorer.distances(replace(features, summary=whole))
        logarithms = distances.image_scores.clamp_min(1e-12).log()
        score = self._calibration.joined(logarithms, _logaddexp)
        above = (self.good_scores >= score[:, None]).float().sum(1)
        p_value = self._calibration.p_value_of(above)
        anomaly_map = self._calibration.anomaly_map(distances.patch_distances)
        judged = (score, p_value, anomaly_map, summary, *features.grids, *views)
        if features.light is None:
            return judged
        return *judged, self._calibration.light(logarithms), features.light

    def _features(self, tiles: Tensor) -> PatchFeatures:
        # Past the threads that a CPU is kept busy with: an exported graph has its own.
        run = self._seen_by
        found = run._joined(tiles) if isinstance(run, EfficientNetLite) else run._features(tiles)
        return PatchFeatures.of(found)


def standard_exposure(planes: Tensor, inside: Tensor | None = None) -> Tensor:
    """(B, 3, H, W) grey levels as of `data.views.standard_exposure`, but for roundings of a level."""
    weights = 1.0 if inside is None else inside.float() / inside.float().mean()
    centred = planes - _mean(planes * weights)
    gain = CONTRAST / (_mean(centred.square() * weights).sqrt() + LEAST_CONTRAST)
    return (centred * gain + BRIGHTNESS).clamp(0, 255).floor()


def _logaddexp(one: Tensor, other: Tensor) -> Tensor:
    return torch.logsumexp(torch.stack((one, other)), 0)


def _mean(values: Tensor) -> Tensor:
    """(B, 1, 1, 1) of (B, 3, H, W), row by row: a runtime may add up a hundred thousand values one by one."""
    return values.mean(3, keepdim=True).mean((1, 2), keepdim=True)


def resized(planes: Tensor, size: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """(B, 3, H, W) grey levels of ``size`` to ``wanted``, as `InputFrame.place` but for roundings of one."""
    if size == wanted:
        return planes
    down, across = (
        torch.from_numpy(bilinear(here, there, 0, here).copy())
        for here, there in zip(size, wanted, strict=True)
    )
    wide = (planes @ across.T).add(0.5).floor()
    return (down @ wide).add(0.5).floor()


def _network(backbone: Backbone) -> nn.Module:
    """The module that holds a backbone's weights. Raises InputError for one that cannot be exported."""
    if isinstance(backbone, EfficientNetLite):
        return backbone.stages
    if isinstance(backbone, DinoViT):
        module: nn.Module = backbone.model
        return module
    raise InputError(f"{backbone.name} cannot be exported: fit with an EfficientNet-Lite or a DINO backbone")
