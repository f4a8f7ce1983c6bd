"""Datasets by folder: MVTec AD 2, MVTec AD, plain folders and elpv, told apart by what is in the folder."""

from anomalyvfm.data.datasets.opening import list_categories, open_dataset
from anomalyvfm.data.datasets.sample import Category, Sample

__all__ = ["Category", "Sample", "list_categories", "open_dataset"]
