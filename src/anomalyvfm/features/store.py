"""Features of a data set on disk: computed once, read back as often as training and learning need them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import PatchFeatures


class FeatureStore:
    """Rows of patch features in files, one for each grid, and the images' summaries in memory.

    Reads and writes are plain, not mapped, so that memory does not grow with the images.
    """

    def __init__(self, path: Path, dtype: torch.dtype = torch.float32) -> None:
        self.path = path
        self._dtype = dtype
        self._grids: list[_Rows] = []  # as `PatchFeatures.grids`
        self._summaries: list[list[Tensor]] = []  # by scale
        self._light: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._summaries[0]) if self._summaries else 0

    def append(self, features: PatchFeatures) -> None:
        """Keep the features of a batch. Raises InputError where the disk takes no more."""
        grids = features.grids
        if not self._grids:
            self._summaries = [[] for _ in features.scales]
            self._grids = [
                _Rows(self._place(number), tuple(grid.shape[1:]), self._dtype)
                for number, grid in enumerate(grids)
            ]
        for rows, grid in zip(self._grids, grids, strict=True):
            rows.append(grid)
        for summaries, scale in zip(self._summaries, features.scales, strict=True):
            summaries += scale.summary.to("cpu", torch.float32).unbind(0)
        if features.light is not None:
            self._light += features.light.cpu().unbind(0)

    def summaries(self) -> Tensor:
        """(N, D) or (N, S, D) float32: a vector for each image as a whole, at the largest scale."""
        return torch.stack(self._summaries[0])

    def light(self) -> Tensor:
        """(N, 4) float32: the light each image was taken in, where that is judged."""
        return torch.stack(self._light)

    def patches(self) -> Tensor:
        """(N, H, W, D) or (N, H, W, S, D), those of the largest scale mapped from their file."""
        largest = self._grids[0]
        return mapped_rows(largest.path, (len(self), *largest.shape), self._dtype)

    def extend(self, other: FeatureStore) -> None:
        """Append all rows of another. Raises InputError where the disk takes no more."""
        if not len(other):
            return
        if not self._grids:
            self._summaries = [[] for _ in other._summaries]
            self._grids = [
                replace(rows, path=self._place(number)) for number, rows in enumerate(other._grids)
            ]
        for rows, others in zip(self._grids, other._grids, strict=True):
            rows.extend(others)
        for summaries, more in zip(self._summaries, other._summaries, strict=True):
            summaries += more
        self._light += other._light

    def to_tensors(self) -> dict[str, Tensor]:
        """All but the grids, whose shapes it holds instead; nothing where there is no row."""
        if not len(self):
            return {}
        light = {"light": self.light()} if self._light else {}
        return {
            **light,
            **{f"summaries.{scale}": torch.stack(own) for scale, own in enumerate(self._summaries)},
            **{f"shape.{number}": torch.tensor(rows.shape) for number, rows in enumerate(self._grids)},
        }

    @classmethod
    def opened(
        cls, path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
    ) -> FeatureStore:
        """One whose grids lie in files at ``path``, and the rest in ``tensors`` of :meth:`to_tensors`.

        Raises InputError where a file has not all the rows.
        """
        self = cls(path, dtype)
        scales = sum(name.startswith("summaries.") for name in tensors)
        self._summaries = [list(tensors[f"summaries.{scale}"].unbind(0)) for scale in range(scales)]
        self._light = list(tensors["light"].unbind(0)) if "light" in tensors else []
        grids = sum(name.startswith("shape.") for name in tensors)
        shapes = [tensors[f"shape.{number}"].tolist() for number in range(grids)]
        self._grids = [_Rows(self._place(number), tuple(shape), dtype) for number, shape in enumerate(shapes)]
        for rows in self._grids:
            rows.require(len(self))
        return self

    def take(self, rows: Sequence[int], device: torch.device) -> PatchFeatures:
        """The features of these rows, float32, on a device."""
        grids = [grid.take(rows).to(device, torch.float32) for grid in self._grids]
        summaries = [torch.stack([own[row] for row in rows]).to(device) for own in self._summaries]
        largest, *coarser = map(PatchFeatures, grids, summaries)
        detail = grids[-1] if len(grids) > len(summaries) else None
        light = torch.stack([self._light[row] for row in rows]).to(device) if self._light else None
        return replace(largest, detail=detail, coarser=tuple(coarser), light=light)

    def _place(self, number: int) -> Path:
        """The file of a grid."""
        return self.path.with_name(f"{self.path.name}.{number}")


@dataclass(frozen=True)
class _Rows:
    """A file of rows, each a tensor of one shape."""

    path: Path
    shape: tuple[int, ...]
    dtype: torch.dtype

    def append(self, rows: Tensor) -> None:
        values = rows.to("cpu", self.dtype).contiguous().numpy()
        try:
            with self.path.open("ab") as stream:
                stream.write(values.data)
        except OSError as error:
            raise self._unwritable(error) from None

    def extend(self, other: _Rows) -> None:
        try:
            with other.path.open("rb") as source, self.path.open("ab") as stream:
                shutil.copyfileobj(source, stream, 1 << 20)
        except OSError as error:
            raise self._unwritable(error) from None

    def require(self, count: int) -> None:
        """Raise InputError where the file has not so many rows."""
        size = count * self.dtype.itemsize * math.prod(self.shape)
        if not self.path.is_file() or self.path.stat().st_size != size:
            raise InputError(f"{self.path}: truncated or missing; {size} bytes of features were there")

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"{self.path.parent}: features of the images cannot be kept there while they are learned"
            f" ({error.strerror}); free the disk or set TMPDIR to another place"
        )

    def take(self, rows: Sequence[int]) -> Tensor:
        size = self.dtype.itemsize * math.prod(self.shape)
        block = bytearray(len(rows) * size)
        with self.path.open("rb", buffering=0) as stream:
            for place, row in enumerate(rows):
                stream.seek(row * size)
                stream.readinto(memoryview(block)[place * size : (place + 1) * size])
        return torch.frombuffer(block, dtype=self.dtype).reshape(len(rows), *self.shape)


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
