"""A decoding process: images come in on stdin, pixels go out on stdout, nothing else is touched.

A request is a line of JSON ``{"size", "op", "max_pixels", …}`` and ``size`` bytes of an image file; an answer
is a line ``{"parts": [bytes, …], …}`` and those bytes, or ``{"status", "error"}``.
"""

from __future__ import annotations

import json
import resource
import sys
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.data import ImageError, read_image, read_size

THUMBNAIL_SIDE = 320
PREVIEW_SIDE = 1280


def main() -> None:
    """Answer until stdin ends. The one argument is the address space allowed, in bytes."""
    allowed = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["size"])
        try:
            head, parts = _answer(request, content)
        except MemoryError:
            head, parts = {"status": 413, "error": "image data: needs more memory than is allowed"}, []
        except ImageError as error:
            head, parts = _refusal(content, request["max_pixels"], error), []
        answers.write(json.dumps({**head, "parts": [len(part) for part in parts]}).encode() + b"\n")
        for part in parts:
            answers.write(part)
        answers.flush()


def _answer(request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], list[bytes]]:
    image = read_image(content, max_pixels=request["max_pixels"], white_level=request["white_level"])
    shape: dict[str, Any] = {"height": image.shape[0], "width": image.shape[1]}
    if request["op"] == "pixels":
        if (barcodes := request["barcodes"]) is not None:
            from anomalyvfm.line.barcodes import read_codes

            shape["codes"] = read_codes(image, **barcodes)
        return shape, [image.tobytes(), _jpeg(image, THUMBNAIL_SIDE, 80)]
    return shape, [_jpeg(image, request["side"], 85)]


def _jpeg(image: NDArray[np.uint8], side: int, quality: int) -> bytes:
    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _refusal(content: bytes, max_pixels: int, error: ImageError) -> dict[str, Any]:
    """Status and words of an image that cannot be used; a command would name another option for its limit."""
    try:
        height, width = read_size(content, max_pixels=1 << 62)
    except ImageError:
        return {"status": 422, "error": str(error)}
    if height * width <= max_pixels:
        return {"status": 422, "error": str(error)}
    limit = f"{width}×{height} pixels is over the limit of {max_pixels}"
    return {"status": 413, "error": f"image data: {limit}; shrink it, or start the station with --max-pixels"}


if __name__ == "__main__":
    main()
