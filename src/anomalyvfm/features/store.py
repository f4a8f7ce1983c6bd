"""Features of a data set on disk: computed once, read back as often as training and learning need them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import PatchFeatures


class FeatureStore:
    """Rows of patch features in a file for each scale, and their images' summaries in memory.

    Reads and writes are plain, not mapped, so that memory does not grow with the images.
    """

    def __init__(self, path: Path, dtype: torch.dtype = torch.float32) -> None:
        self.folder = path.parent
        self._path = path
        self._dtype = dtype
        self._scales: list[_Scale] = []

    def __len__(self) -> int:
        return len(self._scales[0].summaries) if self._scales else 0

    def append(self, features: PatchFeatures) -> None:
        """Keep the features of a batch. Raises InputError where the disk takes no more."""
        if not self._scales:
            self._scales = [
                _Scale(self._path.with_name(f"{self._path.name}.{number}"), tuple(scale.patches.shape[1:]))
                for number, scale in enumerate(features.scales)
            ]
        for kept, scale in zip(self._scales, features.scales, strict=True):
            rows = scale.patches.to("cpu", self._dtype).contiguous().numpy()
            try:
                with kept.path.open("ab") as stream:
                    stream.write(rows.data)
            except OSError as error:
                raise InputError(
                    f"{self.folder}: features of the images cannot be kept there while they are learned"
                    f" ({error.strerror}); free the disk or set TMPDIR to another place"
                ) from None
            kept.summaries += scale.summary.to("cpu", torch.float32).unbind(0)

    def summaries(self) -> Tensor:
        """(N, D) or (N, S, D) float32: a vector for each image as a whole, at the largest scale."""
        return torch.stack(self._scales[0].summaries)

    def patches(self) -> Tensor:
        """(N, H, W, D) or (N, H, W, S, D), those of the largest scale mapped from their file."""
        largest = self._scales[0]
        return mapped_rows(largest.path, (len(self), *largest.shape), self._dtype)

    def take(self, rows: Sequence[int], device: torch.device) -> PatchFeatures:
        """The features of these rows, float32, on a device."""
        largest, *coarser = [self._take(scale, rows, device) for scale in self._scales]
        return PatchFeatures(largest.patches, largest.summary, tuple(coarser))

    def _take(self, scale: _Scale, rows: Sequence[int], device: torch.device) -> PatchFeatures:
        size = self._dtype.itemsize * math.prod(scale.shape)
        block = bytearray(len(rows) * size)
        with scale.path.open("rb", buffering=0) as stream:
            for place, row in enumerate(rows):
                stream.seek(row * size)
                stream.readinto(memoryview(block)[place * size : (place + 1) * size])
        patches = torch.frombuffer(block, dtype=self._dtype).reshape(len(rows), *scale.shape)
        summaries = torch.stack([scale.summaries[row] for row in rows])
        return PatchFeatures(patches.to(device, torch.float32), summaries.to(device))


@dataclass
class _Scale:
    """The file of one scale's patches, the shape of an image's, and the images' summaries."""

    path: Path
    shape: tuple[int, ...]
    summaries: list[Tensor] = field(default_factory=list)


def mapped_rows(path: Path, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """A writable tensor of that shape that lives in a file, made or grown where needed.

    Written and read like any other; what is not in use need not be in memory. Raises InputError where the
    file cannot be made.
    """
    size = 1
    for side in shape:
        size *= side
    try:
        return torch.from_file(str(path), shared=True, size=size, dtype=dtype).reshape(shape)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: {size * dtype.itemsize} bytes cannot be set aside ({reason})") from None
