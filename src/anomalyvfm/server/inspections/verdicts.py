"""A verdict as it is kept: numbers in a row, the map at the resolution of the feature grid in a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.data import InputFrame
from anomalyvfm.data.roi import Roi
from anomalyvfm.decision.reason import GoodPatch, Reason
from anomalyvfm.decision.regions import Region
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.server.store.tables import GoodPatchRow, InspectionRow

_LONGEST_SIDE = 1280
_EXHIBIT_SIDE = 240
# What is said of a map that nothing else counts in.
_NOTHING: dict[str, Any] = {"roi": None, "least": (0.0, 0), "own_thresholds": None}
_BETWEEN = (15, 19, 22)  # white would glare on a dark page


def map_content(verdict: Verdict) -> bytes:
    """The grid as an array file, without pickle; what regions count comes after it, as JSON in another."""
    stream = BytesIO()
    np.save(stream, verdict.anomaly_map.astype(np.float32), allow_pickle=False)
    counting = {
        "roi": verdict.roi and verdict.roi.describe(),
        "least": verdict.least,
        "own_thresholds": verdict.own_thresholds,
    }
    if counting != _NOTHING:
        text = np.frombuffer(json.dumps(counting).encode(), np.uint8)
        np.save(stream, text, allow_pickle=False)
    return stream.getvalue()


def picture_content(picture: NDArray[np.uint8]) -> bytes:
    """A good image (h, w, 3) as an array file: encoded, it would take longer and say the same."""
    stream = BytesIO()
    np.save(stream, picture, allow_pickle=False)
    return stream.getvalue()


def columns(verdict: Verdict) -> dict[str, Any]:
    """What a row says of a verdict."""
    described = verdict.as_dict()
    return {
        "score": described["score"],
        "p_value": described["p_value"],
        "threshold": verdict.threshold,
        "promised": verdict.promised,
        "light": verdict.light,
        "low_threshold": verdict.low_threshold,
        "high_threshold": verdict.high_threshold,
        "anomalous": verdict.anomalous,
        "regions": [_region_columns(region) for region in verdict.regions],
        "height": verdict.size[0],
        "width": verdict.size[1],
        "input_frame": asdict(verdict.frame),
        "ms": described["ms"],
    }


def restore(row: InspectionRow, content: bytes) -> Verdict:
    """The verdict of a row and its map file."""
    stream = BytesIO(content)
    anomaly_map = np.load(stream, allow_pickle=False)
    counting: dict[str, Any] = _NOTHING
    if stream.tell() < len(content):
        counting = {**_NOTHING, **json.loads(np.load(stream, allow_pickle=False).tobytes())}
    own = counting["own_thresholds"]
    return Verdict(
        score=row.score,
        p_value=row.p_value,
        anomalous=row.anomalous,
        threshold=row.threshold,
        promised=bool(row.promised),
        light=row.light,
        anomaly_map=anomaly_map,
        roi=counting["roi"] and Roi.stored(counting["roi"]),
        least=tuple(counting["least"]),
        own_thresholds=own and tuple(own),
        size=(row.height, row.width),
        frame=InputFrame(**row.input_frame),
        low_threshold=row.low_threshold,
        high_threshold=row.high_threshold,
        seconds=row.ms / 1000,
        summary=np.empty(0, np.float32),
    )


def exhibit(
    image: NDArray[np.uint8], row: InspectionRow, map_: bytes, patch: GoodPatchRow, picture: bytes
) -> bytes:
    """JPEG: a region of the image (H, W, 3), and to its right the good patch it was most like when judged."""
    from anomalyvfm.visual.panels import pair

    verdict = restore(row, map_)
    kept = row.regions[patch.region - 1]
    x0, y0, x1, y1 = kept["bbox"]
    inside = verdict.map[y0:y1, x0:x1]
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    nearest = GoodPatch(
        image=kept["nearest"]["image"],
        bbox=(patch.bbox[0], patch.bbox[1], patch.bbox[2], patch.bbox[3]),
        distance=kept["nearest"]["distance"],
        size=(patch.height, patch.width),
        picture=np.load(BytesIO(picture), allow_pickle=False),
    )
    peak_at = (x0 + int(x), y0 + int(y))
    region = Region((x0, y0, x1, y1), kept["area"], kept["peak"], peak_at, reason=Reason(nearest, ()))
    shown = pair(image, verdict, region, _EXHIBIT_SIDE)
    shown[:, _EXHIBIT_SIDE:-_EXHIBIT_SIDE] = _BETWEEN
    stream = BytesIO()
    Image.fromarray(shown).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def heat(verdict: Verdict) -> bytes:
    """PNG with alpha of the map alone, to lie over the image: clear where good pixels are."""
    from anomalyvfm.visual.overlay import colour, heat_range

    map_ = verdict.map_of(_shown(verdict)).astype(float)
    low, high = heat_range(verdict)
    share = np.clip((map_ - low) / (high - low), 0, 1)
    return _png(np.dstack([colour(share), 255 * np.sqrt(share)]).astype(np.uint8))


def outline(verdict: Verdict) -> bytes:
    """PNG with alpha of the regions' border alone."""
    from anomalyvfm.visual.overlay import outline as draw_outline

    height, width = _shown(verdict)
    mask = Image.fromarray(verdict.mask).resize((width, height), Image.Resampling.NEAREST)
    picture = np.zeros((height, width, 4), np.uint8)
    if verdict.mask.any():
        draw_outline(picture, np.asarray(mask), thickness=max(1, round(max(height, width) / 300)))
    return _png(picture)


def is_sampled(digest: str, share: float) -> bool:
    """Whether an image is among those that review sees whatever the verdict.

    It depends on the image's content alone, so the good ones among them are a fair sample of good parts:
    what recalibration needs, and what those that raised an alarm are not.
    """
    drawn = hashlib.sha256(b"sampled" + digest.encode()).digest()
    return int.from_bytes(drawn[:8], "big") < share * 2**64


def _region_columns(region: Region) -> dict[str, Any]:
    """As everywhere, and what each layer sees: a later backbone of the same name may have others."""
    reason = region.reason
    sees = None if reason is None else {str(one.layer): one.sees for one in reason.layers}
    return {**region.as_dict(), "sees": sees}


def _shown(verdict: Verdict) -> tuple[int, int]:
    scale = min(1.0, _LONGEST_SIDE / max(verdict.size))
    return max(1, round(verdict.size[0] * scale)), max(1, round(verdict.size[1] * scale))


def _png(picture: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
