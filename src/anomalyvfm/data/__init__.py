"""From files to arrays: which images there are, what is in them, and how they fit a model's frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomalyvfm.data.datasets import Category, Sample, list_categories, open_dataset
    from anomalyvfm.data.parallel import read_many
    from anomalyvfm.data.pixels import ImageError, as_rgb
    from anomalyvfm.data.placing import InputFrame, choose_frame
    from anomalyvfm.data.reading import read_image, read_mask, read_size
    from anomalyvfm.data.sources import ImageSource, read_source
    from anomalyvfm.data.tiling import Tiling

__all__ = [
    "Category",
    "ImageError",
    "ImageSource",
    "InputFrame",
    "Sample",
    "Tiling",
    "as_rgb",
    "choose_frame",
    "list_categories",
    "open_dataset",
    "read_image",
    "read_many",
    "read_mask",
    "read_size",
    "read_source",
]

# Imported on first use: arrays are judged where Pillow is not installed.
_ROOMS = {
    "datasets": ("Category", "Sample", "list_categories", "open_dataset"),
    "parallel": ("read_many",),
    "pixels": ("ImageError", "as_rgb"),
    "reading": ("read_image", "read_mask", "read_size"),
    "placing": ("InputFrame", "choose_frame"),
    "sources": ("ImageSource", "read_source"),
    "tiling": ("Tiling",),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
