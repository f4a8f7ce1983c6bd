"""Learned images whose features are kept: those that are judged again once all have been learned."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.extractor import Extracted
from anomalyvfm.features.grouping import Labels, group_named, groups_of, placed_features
from anomalyvfm.features.store import FeatureStore
from anomalyvfm.pipeline import under


def sampled(count: int, most: int, seed: int) -> list[int]:
    """Positions of at most ``most`` of ``count`` images, in the order in which the seed draws them."""
    drawn: list[int] = np.random.default_rng(seed).permutation(count)[:most].tolist()
    return drawn


class KeptImages:
    """The images that are judged again: those at the positions ``chosen`` among all that are learned.

    Of those that are ``shown``, too, the ``pixels`` are kept, by row. ``grouped_by`` is the rule of
    `group_named`. Features lie in files that begin with ``path``.
    """

    def __init__(
        self, path: Path, chosen: Collection[int], shown: Collection[int] = (), grouped_by: str = "alike"
    ) -> None:
        self.store = FeatureStore(path)
        self._grouped_by = grouped_by
        self.keys: list[int] = []
        self.names: list[str] = []
        self._augmented = FeatureStore(path.with_name(f"{path.name}-augmented"))
        self._augmented_row: dict[int, int] = {}
        self.pixels: dict[int, NDArray[np.uint8]] = {}
        self._chosen, self._shown = frozenset(chosen), frozenset(shown)
        self._placed: list[NDArray[np.float32]] = []

    def add(self, batch: Extracted, names: Sequence[str]) -> None:
        """Keep the features of those in the batch, and their names out of those of all images.

        Raises InputError where the disk takes no more.
        """
        rows = [row for row, position in enumerate(batch.positions) if position in self._chosen]
        if batch.features is not None and rows:
            place = {row: len(self.keys) + i for i, row in enumerate(rows)}
            features = batch.features.rows(rows)
            self.store.append(features)
            self._placed.append(placed_features(features.scales[-1].patches).cpu().numpy())
            for row in rows:
                if batch.positions[row] in self._shown:
                    self.pixels[place[row]] = batch.images[row].pixels
            self.keys += [batch.images[row].key for row in rows]
            self.names += [names[batch.positions[row]] for row in rows]
            augmented = [i for i, row in enumerate(batch.augmented_rows) if row in place]
            if batch.augmented is not None and augmented:
                numbers = range(len(self._augmented), len(self._augmented) + len(augmented))
                self._augmented_row.update(
                    zip([place[batch.augmented_rows[i]] for i in augmented], numbers, strict=True)
                )
                self._augmented.append(batch.augmented.rows(augmented))

    def different(self) -> list[int]:
        """The first row of each different image."""
        rows = range(len(self.keys))
        return sorted({self.keys[row]: row for row in reversed(rows)}.values())

    def groups(self) -> Labels:
        """(n,) the group of each of the images, see `groups_of`."""
        named = [group_named(name, self._grouped_by) for name in self.names]
        return groups_of(np.concatenate(self._placed), self.keys, named)

    def summaries(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(n, D) of all, and how they change in another light; 0 where that was not learned."""
        summaries = self.store.summaries().to(device)
        changes = torch.zeros_like(summaries)
        if self._augmented_row:
            rows, numbers = map(list, zip(*self._augmented_row.items(), strict=True))
            changes[rows] = self._augmented.summaries()[numbers].to(device) - summaries[rows]
        return summaries, changes

    def augmented(self, rows: Sequence[int], device: torch.device) -> tuple[list[int], PatchFeatures | None]:
        """Which of the rows were learned in another light too, by place, and their features in it."""
        places = [place for place, row in enumerate(rows) if row in self._augmented_row]
        if not places:
            return [], None
        return places, self._augmented.take([self._augmented_row[rows[place]] for place in places], device)

    def extend(self, other: KeptImages) -> None:
        """Append all images of another. Raises InputError where the disk takes no more."""
        first, augmented = len(self.keys), len(self._augmented)
        self.store.extend(other.store)
        self._augmented.extend(other._augmented)
        self._augmented_row.update(
            {first + row: augmented + number for row, number in other._augmented_row.items()}
        )
        self.pixels.update({first + row: pixels for row, pixels in other.pixels.items()})
        self.keys += other.keys
        self.names += other.names
        self._placed += other._placed

    def to_tensors(self) -> dict[str, Tensor]:
        """All but the features of patches, which lie in files; nothing where no image is kept."""
        if not self.keys:
            return {}
        names = json.dumps(self.names).encode()
        tensors = {
            **{f"store.{name}": tensor for name, tensor in self.store.to_tensors().items()},
            **{f"augmented.{name}": tensor for name, tensor in self._augmented.to_tensors().items()},
            "augmented_row": torch.tensor(list(self._augmented_row.items()), dtype=torch.int64).reshape(
                -1, 2
            ),
            "keys": torch.tensor(self.keys, dtype=torch.int64),
            "names": torch.frombuffer(bytearray(names), dtype=torch.uint8),
            "placed": torch.from_numpy(np.concatenate(self._placed)),
        }
        if self.pixels:
            tensors["shown"] = torch.tensor(list(self.pixels), dtype=torch.int64)
            tensors["pixels"] = torch.from_numpy(np.stack(list(self.pixels.values())))
        return tensors

    @classmethod
    def opened(cls, path: Path, tensors: Mapping[str, Tensor], grouped_by: str) -> KeptImages:
        """Those of `to_tensors`, whose features lie in files that begin with ``path``.

        Raises InputError where such a file is not whole.
        """
        self = cls(path, (), (), grouped_by)
        if not tensors:
            return self
        self.store = FeatureStore.opened(path, under(tensors, "store"))
        self._augmented = FeatureStore.opened(self._augmented.path, under(tensors, "augmented"))
        self._augmented_row = dict(tensors["augmented_row"].tolist())
        self.keys = tensors["keys"].tolist()
        self.names = json.loads(tensors["names"].numpy().tobytes())
        self._placed = [tensors["placed"].numpy()]
        if "shown" in tensors:
            rows = tensors["shown"].tolist()
            self.pixels = dict(zip(rows, tensors["pixels"].numpy(), strict=True))
        return self
