"""Features of a data set on disk: computed once, read back as often as training and learning need them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anomalyvfm.backbones.features import PatchFeatures
from anomalyvfm.errors import InputError
from anomalyvfm.scoring.adapted import summary_token
from anomalyvfm.training import mapped_rows


class FeatureStore:
    """Rows of patch features in a file, in half precision, and their images' summaries in memory.

    Reads and writes are plain, not mapped, so that memory does not grow with the images.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.folder = path.parent
        self._shape: tuple[int, ...] = ()
        self._summaries: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._summaries)

    def append(self, features: PatchFeatures) -> None:
        """Keep the features of a batch. Raises InputError where the disk takes no more."""
        rows = features.patches.to("cpu", torch.float16).numpy()
        self._shape = rows.shape[1:]
        try:
            with self._path.open("ab") as stream:
                stream.write(np.ascontiguousarray(rows).data)
        except OSError as error:
            raise InputError(
                f"{self.folder}: features of the images cannot be kept there for training"
                f" ({error.strerror}); free the disk or set TMPDIR to another place"
            ) from None
        self._summaries += summary_token(features).to("cpu", torch.float32).unbind(0)

    def summaries(self) -> Tensor:
        """(N, D) or (N, S, D) float32: a vector for each image as a whole."""
        return torch.stack(self._summaries)

    def patches(self) -> Tensor:
        """(N, H, W, D) or (N, H, W, S, D) float16, mapped from the file."""
        return mapped_rows(self._path, (len(self), *self._shape), torch.float16)

    def batches(self, size: int) -> Iterator[PatchFeatures]:
        """All rows in order, ``size`` images at a time."""
        values = int(np.prod(self._shape))
        with self._path.open("rb") as stream:
            for start in range(0, len(self), size):
                summaries = torch.stack(self._summaries[start : start + size])
                block = np.fromfile(stream, np.float16, count=len(summaries) * values)
                patches = torch.from_numpy(block.reshape(len(summaries), *self._shape)).float()
                yield PatchFeatures(patches, summaries)
