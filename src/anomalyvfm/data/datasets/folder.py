"""The plain folder: images that are all good, or good/ beside one folder for each kind of defect."""

from __future__ import annotations

from pathlib import Path

from anomalyvfm.data.datasets.listing import (
    TRUTH,
    given_images,
    good_folder,
    list_folders,
    list_images,
    mask_of,
    masks_by_name,
    split_by_name,
)
from anomalyvfm.data.datasets.sample import DEFECT, GOOD, Category, Sample

TRAIN_SHARE = 0.7

_MASK_FOLDERS = (TRUTH, "masks")


def is_category(folder: Path) -> bool:
    return good_folder(folder) is not None or bool(list_images(folder))


def read_category(folder: Path, name: str, seed: int) -> Category:
    """Learn from all good images, or, where there are defects to test on, from 70 % of them."""
    good_ones = good_folder(folder)
    if good_ones is None:
        return Category(name, "folder", train=_good(_images(folder)))
    kinds = [kind for kind in list_folders(folder) if kind != good_ones and kind.name not in _MASK_FOLDERS]
    defects = tuple(sample for kind in kinds for sample in _defects(kind))
    good = _images(good_ones)
    if not defects:
        return Category(name, "folder", train=_good(good))
    train, held_out = split_by_name(good, TRAIN_SHARE, seed)
    return Category(name, "folder", train=_good(train), test=_good(held_out) + defects)


def read_defects(folder: Path) -> tuple[Sample, ...]:
    """The images of a folder of defects, or of its folders, one for each kind, with the masks there are.

    Masks lie where those of a plain folder's defects do, or in ground_truth/ or masks/ in the folder itself.
    """
    if _images(folder):
        return _defects(folder)
    good_ones = good_folder(folder)
    kinds = [kind for kind in list_folders(folder) if kind != good_ones and kind.name not in _MASK_FOLDERS]
    return tuple(sample for kind in kinds for sample in _defects(kind))


def _good(paths: list[Path]) -> tuple[Sample, ...]:
    return tuple(Sample(path, GOOD) for path in paths)


def _defects(kind: Path) -> tuple[Sample, ...]:
    """Masks lie in ground_truth/<kind>/, masks/<kind>/, masks/, or beside the image as <stem>_mask."""
    root = kind.parent
    own = (kind / name for name in _MASK_FOLDERS)
    places = (root / TRUTH / kind.name, root / "masks" / kind.name, root / "masks", *own)
    # Beside the images only the _mask form counts: every image there would else be its own mask.
    beside = {stem: path for stem, path in masks_by_name(kind).items() if stem.endswith("_mask")}
    masks = [*(masks_by_name(place) for place in places), beside]
    return tuple(Sample(path, DEFECT, mask_of(path, masks), kind=kind.name) for path in _images(kind))


def _images(folder: Path) -> list[Path]:
    """The images of a folder without those that are another's mask."""
    images = given_images(folder)
    stems = {path.stem.lower() for path in images}
    return [
        path for path in images if path.stem.lower().removesuffix("_mask") not in stems - {path.stem.lower()}
    ]
