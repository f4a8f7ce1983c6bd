"""From image files to features: read → place in the frame → tile → backbone → stitch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import blake2b
from itertools import count, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anomalyvfm.data import (
    ImageError,
    ImageSource,
    InputFrame,
    Tiling,
    choose_frame,
    read_many,
    read_source,
)
from anomalyvfm.data.pixels import written_out
from anomalyvfm.data.roi import Roi, filled
from anomalyvfm.data.sources import describe, readable_sizes, several, source_names
from anomalyvfm.data.views import views_of
from anomalyvfm.features.backbones.backbone import Backbone, PatchFeatures
from anomalyvfm.features.counting import Counting
from anomalyvfm.features.illumination import augment_light, is_augmented, light_of
from anomalyvfm.presets import ImageSettings

__all__ = [
    "Extracted",
    "Extractor",
    "ImageSource",
    "PlacedImage",
    "describe",
    "features_of",
    "several",
    "source_names",
    "stack_scales",
]


# Enough headers to know the usual shape of the images; reading all would take a second pass over them.
_SIZES_LOOKED_AT = 256

# A batch of smaller images is larger, up to so many times: what a scorer has learned, larger than any cache,
# then goes through memory for more of them.
_SIDE, _SMALLER = 512, 4
# So many images lie ready beside a batch.
_READY = 8
_PIXELS_ON_A_CPU = 2 * 512**2


@dataclass(frozen=True)
class PlacedImage:
    """An image in the model's frame, with the size it had; ``key`` tells equal frames.

    ``pixels`` are as the camera saw them, ``views`` as the backbone does, one for each scale.
    """

    pixels: NDArray[np.uint8]
    views: tuple[NDArray[np.uint8], ...]
    size: tuple[int, int]

    @cached_property
    def key(self) -> int:
        # Only learning asks for it: hashing a frame of 512 px takes most of a millisecond.
        return int.from_bytes(blake2b(self.pixels.tobytes(), digest_size=7).digest(), "big")


@dataclass(frozen=True)
class Extracted:
    """The features of a batch of images, and what could not be read along the way.

    ``broken`` holds (position in ``sources``, error) of sources that gave no image; the others are, in
    order, ``images`` and the rows of ``features`` (None when every source of the batch is broken).
    ``positions`` are those of ``images`` among all the sources. ``augmented`` are the features of some
    images, those at ``augmented_rows`` among ``images``, under another light; None where that was not asked
    or is none.
    """

    sources: list[ImageSource]
    broken: dict[int, ImageError]
    images: list[PlacedImage]
    features: PatchFeatures | None
    seconds: float
    positions: list[int]
    augmented_rows: list[int]
    augmented: PatchFeatures | None


@dataclass(frozen=True)
class _Part:
    """A batch of sources with what they gave: ``first`` is the position of the first, among all."""

    first: int
    items: list[tuple[ImageSource, PlacedImage | ImageError]]
    seconds: float


def frame_for(images: Sequence[ImageSource], settings: ImageSettings, backbone: Backbone) -> InputFrame:
    """The frame in which a backbone sees images like these, of which the first are looked at."""
    frame = choose_frame(
        readable_sizes(images[:_SIZES_LOOKED_AT], settings),
        settings.size or backbone.image_size,
        backbone.multiple,
        settings.aspect,
    )
    return replace(frame, patch=backbone.stride)


class Extractor:
    """The path from files to features, the same for learning and judging.

    With several ``scales``, shares of the frame's sides with 1 the largest, an image is seen at each of
    them, on a grid of its own; ``stacked``, the features have one more axis before the last instead: patches
    (B, H, W, S, C) on the finest grid, summaries (B, S, D). With ``light``, the features say in which the
    image was taken. With a ``roi`` they are of what lies in it alone, and ``counting`` says where that is.
    """

    def __init__(
        self,
        backbone: Backbone,
        frame: InputFrame,
        settings: ImageSettings,
        batch: int,
        scales: Sequence[float] = (1.0,),
        stacked: bool = False,
        light: bool = False,
        roi: Roi | None = None,
    ) -> None:
        self.stacked = stacked
        self.light = light
        self.backbone = backbone
        self.frame = frame
        self.settings = settings
        self.batch = round(batch * min(_SMALLER, max(1.0, _SIDE**2 / (frame.height * frame.width))))
        sides = [
            [backbone.multiple * max(1, round(share * side / backbone.multiple)) for share in scales]
            for side in (frame.height, frame.width)
        ]
        self.views = [InputFrame(height, width) for height, width in zip(*sides, strict=True)]
        overlap = int(settings.overlap * settings.tile)
        self.tilings = [
            Tiling(view.height, view.width, settings.tile, overlap, backbone.multiple) for view in self.views
        ]
        self.roi = roi
        self.inside: NDArray[np.bool_] | None = None
        self.counting: Counting | None = None
        if roi is not None:
            self.inside = roi.in_frame(frame)
            height, width = self.grid_shape
            detail = [(2 * height, 2 * width)] if backbone.detail_channels else []
            self.counting = Counting.of(roi, frame, [*self.grid_shapes, *detail], backbone.device)

    @property
    def grid_shape(self) -> tuple[int, int]:
        """Height and width of the feature grid, the finest."""
        return self._grid_shape(self.frame)

    @property
    def grid_shapes(self) -> list[tuple[int, int]]:
        """Those of the scales, in their order."""
        return [self._grid_shape(view) for view in self.views]

    def _grid_shape(self, view: InputFrame) -> tuple[int, int]:
        return view.height // self.backbone.stride, view.width // self.backbone.stride

    def extract(self, sources: Iterable[ImageSource], light_share: float = 0) -> Iterator[Extracted]:
        """Features of all sources in order, batch by batch.

        Reading runs ahead of the backbone, and the backbone a batch ahead of what is done with its features.
        A ``light_share`` of the images is seen under another light as well.
        """
        see = partial(self._extracted, light_share=light_share)
        for _, extracted in read_many(self._read(sources), see, workers=1, ahead=2):
            assert isinstance(extracted, Extracted)
            yield extracted

    def _read(self, sources: Iterable[ImageSource]) -> Iterator[_Part]:
        """Batches of placed images."""
        placed = read_many(sources, self.place, ahead=self.batch + _READY)
        for first in count(0, self.batch):
            started = time.perf_counter()
            items = list(islice(placed, self.batch))
            if not items:
                return
            yield _Part(first, items, time.perf_counter() - started)

    def _extracted(self, part: _Part, light_share: float) -> Extracted:
        started = time.perf_counter()
        broken = {i: image for i, (_, image) in enumerate(part.items) if isinstance(image, ImageError)}
        images = [image for _, image in part.items if isinstance(image, PlacedImage)]
        features = self._features(images) if images else None
        positions = [part.first + i for i in range(len(part.items)) if i not in broken]
        seconds = part.seconds + time.perf_counter() - started
        learning = enumerate(images) if light_share else ()
        rows = [row for row, image in learning if is_augmented(image.key, light_share)]
        augmented = self._features([self._augment(images[row]) for row in rows]) if rows else None
        sources = [source for source, _ in part.items]
        return Extracted(sources, broken, images, features, seconds, positions, rows, augmented)

    def keys(self, sources: Iterable[ImageSource]) -> Iterator[tuple[ImageSource, int]]:
        """Each source with its key, without running the backbone. Raises ImageError for an unreadable one."""
        for source, image in read_many(sources, self.place, ahead=self.batch + _READY):
            if isinstance(image, ImageError):
                raise image
            yield source, image.key

    def place(self, source: ImageSource) -> PlacedImage:
        """The image of a source as it goes into the backbone.

        Raises ImageError for what is no image, and for one in which the region of interest lies elsewhere.
        """
        image = read_source(source, self.settings)
        size = (image.shape[0], image.shape[1])
        if self.roi is not None:
            self.roi.require_fit_of(size, self.frame, describe(source))
        pixels = filled(self.frame.place(image), self.inside, 0)
        return PlacedImage(pixels, self._shown(pixels), size)

    def _augment(self, image: PlacedImage) -> PlacedImage:
        pixels = augment_light(image.pixels, np.random.default_rng(image.key))
        return replace(image, pixels=pixels, views=self._shown(pixels))

    def _shown(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        return views_of(pixels, self.views, self.settings.exposure == "standard", self.inside)

    def _features(self, images: list[PlacedImage]) -> PatchFeatures:
        views = [
            torch.from_numpy(np.stack([image.views[number] for image in images]))
            for number in range(len(self.views))
        ]
        features = features_of(views, self.tilings, self._in_parts, self.stacked)
        if self.counting is not None:
            features = self.counting.repeated(features)
        if not self.light:
            return features
        inside = None if self.inside is None else torch.from_numpy(self.inside)
        taken = torch.cat(
            [light_of(torch.from_numpy(written_out(image.pixels)[None]), inside) for image in images]
        )
        return replace(features, light=taken.to(self.backbone.device))

    def _in_parts(self, tiles: Tensor) -> PatchFeatures:
        # The backbone sees as many tiles at once as it would see images: memory does not grow with tiles.
        most = self.batch
        if self.backbone.device.type == "cpu":
            # Nor, where large passes are no faster, with the size of images; each core has one.
            pixels = tiles.shape[1] * tiles.shape[2]
            most = min(most, max(torch.get_num_threads(), _PIXELS_ON_A_CPU // pixels))
        parts = [self.backbone(tiles[i : i + most]) for i in range(0, len(tiles), most)]
        return PatchFeatures(
            torch.cat([part.patches for part in parts]),
            torch.cat([part.summary for part in parts]),
            torch.cat([part.detail for part in parts if part.detail is not None])
            if self.backbone.detail_channels
            else None,
        )


def features_of(
    views: Sequence[Tensor],
    tilings: Sequence[Tiling],
    backbone: Callable[[Tensor], PatchFeatures],
    stacked: bool,
) -> PatchFeatures:
    """What ``backbone`` sees in B images, given as a (B, h, w, 3) view of each scale with its tiling."""
    seen: list[PatchFeatures] = []
    for view, tiling in zip(views, tilings, strict=True):
        tiles = backbone(tiling.cut(view))
        # In detail only at the largest scale.
        detail = None if seen or tiles.detail is None else tiling.stitch(tiles.detail)
        seen.append(PatchFeatures(tiling.stitch(tiles.patches), tiling.pool(tiles.summary), detail))
    if len(seen) == 1 or not stacked:
        return replace(seen[0], coarser=tuple(seen[1:]))
    return PatchFeatures(
        stack_scales([one.patches for one in seen]), torch.stack([one.summary for one in seen], 1)
    )


def stack_scales(grids: Sequence[Tensor]) -> Tensor:
    """Patch features (B, h, w, D) at each scale to (B, H, W, S, D) on the finest of their grids."""
    height, width = max((grid.shape[1], grid.shape[2]) for grid in grids)
    return torch.stack([_resized(grid, height, width) for grid in grids], dim=-2)


def _resized(grid: Tensor, height: int, width: int) -> Tensor:
    if grid.shape[1:3] == (height, width):
        return grid
    # Half-pixel centres, as where a backbone joins layers of different stride.
    return F.interpolate(grid.permute(0, 3, 1, 2), (height, width), mode="bilinear").permute(0, 2, 3, 1)
