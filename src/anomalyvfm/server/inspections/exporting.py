"""Inspections as files for other programs: CSV, Parquet, and COCO with masks."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.line.fields import FIELDS, harmless
from anomalyvfm.server.inspections.verdicts import restore
from anomalyvfm.server.store.inspections import as_dict, fields_of
from anomalyvfm.server.store.tables import InspectionRow

COLUMNS = (
    *("id", "at", "model", "version", "name", *FIELDS),
    *("score", "p_value", "threshold", "promised", "light"),
    *(
        "anomalous",
        "width",
        "height",
        "ms",
        "sha256",
        "by",
        "sampled",
        "label",
        "kind",
        "reviewed_by",
        "reviewed_at",
    ),
)

_A_TIME = 1000


def as_csv(rows: Iterator[InspectionRow]) -> Iterator[bytes]:
    """A header and a line each."""
    yield (",".join(COLUMNS) + "\r\n").encode()
    while part := list(islice(rows, _A_TIME)):
        text = io.StringIO()
        writer = csv.writer(text)
        for row in part:
            record = as_dict(row) | fields_of(row)
            writer.writerow([harmless(record[column]) for column in COLUMNS])
        yield text.getvalue().encode()


def as_parquet(rows: Iterator[InspectionRow]) -> IO[bytes]:
    """A file, at its start, that is gone when closed; rows are written in groups of a thousand."""
    import pyarrow as pa  # type: ignore[import-untyped]  # it has no type hints
    from pyarrow import parquet

    kinds = {
        **dict.fromkeys(("id", "version", "width", "height"), pa.int64()),
        **dict.fromkeys(("score", "p_value", "threshold", "light", "ms"), pa.float64()),
        **dict.fromkeys(("promised", "anomalous", "sampled"), pa.bool_()),
        **dict.fromkeys(("at", "reviewed_at"), pa.timestamp("ms", tz="UTC")),
    }
    schema = pa.schema([(column, kinds.get(column, pa.string())) for column in COLUMNS])
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the answer closes it
    with parquet.ParquetWriter(file, schema) as writer:
        while part := list(islice(rows, _A_TIME)):
            records = [
                as_dict(row)
                | fields_of(row)
                | {
                    "at": round(row.at * 1000),
                    "reviewed_at": None if row.reviewed_at is None else round(row.reviewed_at * 1000),
                }
                for row in part
            ]
            writer.write_table(
                pa.Table.from_pylist([{c: one[c] for c in COLUMNS} for one in records], schema)
            )
    file.seek(0)
    return file


def as_coco(rows: Iterator[InspectionRow], read: Callable[[str], bytes]) -> Iterator[bytes]:
    """The COCO detection format: an image for each inspection, an annotation for each region.

    Masks are uncompressed run lengths, column by column, as COCO's own tools read them.
    """
    images: list[bytes] = []
    yield b'{"info": {"description": "AnomalyVFM inspections"}, "categories": [{"id": 1, "name": "anomaly"}],'
    yield b'\n"annotations": ['
    number = 0
    for row in rows:
        image = {
            "id": row.id,
            "file_name": row.name or row.image,
            "width": row.width,
            "height": row.height,
            "sha256": row.image,
            "score": row.score,
            "anomalous": row.anomalous,
            "label": row.label,
            "kind": row.kind,
            "fields": as_dict(row)["fields"],
        }
        images.append(json.dumps(image).encode())
        if not row.anomalous:
            continue
        for annotation in _annotations(restore(row, read(row.map))):
            number += 1
            record = {"id": number, "image_id": row.id, "category_id": 1, "iscrowd": 0, **annotation}
            yield (b"," if number > 1 else b"") + b"\n" + json.dumps(record).encode()
    yield b'\n],\n"images": [\n' + b",\n".join(images) + b"\n]}\n"


def _annotations(verdict: Verdict) -> Iterator[dict[str, Any]]:
    from scipy import ndimage

    labels, _ = ndimage.label(verdict.mask, structure=np.ones((3, 3)))
    for region in verdict.regions:
        x0, y0, x1, y1 = region.bbox
        # Boxes of two regions may overlap: the region is the label that has its area and touches all sides.
        inside = labels[y0:y1, x0:x1]
        sizes = np.bincount(inside.ravel())
        fitting = [n for n in range(1, len(sizes)) if sizes[n] == region.area]
        touching = [n for n in fitting if _touches_all(inside == n)]
        mask = np.zeros(verdict.size, np.bool_)
        mask[y0:y1, x0:x1] = inside == (touching or fitting)[0]
        yield {
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": region.area,
            "score": region.peak,
            "segmentation": {"size": list(verdict.size), "counts": run_lengths(mask)},
        }


def _touches_all(mask: NDArray[np.bool_]) -> bool:
    return bool(mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any())


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of false, true, false, … of a mask (H, W), column by column."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [flat.size]]))
    return ([0] if flat[0] else []) + [int(length) for length in lengths]
