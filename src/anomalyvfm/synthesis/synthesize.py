"""Good images in, images with a defect and its exact mask out, in the numbers a mix asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from anomalyvfm.errors import InputError
from anomalyvfm.synthesis.contextual import contextual
from anomalyvfm.synthesis.mixes import TOTAL, Mix, Stage, shared_out
from anomalyvfm.synthesis.patch import Image8, Mask
from anomalyvfm.synthesis.structural import structural
from anomalyvfm.synthesis.texture import texture

# A blur of something smooth changes nothing; then another image and another place are drawn.
_ATTEMPTS = 16


class Images(Protocol):
    """Good images (H, W, C) uint8 by number: a list of arrays, or anything that reads them when asked."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Image8: ...


@dataclass(frozen=True)
class Order:
    """One synthetic image to make: which stage, from which mix."""

    stage: Stage
    mix: Mix


@dataclass(frozen=True)
class Synthetic:
    """A good image with a defect: (H, W, C) uint8, its mask (H, W), and where both come from."""

    image: Image8
    mask: Mask
    stage: Stage
    source: int
    donor: int | None


def orders(mixes: Sequence[Mix], total: int = TOTAL, seed: int = 0) -> list[Order]:
    """`total` orders in the proportions of the mixes, which share it equally, in an order set by the seed."""
    sorted_orders = [
        Order(stage, mix)
        for mix, part in zip(mixes, shared_out(total, len(mixes)), strict=True)
        for stage, count in mix.counts(part).items()
        for _ in range(count)
    ]
    shuffle = np.random.default_rng([seed, 0]).permutation(total)
    return [sorted_orders[index] for index in shuffle]


def synthesize(
    images: Images, wanted: Sequence[Order], seed: int = 0, severity: float = 1.0
) -> Iterator[Synthetic]:
    """The synthetic images ordered, one after another; no more than two good images are held at a time.

    Each depends on nothing but the images, the seed and its place in `wanted`. Raises InputError for fewer
    than two good images, for one too small for a patch, and where nothing can be changed.
    """
    if len(images) < 2:
        raise InputError(
            f"{len(images)} good image{'s' * (len(images) != 1)} to make synthetic defects from;"
            " at least 2 are needed"
        )
    for place, order in enumerate(wanted):
        rng = np.random.default_rng([seed, 1, place])
        for _ in range(_ATTEMPTS):
            made = _make(images, order, rng, severity)
            if made.mask.any():
                break
        else:
            raise InputError(
                f"{_ATTEMPTS} {order.stage} defects in a row changed no pixel: the good images are alike or"
                " empty; give more varied ones, raise the severity, or leave that stage out"
            )
        yield made


def _make(images: Images, order: Order, rng: np.random.Generator, severity: float) -> Synthetic:
    source, donor = (int(index) for index in rng.choice(len(images), size=2, replace=False))
    image = images[source]
    if order.stage == "texture":
        defective, mask = texture(image, rng, severity, order.mix.textures)
    elif order.stage == "structural":
        defective, mask = structural(image, rng, severity, order.mix.structures)
    else:
        defective, mask = contextual(image, rng, severity, donor=images[donor])
        return Synthetic(defective, mask, order.stage, source, donor)
    return Synthetic(defective, mask, order.stage, source, None)
