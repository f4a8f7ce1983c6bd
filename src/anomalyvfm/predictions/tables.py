"""Predictions for other programs, made of ``predictions.jsonl``: a CSV table, and COCO annotations.

COCO: https://cocodataset.org/#format-data, with each region's mask as uncompressed run lengths.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.predictions.writing import PREDICTIONS

_COLUMNS = (
    "path",
    "score",
    "p_value",
    "anomalous",
    "promised",
    "light",
    "odd_light",
    "regions",
    "area",
    "ms",
    "map",
    "mask",
    "error",
)


def write_csv(out: Path) -> None:
    """Write ``predictions.csv``: a row an image, with its number of regions and their area in pixels."""
    partial = out / ".predictions.csv.partial"
    with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        table = csv.DictWriter(stream, _COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        for line in _lines(out):
            regions = line.get("regions")
            if regions is not None:
                line = {**line, "regions": len(regions), "area": sum(region["area"] for region in regions)}
            table.writerow(line)
    partial.replace(out / "predictions.csv")


def write_coco(out: Path) -> None:
    """Write ``coco.json``: each image, and an annotation of the one category ``anomaly`` for each region.

    The masks of the images must be in ``masks/``. Images that could not be read are left out.
    """
    partial = out / ".coco.json.partial"
    with partial.open("w", encoding="utf-8") as stream:
        stream.write('{"categories": [{"id": 1, "name": "anomaly"}],\n"images": [')
        _write_all(stream, _images(out))
        stream.write('],\n"annotations": [')
        _write_all(stream, _annotations(out))
        stream.write("]}\n")
    partial.replace(out / "coco.json")


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of equal pixels of (H, W), column by column, that of false pixels first."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    lengths: list[int] = np.diff([0, *changes, len(flat) - 1]).tolist()
    return lengths


def _lines(out: Path) -> Iterator[dict[str, Any]]:
    with (out / PREDICTIONS).open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def _judged(out: Path) -> Iterator[tuple[int, dict[str, Any], NDArray[np.bool_]]]:
    """Number, line and mask of each image that has one."""
    for number, line in enumerate(_lines(out), start=1):
        if "error" not in line:
            with Image.open(out / line["mask"]) as mask:
                yield number, line, np.asarray(mask) > 0


def _images(out: Path) -> Iterator[dict[str, Any]]:
    for number, line, mask in _judged(out):
        height, width = mask.shape
        yield {"id": number, "file_name": line["path"], "width": width, "height": height}


def _annotations(out: Path) -> Iterator[dict[str, Any]]:
    from scipy import ndimage

    count = 0
    for number, line, mask in _judged(out):
        labels, _ = ndimage.label(mask, np.ones((3, 3)))
        for region in line["regions"]:
            count += 1
            x0, y0, x1, y1 = region["bbox"]
            yield {
                "id": count,
                "image_id": number,
                "category_id": 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": region["area"],
                "iscrowd": 0,
                "score": line["score"],
                "segmentation": {
                    "size": list(mask.shape),
                    "counts": run_lengths(labels == _label_in(labels, (x0, y0, x1, y1), region["area"])),
                },
            }


def _label_in(labels: NDArray[np.int32], box: tuple[int, int, int, int], area: int) -> int:
    """The label of the part with that box and area: parts inside one another have other areas."""
    x0, y0, x1, y1 = box
    counts = np.bincount(labels[y0:y1, x0:x1].ravel())
    return 1 + int(np.abs(counts[1:] - area).argmin())


def _write_all(stream: Any, entries: Iterator[dict[str, Any]]) -> None:
    for number, entry in enumerate(entries):
        stream.write((",\n" if number else "\n") + json.dumps(entry))
