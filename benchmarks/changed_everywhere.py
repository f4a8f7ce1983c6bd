"""Products that changed everywhere a little, by how likely the whole image is to tell a defect.

    python benchmarks/changed_everywhere.py [--data pcb,foam] [--seed 0]

Good images that are tested are seen 5 % larger, blurred by 0.6 px, with noise of 3 grey levels (both at
256 px) and in a warmer colour: no patch looks odd by itself then. Image AUROC against the same images as they
are, mean over the four, beside that of the real test images, at several logarithms of the prior of the image
as a whole. Only where parts are not aligned is there such a prior.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from anomalyvfm.decision.calibration import Calibration
from anomalyvfm.detector import Detector
from anomalyvfm.metrics.image import auroc
from splits import names, open_split

_PRIORS = (-2.0, -1.5, -1.0, 0.0)
_MOST = 40  # good images that are changed
_SIDE = 256

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, np.random.Generator], Pixels]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="pcb,circuit_board,fabric,grains,foam,sheet_metal")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    columns = ("data", "prior of the whole", "test images", "changed everywhere", *_CHANGES)
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|", flush=True)
    for name in names(options.data):
        judged = judge(name, options.seed, _CHANGES)
        for prior in _PRIORS:
            calibration = _with_prior(judged.calibration, prior)
            tested, *areas = (area(calibration, good, odd) for good, odd in judged.pairs)
            cells = " | ".join(f"{one:.3f}" for one in (tested, float(np.mean(areas)), *areas))
            print(f"| {name} | {prior} | {cells} |", flush=True)


@dataclass(frozen=True)
class Judged:
    """Image scores (n, K) before they are joined, of good images and others.

    ``pairs`` are those of the test images, and then for each change of the good ones as they are and changed.
    """

    calibration: Calibration
    pairs: list[tuple[NDArray[np.float64], NDArray[np.float64]]]


def judge(name: str, seed: int, changes: Mapping[str, Change], **settings: object) -> Judged:
    """Learn the data set, and judge its test images and good ones that were changed."""
    category = open_split(name, seed)
    detector = Detector("v2", {"backbone": "efficientnet-lite0", **settings}, seed=seed).fit(category)
    labels = np.array([sample.label for sample in category.test])
    tested = _distances(detector, [sample.path for sample in category.test])
    good = [np.asarray(Image.open(s.path).convert("RGB")) for s in category.test if s.label == 0][:_MOST]
    as_is = _distances(detector, good)
    rng = np.random.default_rng(seed)
    changed = [_distances(detector, [change(pixels, rng) for pixels in good]) for change in changes.values()]
    pairs = [(tested[labels == 0], tested[labels == 1]), *((as_is, odd) for odd in changed)]
    return Judged(detector.calibration_, pairs)


def _distances(detector: Detector, sources: Sequence[Any]) -> NDArray[np.float64]:
    """(n, K) image scores before they are joined."""
    pipeline = detector.pipeline_
    batches = pipeline.extractor.extract(sources)
    return np.concatenate(
        [pipeline.scorer.distances(batch.features).numpy()[1] for batch in batches if batch.features]
    )


def _with_prior(calibration: Calibration, log_prior: float) -> Calibration:
    *patches, whole = calibration.alternatives
    return replace(calibration, alternatives=(*patches, whole._replace(log_prior=log_prior)))


def area(calibration: Calibration, good: NDArray[np.float64], odd: NDArray[np.float64]) -> float:
    labels = np.repeat([0, 1], [len(good), len(odd)])
    return float(auroc(calibration.score(np.concatenate([good, odd])), labels).value or 0.5)


def _larger(pixels: Pixels, _: np.random.Generator) -> Pixels:
    image = Image.fromarray(pixels)
    inside = [round(side / 1.05) for side in image.size]
    left, top = ((side - kept) // 2 for side, kept in zip(image.size, inside, strict=True))
    part = image.crop((left, top, left + inside[0], top + inside[1]))
    return np.asarray(part.resize(image.size, Image.Resampling.BICUBIC))


def _blurred(pixels: Pixels, _: np.random.Generator) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.6 * _scale(pixels))))


def _noisy(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    noise = rng.normal(0, 3 * _scale(pixels), pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def warmer(pixels: Pixels, _: np.random.Generator) -> Pixels:
    warm: Pixels = np.clip(pixels * np.array([1.08, 1.0, 0.92]), 0, 255).astype(np.uint8)
    return warm


def _scale(pixels: Pixels) -> float:
    """How much larger the image is than one at which changes are given."""
    return float(np.sqrt(pixels.shape[0] * pixels.shape[1])) / _SIDE


_CHANGES: Mapping[str, Change] = {
    "larger": _larger,
    "blurred": _blurred,
    "noisy": _noisy,
    "warmer": warmer,
}

if __name__ == "__main__":
    main()
