"""Good images kept in the model, small: what an odd place can be compared with and shown beside."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from heapq import nsmallest
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anomalyvfm.features.extractor import Extracted
from anomalyvfm.features.grid import PatchGrid, orthonormal

_SIDE = 192  # pixels of a picture's longer side
_DIRECTIONS = 64
# Of the patch compared: the odd position and those around it, which tell what should have been there.
_REACH = 1
# Added to each direction's variance, as a share of the mean one: those that hardly vary would else decide.
_FLOOR = 0.05
# A place at most so many patches away counts as the same, and one elsewhere must be closer by this factor.
# On drawn parts the same place is 1.01 to 1.06 as far where a tablet is missing, 1.06 in the median on
# boards.
_NEAR, _NEARLY = 2, 1.07


@dataclass(frozen=True)
class GoodImage:
    """One learned image, as the gallery keeps it."""

    name: str
    size: tuple[int, int]
    """Height and width it had."""
    codes: NDArray[np.int8]
    """(P, D) its positions' features along random directions, in units of ``step``."""
    step: float
    picture: NDArray[np.uint8]
    """(h, w, 3) the frame."""


class Match(NamedTuple):
    """The good place most like one that was asked for."""

    image: GoodImage
    shift: tuple[int, int]
    """Rows and columns of positions from the place asked for to it."""
    distance: float
    """1 between good places drawn at random."""


class Gallery:
    """At most ``most`` of the learned images; never changed, each step gives a new one.

    Those with the smallest keys are kept. Keys are hashes of the pixels, so that is a uniform sample of the
    different images whatever their order or number, and the sample of two machines' images together is made
    from theirs (Cohen & Kaplan 2007, "Summarizing data using bottom-k sketches"). Where images have been
    forgotten their places stay free until others are learned.
    """

    def __init__(self, most: int, grid: PatchGrid, images: Mapping[int, GoodImage] | None = None) -> None:
        self.most = most
        self.grid = grid
        self.images = dict(nsmallest(most, (images or {}).items(), key=lambda item: item[0]))

    def __len__(self) -> int:
        return len(self.images)

    def learn(self, batch: Extracted, names: Sequence[str]) -> Gallery:
        """With the images of a batch that belong to the sample; ``names`` are those of all sources."""
        largest = max(self.images, default=0)
        free = len(self) < self.most
        rows = {
            image.key: row
            for row, image in enumerate(batch.images)
            if image.key not in self.images and (free or image.key < largest)
        }
        if not rows or not self.most or batch.features is None:
            return self
        codes = self.encode(batch.features.patches[list(rows.values())])
        learned = {
            key: _kept(names[batch.positions[row]], batch.images[row].size, code, batch.images[row].pixels)
            for (key, row), code in zip(rows.items(), codes, strict=True)
        }
        return Gallery(self.most, self.grid, self.images | learned)

    def without(self, gone: Callable[[int], bool]) -> Gallery:
        """Without the images whose key is ``gone``."""
        return Gallery(self.most, self.grid, {key: one for key, one in self.images.items() if not gone(key)})

    def merge(self, other: Gallery) -> Gallery:
        """The sample of both one's images."""
        return Gallery(self.most, self.grid, other.images | self.images)

    def encode(self, patches: Tensor) -> NDArray[np.float32]:
        """(B, P, D) of patch features (B, H, W, C): each position's mean along random directions."""
        kept = patches @ _directions(self.grid.channels).to(patches.device)
        positions = (
            self.grid.to_positions(kept)
            .reshape(self.grid.positions, len(patches), -1, kept.shape[-1])
            .mean(2)
        )
        codes: NDArray[np.float32] = positions.transpose(0, 1).cpu().numpy()
        return codes

    def nearest(self, code: NDArray[np.float32], places: Collection[tuple[int, int]]) -> list[Match]:
        """The best match for each of the ``places``, a patch's row and column, of an image's ``code`` (P, D).

        The distance between two places is that between the features of the positions around them, root mean
        square, in directions scaled to the variance that good images have along them. All places of all
        images are looked at, for things may lie anywhere; but one near the place itself is preferred where
        it is nearly as close. What is missing looks most like background: where parts are aligned, the place
        itself shows what should be there.
        """
        rows, columns = self.grid.shape
        whitener, bank = self._index
        own = (code @ whitener).reshape(rows, columns, -1)
        # With a 1 for the bank's squares: what a product gives is a squared distance but for own ones.
        asked = np.concatenate([-2 * own, np.ones((rows, columns, 1), np.float32)], axis=2)
        images, matches = list(self.images.values()), []
        for row, column in places:
            top, left = max(0, row - _REACH), max(0, column - _REACH)
            around = slice(top, row + _REACH + 1), slice(left, column + _REACH + 1)
            patch = own[around]
            height, width = patch.shape[:2]
            down, across = rows - height + 1, columns - width + 1
            products = torch.from_numpy(asked[around].reshape(height * width, -1)) @ bank
            compared = products.numpy().reshape(-1, len(self), rows, columns)
            squared = np.full((len(self), down, across), np.square(patch).sum(), np.float32)
            for position in range(height * width):
                y, x = divmod(position, width)
                squared += compared[position, :, y : y + down, x : x + across]
            np.maximum(squared, 0, out=squared)
            weighed = _NEARLY**2 * squared
            near = np.s_[:, max(0, top - _NEAR) : top + _NEAR + 1, max(0, left - _NEAR) : left + _NEAR + 1]
            weighed[near] = squared[near]
            number, y, x = map(int, np.unravel_index(int(weighed.argmin()), squared.shape))
            # Two independent vectors are 2 D apart on average.
            distance = float(np.sqrt(squared[number, y, x] / patch.size / 2))
            matches.append(Match(images[number], (y - top, x - left), distance))
        return matches

    @cached_property
    def _index(self) -> tuple[NDArray[np.float32], Tensor]:
        """Whitener (D, D), and all whitened positions (D + 1, N·P), their squared lengths last."""
        codes = np.concatenate([one.codes * np.float32(one.step) for one in self.images.values()])
        centred = codes - codes.mean(0)
        variances, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(codes))
        floor = _FLOOR * variances.mean() + 1e-12
        whitener = (axes / np.sqrt(variances.clip(0) + floor)).astype(np.float32)
        bank = codes @ whitener
        return whitener, torch.from_numpy(np.concatenate([bank.T, np.square(bank).sum(1)[None]]))

    def to_tensors(self) -> dict[str, Tensor]:
        """All images, to be stored; nothing where there are none."""
        if not self.images:
            return {}
        kept = self.images.values()
        names = json.dumps([one.name for one in kept]).encode()
        return {
            "keys": torch.tensor(list(self.images), dtype=torch.int64),
            "names": torch.frombuffer(bytearray(names), dtype=torch.uint8),
            "sizes": torch.tensor([one.size for one in kept], dtype=torch.int64),
            "codes": torch.from_numpy(np.stack([one.codes for one in kept])),
            "steps": torch.tensor([one.step for one in kept], dtype=torch.float32),
            "pictures": torch.from_numpy(np.stack([one.picture for one in kept])),
        }

    @classmethod
    def from_tensors(cls, most: int, grid: PatchGrid, tensors: Mapping[str, Tensor]) -> Gallery:
        """The inverse of :meth:`to_tensors`."""
        if not tensors:
            return cls(most, grid)
        names = json.loads(tensors["names"].numpy().tobytes())
        sizes = tensors["sizes"].tolist()
        codes, steps, pictures = (tensors[name].numpy() for name in ("codes", "steps", "pictures"))
        images = {
            key: GoodImage(names[i], tuple(sizes[i]), codes[i], float(steps[i]), pictures[i])
            for i, key in enumerate(tensors["keys"].tolist())
        }
        return cls(most, grid, images)


@cache
def _directions(channels: int) -> Tensor:
    return orthonormal(channels, min(_DIRECTIONS, channels))


def _kept(name: str, size: tuple[int, int], code: NDArray[np.float32], frame: NDArray[np.uint8]) -> GoodImage:
    step = max(float(np.abs(code).max()) / 127, 1e-30)
    share = min(1.0, _SIDE / max(frame.shape[:2]))
    height, width = (max(1, round(share * side)) for side in frame.shape[:2])
    picture = np.array(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))
    return GoodImage(name, size, np.rint(code / step).astype(np.int8), step, picture)
