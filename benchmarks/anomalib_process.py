"""anomalib in a process of its own environment, asked for one fit and test after another."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from anomalyvfm.data import InputFrame, read_image
from anomalyvfm.features import backbones
from peers import peer_python
from timm_names import timm_weights

BACKBONE = "efficientnet-lite0"
PEER = Path(__file__).resolve().parent / "anomalib_peer.py"
_STAGES = {"blocks.2": 3, "blocks.4": 5}  # timm's name of what we call a layer
_LARGEST_DIFFERENCE = 1e-4  # of features, as a share of the largest: the same network, but for rounding


class AnomalibProcess(AbstractContextManager["AnomalibProcess"]):
    """anomalib with the features of all ``paths`` at hand, of ``side`` px; files it needs lie in ``folder``.

    Entering takes the time of a feature pass. ``about`` then tells versions and how far its features are
    from ours.
    """

    def __init__(self, paths: Sequence[Path], side: int, folder: Path) -> None:
        self.about = ""
        self._places = {path: place for place, path in enumerate(dict.fromkeys(paths))}
        self._side, self._folder = side, folder
        self._log = folder / "anomalib.log"

    def __enter__(self) -> AnomalibProcess:
        weights, check = self._folder / "weights.safetensors", self._folder / "check.safetensors"
        published = torch.load(backbones.load(BACKBONE).source, map_location="cpu", weights_only=True)
        save_file(timm_weights(published), weights)
        save_file(_our_features(next(iter(self._places)), self._side), check)
        self._process = subprocess.Popen(
            [peer_python("anomalib"), PEER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w", encoding="utf-8"),
            text=True,
        )
        found = self._ask(
            {
                "weights": str(weights),
                "check": str(check),
                "side": self._side,
                "paths": [str(path) for path in self._places],
            }
        )
        largest = max(found["difference"].values())
        if largest > _LARGEST_DIFFERENCE:
            raise SystemExit(f"anomalib's features are not ours: they differ by {found['difference']}")
        versions = ", ".join(f"{library} {version}" for library, version in found["versions"].items())
        self.about = (
            f"{versions}; its features differ from ours by at most {largest:.1e} of the largest; of a coreset"
            f" of 1 % of 16 images, {found['same_coreset']:.1%} are chosen by our quick way as by its own"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def fit_and_test(
        self, method: dict[str, Any], seed: int, learned: Sequence[Path], tested: Sequence[Path]
    ) -> tuple[float, float, list[float], NDArray[np.float32]]:
        """Seconds of fit and test, scores of the tested, and their maps (N, side, side), on disk."""
        maps = self._folder / "maps.npy"
        found = self._ask(
            {
                **method,
                "seed": seed,
                "train": [self._places[path] for path in learned],
                "test": [self._places[path] for path in tested],
                "maps": str(maps),
            }
        )
        return found["fit_s"], found["predict_s"], found["scores"], np.load(maps, mmap_mode="r")

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("{"):  # libraries print, too
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit("anomalib ended: " + self._log.read_text(encoding="utf-8")[-2000:])


def _our_features(path: Path, side: int) -> dict[str, torch.Tensor]:
    """An image's pixels (side, side, 3), and our features of them by timm's names, (C, H, W) each."""
    pixels = torch.from_numpy(InputFrame(side, side).place(read_image(path)))
    found = {
        name: backbones.load(BACKBONE, layers=[stage], device="cpu")(pixels[None]).patches[0]
        for name, stage in _STAGES.items()
    }
    return {
        "pixels": pixels,
        **{name: patches.permute(2, 0, 1).contiguous() for name, patches in found.items()},
    }
