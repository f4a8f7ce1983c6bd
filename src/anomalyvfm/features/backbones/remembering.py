"""A backbone that remembers what it has seen: several pipelines on the same images run it once."""

from __future__ import annotations

import hashlib
import os
import time
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
    patches: torch.Size
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

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        keys = [_key(image) for image in images]
        missing = [i for i, key in enumerate(keys) if key not in self._places]
        if missing:
            started = time.perf_counter()
            patches, summaries = self._backbone._features(images[missing])
            # A GPU has computed them only once they are here.
            patches, summaries = patches.float().cpu(), summaries.float().cpu()
            seconds = (time.perf_counter() - started) / len(missing)
            for i, row, summary in zip(missing, patches, summaries, strict=True):
                self._remember(keys[i], row, summary, seconds)
        known = set(range(len(keys))).difference(missing)
        self.seconds_saved += sum(self._places[keys[i]].seconds for i in known)
        found = [self._recall(key) for key in keys]
        rows, tokens = zip(*found, strict=True)
        return torch.stack(rows).to(self.device), torch.stack(tokens).to(self.device)

    def _remember(self, key: bytes, patches: Tensor, summary: Tensor, seconds: float) -> None:
        row = torch.cat([patches.flatten(), summary])
        try:
            with self._path.open("ab") as stream:
                start = stream.tell()
                stream.write(row.numpy().data)
        except OSError as error:
            raise InputError(
                f"{self._path.parent}: features cannot be kept there ({error.strerror}); free the disk or set"
                " TMPDIR to another place"
            ) from None
        self._places[key] = _Place(start, patches.shape, seconds)

    def _recall(self, key: bytes) -> tuple[Tensor, Tensor]:
        place = self._places[key]
        count = place.patches.numel() + self.summary_channels
        with self._path.open("rb") as stream:
            block = bytearray(os.pread(stream.fileno(), 4 * count, place.start))
        row = torch.frombuffer(block, dtype=torch.float32)
        return row[: place.patches.numel()].reshape(place.patches), row[place.patches.numel() :]


def _key(image: Tensor) -> bytes:
    shape = str(tuple(image.shape)).encode()
    return hashlib.blake2b(shape + image.cpu().contiguous().numpy().tobytes(), digest_size=16).digest()
