"""A backbone that remembers what it has seen: several pipelines on the same images run it once."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import Backbone


@dataclass(frozen=True)
class _Place:
    """Where an image's features lie in the file, and what they cost."""

    start: int
    shapes: list[torch.Size]
    seconds: float


class RememberingBackbone(Backbone):
    """Another backbone's features, kept on disk by the images' pixels.

    ``seconds_saved`` adds up what the features that came from disk had cost when they were computed, so that
    a pipeline's time can be told as if it had run alone.
    """

    def __init__(self, backbone: Backbone, path: Path) -> None:
        super().__init__(**{field.name: getattr(backbone, field.name) for field in fields(Backbone)})
        self.seconds_saved = 0.0
        self._backbone = backbone
        self._path = path
        self._places: dict[bytes, _Place] = {}

    def _features(self, images: Tensor) -> tuple[Tensor, ...]:
        keys = [_key(image) for image in images]
        missing = [i for i, key in enumerate(keys) if key not in self._places]
        if missing:
            started = time.perf_counter()
            # A GPU has computed them only once they are here.
            parts = [part.float().cpu() for part in self._backbone._features(images[missing])]
            seconds = (time.perf_counter() - started) / len(missing)
            for i, *image in zip(missing, *parts, strict=True):
                self._remember(keys[i], image, seconds)
        known = set(range(len(keys))).difference(missing)
        self.seconds_saved += sum(self._places[keys[i]].seconds for i in known)
        found = zip(*(self._recall(key) for key in keys), strict=True)
        return tuple(torch.stack(part).to(self.device) for part in found)

    def _remember(self, key: bytes, parts: Sequence[Tensor], seconds: float) -> None:
        row = torch.cat([part.flatten() for part in parts])
        try:
            with self._path.open("ab") as stream:
                start = stream.tell()
                stream.write(row.numpy().data)
        except OSError as error:
            raise InputError(
                f"{self._path.parent}: features cannot be kept there ({error.strerror}); free the disk or set"
                " TMPDIR to another place"
            ) from None
        self._places[key] = _Place(start, [part.shape for part in parts], seconds)

    def _recall(self, key: bytes) -> list[Tensor]:
        place = self._places[key]
        counts = [shape.numel() for shape in place.shapes]
        with self._path.open("rb") as stream:
            block = bytearray(os.pread(stream.fileno(), 4 * sum(counts), place.start))
        row = torch.frombuffer(block, dtype=torch.float32)
        return [
            part.reshape(shape) for part, shape in zip(torch.split(row, counts), place.shapes, strict=True)
        ]


def _key(image: Tensor) -> bytes:
    shape = str(tuple(image.shape)).encode()
    return hashlib.blake2b(shape + image.cpu().contiguous().numpy().tobytes(), digest_size=16).digest()
