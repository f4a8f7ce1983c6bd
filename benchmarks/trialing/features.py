"""Backbone features of every image, computed once for each way of showing the image and kept on disk.

A variant is written backbone-input-side, e.g. ``lite0-global-256``. Inputs: ``global`` gives every image
one brightness and contrast; ``local`` one at every place of the image; ``raw`` shows pixels as they are; with
``flip`` appended, the image is mirrored left to right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from anomalyvfm.data import InputFrame, read_image
from anomalyvfm.data.views import standard_exposure
from anomalyvfm.features.backbones.efficientnet import EfficientNetLite
from anomalyvfm.features.backbones.efficientnet import load as load_lite

MAP_STAGES = (3, 4, 5, 6, 7)
MOMENT_STAGES = (2, 3, 4, 5, 6, 7)
"""Of every stage from 2 on the mean and spread over the image are kept, of the coarser ones the maps too."""

_BATCH = 8


@dataclass(frozen=True)
class Variant:
    """How an image is shown to which backbone."""

    backbone: str
    input: str
    side: int

    @classmethod
    def of(cls, name: str) -> Variant:
        backbone, input_, side = name.split("-")
        return cls(backbone, input_, int(side))

    def show(self, path: Path) -> NDArray[np.uint8]:
        """The image as the backbone sees it, (side, side, 3)."""
        pixels = InputFrame(self.side, self.side, "stretch").place(read_image(path))
        return self.dress(pixels)

    def dress(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.input.startswith("global"):
            pixels = standard_exposure(pixels)
        elif self.input.startswith("local"):
            pixels = local_contrast(pixels, self.side / 16)
        return np.ascontiguousarray(pixels[:, ::-1]) if self.input.endswith("flip") else pixels


def local_contrast(pixels: NDArray[np.uint8], reach: float) -> NDArray[np.uint8]:
    """(H, W, 3) with mean 127 and the same contrast around every pixel, over a Gaussian of `reach` px."""
    values = pixels.astype(np.float32)
    grey = values.mean(2)
    center = gaussian_filter(grey, reach)
    spread = np.sqrt(np.maximum(gaussian_filter(grey**2, reach) - center**2, 0))
    # Where there is no contrast there is nothing but noise: it is raised to half the image's own at most.
    gain = 48 / (spread + 0.5 * float(np.sqrt((spread**2).mean())) + 2)
    flat = (values - center[..., None]) * gain[..., None] + 127.5
    result: NDArray[np.uint8] = np.clip(flat, 0, 255).astype(np.uint8)
    return result


class Features:
    """Arrays of one category and variant: ``maps(stage)`` (N, H, W, C), ``moments(stage)`` (N, 2, C)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def maps(self, stage: int) -> NDArray[np.float16]:
        array: NDArray[np.float16] = np.load(self.folder / f"map{stage}.npy", mmap_mode="r")
        return array

    def moments(self, stage: int) -> NDArray[np.float32]:
        array: NDArray[np.float32] = np.load(self.folder / f"moments{stage}.npy")
        return array


def features(name: str, paths: list[Path], variant: str, cache: Path) -> Features:
    """The features of these images, computed where the cache does not hold them yet."""
    way = Variant.of(variant)
    return kept(cache / name / variant, (way.show(path) for path in paths), len(paths), way.backbone)


def kept(folder: Path, images: Iterable[NDArray[np.uint8]], count: int, backbone: str) -> Features:
    """The features of `count` images in `folder`; no image is asked for where they are there already."""
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        compute(images, count, backbone, folder)
        (folder / "done").touch()
    return Features(folder)


@torch.no_grad()
def compute(images: Iterable[NDArray[np.uint8]], count: int, backbone: str, folder: Path) -> None:
    """Write the arrays of `count` images of one size into `folder`."""
    network = load_lite(f"efficientnet-{backbone}", layers=MOMENT_STAGES)
    out: dict[str, np.memmap[Any, Any]] = {}
    batch: list[NDArray[np.uint8]] = []
    done = 0
    for number, image in enumerate(images, start=1):
        batch.append(image)
        if len(batch) < _BATCH and number < count:
            continue
        for key, values in _stages(network, np.stack(batch)).items():
            if key not in out:
                shape = (count, *values.shape[1:])
                out[key] = np.lib.format.open_memmap(
                    folder / f"{key}.npy", mode="w+", dtype=values.dtype, shape=shape
                )
            out[key][done : done + len(batch)] = values
        done += len(batch)
        batch = []
    for array in out.values():
        array.flush()


def _stages(network: EfficientNetLite, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    x = ((torch.from_numpy(images).float() - 127) / 128).permute(0, 3, 1, 2)
    for number, stage in enumerate(network.stages, start=1):
        x = stage(x)
        if number in MOMENT_STAGES:
            spread, center = torch.std_mean(x.flatten(2), dim=2, correction=0)
            found[f"moments{number}"] = torch.stack([center, spread], 1).numpy()
        if number in MAP_STAGES:
            found[f"map{number}"] = x.permute(0, 2, 3, 1).half().numpy()
    return found
