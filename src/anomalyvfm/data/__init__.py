"""From files to arrays: which images there are, what is in them, and how they fit a model's canvas."""

from anomalyvfm.data.datasets import Category, Sample, list_categories, open_dataset
from anomalyvfm.data.parallel import read_many
from anomalyvfm.data.reading import ImageError, as_rgb, read_image, read_mask, read_size
from anomalyvfm.data.sizing import Canvas, choose_canvas
from anomalyvfm.data.tiling import Tiling

__all__ = [
    "Canvas",
    "Category",
    "ImageError",
    "Sample",
    "Tiling",
    "as_rgb",
    "choose_canvas",
    "list_categories",
    "open_dataset",
    "read_image",
    "read_many",
    "read_mask",
    "read_size",
]
