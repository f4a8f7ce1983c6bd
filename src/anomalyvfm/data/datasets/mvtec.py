"""The layouts of MVTec AD, MVTec LOCO and MVTec AD 2: good images under train/, judged ones under test*/."""

from __future__ import annotations

from pathlib import Path

from anomalyvfm.data.datasets.listing import (
    TRUTH,
    condition,
    defect_samples,
    given_images,
    good_folder,
    good_samples,
    list_folders,
)
from anomalyvfm.data.datasets.sample import Category, Sample

GENERATED = "generated.json"
"""Marks a category as drawn: its name may be MVTec's, its images and what was reported for them are not."""

_PRIVATE = ("test_private", "test_private_mixed")
_ONLY_IN_AD2 = ("test_public", *_PRIVATE)
_ONLY_IN_LOCO = ("logical_anomalies", "structural_anomalies")


def is_category(folder: Path) -> bool:
    return good_folder(folder / "train") is not None


def read_category(folder: Path, name: str) -> Category:
    """Read any of the layouts; each is told by the folders that only it has."""
    test = folder / "test"
    if any((folder / split).is_dir() for split in _ONLY_IN_AD2) or (
        (folder / "validation").is_dir() and not test.is_dir()
    ):
        return _read_ad2(folder, name)
    return Category(
        name,
        "mvtec_loco" if any((test / kind).is_dir() for kind in _ONLY_IN_LOCO) else "mvtec_ad",
        train=good_samples(good_folder(folder / "train")),
        validation=good_samples(good_folder(folder / "validation")),
        test=_labelled(test, folder / TRUTH),
    )


def _read_ad2(folder: Path, name: str) -> Category:
    public = folder / "test_public"
    return Category(
        name,
        "generated" if (folder / GENERATED).is_file() else "mvtec_ad2",
        train=good_samples(good_folder(folder / "train")),
        validation=good_samples(good_folder(folder / "validation")),
        test=_labelled(public, public / TRUTH),
        private={split: _unlabelled(folder / split) for split in _PRIVATE if (folder / split).is_dir()},
    )


def _labelled(folder: Path, truth: Path) -> tuple[Sample, ...]:
    """Good images first, then those of each other folder as one kind of defect."""
    good = good_folder(folder)
    kinds = [kind for kind in list_folders(folder) if kind != good and kind.name != TRUTH]
    defects = (defect_samples(kind, [truth / kind.name]) for kind in kinds)
    return good_samples(good) + tuple(sample for samples in defects for sample in samples)


def _unlabelled(folder: Path) -> tuple[Sample, ...]:
    return tuple(
        Sample(path, None, condition=condition(path), kind="unknown") for path in given_images(folder)
    )
