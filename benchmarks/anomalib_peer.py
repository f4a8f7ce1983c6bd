"""anomalib's PaDiM and PatchCore on our weights; `accuracy.py` runs this file in anomalib's own environment.

Lines of JSON come in and go out: first image files, the side in px that they are
resized to, the weights, and our features of one image; then, one by
one, a fit and its test. Each image is read and resized by anomalib, with the normalisation that the weights
want, and goes through the backbone once for all fits; what that took is counted to each of them. Maps go to
the file that a fit names.
"""
# mypy: disable-error-code="import-not-found"
# anomalib, timm and torchvision live in another environment than the one that mypy sees.

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import anomalib
import numpy as np
import timm
import torch
from anomalib.data.utils import read_image
from anomalib.models.components import KCenterGreedy, TimmFeatureExtractor
from anomalib.models.image.padim.torch_model import PadimModel
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.transforms.v2 import Compose, Normalize, Resize

BACKBONE = "tf_efficientnet_lite0"
LAYERS = ["blocks.2", "blocks.4"]  # 40 channels at stride 8 and 112 at stride 16
_BATCH = 8
_CENTERS_AT_ONCE, _ROWS_AT_ONCE = 256, 8192
_COMPARED = 16  # images
_NORMALIZE = Normalize([127 / 255] * 3, [128 / 255] * 3)


class Remembered(nn.Module):
    """Stands in for a feature extractor: the features of images ``now``, from memory."""

    def __init__(self, extractor: TimmFeatureExtractor, side: int) -> None:
        super().__init__()
        self.side = side
        self.out_dims = extractor.out_dims
        self.now: Sequence[int] = ()
        self.seconds = 0.0
        """What an image took, from file to features."""
        self._extractor = extractor
        self._features: dict[str, Tensor] = {}

    @torch.no_grad()
    def learn(self, paths: Sequence[str]) -> None:
        transform = Compose([Resize((self.side, self.side), antialias=True), _NORMALIZE])
        started = time.perf_counter()
        batches = []
        for first in range(0, len(paths), _BATCH):
            images = [transform(read_image(path, as_tensor=True)) for path in paths[first : first + _BATCH]]
            batches.append(self._extractor(torch.stack(images)))
        self._features = {layer: torch.cat([batch[layer] for batch in batches]) for layer in LAYERS}
        self.seconds = (time.perf_counter() - started) / len(paths)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {layer: features[list(self.now)] for layer, features in self._features.items()}

    def batches(self, images: Sequence[int]) -> Iterator[Tensor]:
        """Empty images of the right shape, with ``now`` set to those they stand for."""
        for first in range(0, len(images), _BATCH):
            self.now = images[first : first + _BATCH]
            yield torch.empty(len(self.now), 3, self.side, self.side)


def difference(extractor: TimmFeatureExtractor, file: str) -> dict[str, float]:
    """Largest difference to our features of the same pixels, as a share of their largest value, by layer."""
    check = load_file(file)
    with torch.no_grad():
        pixels = check["pixels"].permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)
        theirs = extractor(_NORMALIZE(pixels))
    return {
        layer: float((theirs[layer][0] - check[layer]).abs().max() / check[layer].abs().max())
        for layer in LAYERS
    }


def quick_coreset(self: KCenterGreedy) -> list[int]:
    """The points `KCenterGreedy.select_coreset_idxs` chooses, but for rounding, in a fraction of its time.

    Its projection has more dimensions than the features: a rotation of theirs gives the same distances in
    fewer. And the next center is the point farthest from those chosen, so as long as some point of a pool is
    farther than any outside it, centers come from the pool alone; all points then learn of them at once.
    """
    self.model.fit(self.embedding)
    rotation = torch.linalg.qr(self.model.sparse_random_matrix).R
    features = self.embedding @ rotation.T
    features -= features.mean(0)
    squares = features.square().sum(1)
    chosen = [int(torch.randint(high=self.n_observations, size=(1,)))]
    nearest = torch.full_like(squares, torch.inf)
    _learn_of(chosen, features, squares, nearest)
    while len(chosen) < self.coreset_size:
        values, pool = nearest.topk(max(1, len(nearest) // 32))
        points, lengths, outside = features[pool], squares[pool], float(values[-1])
        first = len(chosen)
        while len(chosen) < self.coreset_size and len(chosen) - first < _CENTERS_AT_ONCE:
            best = int(values.argmax())
            if values[best] < outside:
                break
            chosen.append(int(pool[best]))
            torch.minimum(values, lengths + lengths[best] - 2 * (points @ points[best]), out=values)
            values[best] = 0
        _learn_of(chosen[first:], features, squares, nearest)
    return chosen


def _learn_of(centers: Sequence[int], features: Tensor, squares: Tensor, nearest: Tensor) -> None:
    """Bring squared distances to the nearest center, ``nearest`` (N,), up to date."""
    to, of = features[centers].T, squares[centers]
    for first in range(0, len(features), _ROWS_AT_ONCE):
        part = slice(first, first + _ROWS_AT_ONCE)
        distances = (of - 2 * (features[part] @ to)).amin(1) + squares[part]
        nearest[part] = torch.minimum(nearest[part], distances)
    nearest[centers] = 0


def same_coreset(remembered: Remembered) -> float:
    """Share of the points chosen from some images' patches that both ways of choosing choose."""
    model = PatchcoreModel(LAYERS, BACKBONE, pre_trained=False)
    model.feature_extractor = remembered
    model.train()
    patches = torch.cat([model(images) for images in remembered.batches(range(_COMPARED))])
    found = []
    for choose in (KCenterGreedy.select_coreset_idxs, quick_coreset):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002  # anomalib draws its projection from the global generator
        found.append(set(choose(KCenterGreedy(patches, 0.01))))
    return len(found[0] & found[1]) / len(found[0])


def fit(job: dict[str, Any], remembered: Remembered) -> Any:
    torch.manual_seed(job["seed"])
    np.random.seed(job["seed"])  # noqa: NPY002  # as above
    model: Any
    if job["model"] == "padim":
        model = PadimModel(BACKBONE, LAYERS, pre_trained=False, n_features=job["n_features"])
    else:
        model = PatchcoreModel(LAYERS, BACKBONE, pre_trained=False)
    model.feature_extractor = remembered
    model.train()
    for images in remembered.batches(job["train"]):
        model(images)
    if job["model"] == "padim":
        model.fit()
    else:
        model.subsample_embedding(job["coreset"])
    return model.eval()


@torch.no_grad()
def run(job: dict[str, Any], remembered: Remembered) -> dict[str, Any]:
    started = time.perf_counter()
    model = fit(job, remembered)
    fitted = time.perf_counter()
    scores: list[float] = []
    maps = np.lib.format.open_memmap(
        job["maps"], mode="w+", dtype=np.float32, shape=(len(job["test"]), remembered.side, remembered.side)
    )
    for images in remembered.batches(job["test"]):
        found = model(images)
        maps[len(scores) : len(scores) + len(images)] = found.anomaly_map[:, 0].numpy()
        scores += found.pred_score.flatten().tolist()
    maps.flush()
    return {
        "fit_s": fitted - started + remembered.seconds * len(job["train"]),
        "predict_s": time.perf_counter() - fitted + remembered.seconds * len(job["test"]),
        "scores": scores,
    }


def main() -> None:
    start = json.loads(sys.stdin.readline())
    extractor = TimmFeatureExtractor(BACKBONE, LAYERS, pre_trained=False)
    extractor.feature_extractor.load_state_dict(load_file(start["weights"]))
    remembered = Remembered(extractor.eval(), start["side"])
    remembered.learn(start["paths"])
    _say(
        {
            "versions": {module.__name__: module.__version__ for module in (anomalib, timm, torch)},
            "difference": difference(extractor, start["check"]),
            "same_coreset": same_coreset(remembered),
        }
    )
    KCenterGreedy.select_coreset_idxs = quick_coreset
    for line in sys.stdin:
        _say(run(json.loads(line), remembered))


def _say(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
