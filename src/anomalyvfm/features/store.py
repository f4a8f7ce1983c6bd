"""Features of a data set on disk: computed once, read back as often as training and learning need them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import PatchFeatures


class FeatureStore:
    """Rows of patch features in a file, and their images' summaries in memory.

    Reads and writes are plain, not mapped, so that memory does not grow with the images.
    """

    def __init__(self, path: Path, dtype: torch.dtype = torch.float32) -> None:
        self.folder = path.parent
        self._path = path
        self._dtype = dtype
        self._shape: tuple[int, ...] = ()
        self._summaries: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._summaries)

    def append(self, features: PatchFeatures) -> None:
        """Keep the features of a batch. Raises InputError where the disk takes no more."""
        rows = features.patches.to("cpu", self._dtype).contiguous().numpy()
        self._shape = rows.shape[1:]
        try:
            with self._path.open("ab") as stream:
                stream.write(rows.data)
        except OSError as error:
            raise InputError(
                f"{self.folder}: features of the images cannot be kept there while they are learned"
                f" ({error.strerror}); free the disk or set TMPDIR to another place"
            ) from None
        self._summaries += features.summary.to("cpu", torch.float32).unbind(0)

    def summaries(self) -> Tensor:
        """(N, D) or (N, S, D) float32: a vector for each image as a whole."""
        return torch.stack(self._summaries)

    def patches(self) -> Tensor:
        """(N, H, W, D) or (N, H, W, S, D), mapped from the file."""
        return mapped_rows(self._path, (len(self), *self._shape), self._dtype)

    def take(self, rows: Sequence[int], device: torch.device) -> PatchFeatures:
        """The features of these rows, float32, on a device."""
        size = self._dtype.itemsize * math.prod(self._shape)
        block = bytearray(len(rows) * size)
        with self._path.open("rb", buffering=0) as stream:
            for place, row in enumerate(rows):
                stream.seek(row * size)
                stream.readinto(memoryview(block)[place * size : (place + 1) * size])
        patches = torch.frombuffer(block, dtype=self._dtype).reshape(len(rows), *self._shape)
        summaries = torch.stack([self._summaries[row] for row in rows])
        return PatchFeatures(patches.to(device, torch.float32), summaries.to(device))


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
