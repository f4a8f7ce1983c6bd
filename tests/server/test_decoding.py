"""Hostile files meet the decoding processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest

from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.settings import Limits
from tests.server.fake_detector import bomb, picture, png


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1, Limits(pixels=4_000_000, image_bytes=2_000_000))
    yield pool
    pool.close()


def test_pixels_come_through_as_they_are(decoders: Decoders) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    decoded = decoders.pixels(png(image))
    assert np.array_equal(decoded.pixels, image)
    assert decoded.thumbnail.startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"<svg/>", 415),
        (b"GIF89a" + b"\0" * 100, 415),
        (b"%PDF-1.7\n" + picture(100), 415),
        (picture(100)[:70], 422),
        (b"\xff\xd8\xff" + b"\0" * 500, 422),
        (b"\x89PNG\r\n\x1a\n", 422),
        (b"II*\0" + b"\xff" * 200, 422),
        (bomb(30_000, 30_000), 413),
        (b"BM" + b"\0" * 2_000_000, 413),
        (picture(100, side=4), 422),
    ],
)
def test_what_is_no_image_or_too_large_a_one_is_refused(
    decoders: Decoders, content: bytes, status: int
) -> None:
    with pytest.raises(Problem) as caught:
        decoders.pixels(content)
    assert caught.value.status == status
    assert "\n" not in caught.value.detail
    assert decoders.pixels(picture(100)).pixels.shape == (32, 32, 3), "the next one is decoded all the same"


def test_a_polyglot_is_shown_as_a_new_picture_only(decoders: Decoders) -> None:
    polyglot = picture(100) + b"<script>alert(1)</script>"
    assert b"script" not in decoders.picture(polyglot)
    assert b"script" not in decoders.pixels(polyglot).thumbnail


def test_a_crash_costs_one_image(decoders: Decoders) -> None:
    decoders.pixels(picture(100))
    (worker,) = decoders._workers
    process = worker._running()
    os.kill(process.pid, signal.SIGSTOP)  # so that it dies with the image in hand
    import threading

    threading.Timer(0.2, lambda: os.kill(process.pid, signal.SIGKILL)).start()
    with pytest.raises(Problem, match="crashed"):
        decoders.pixels(picture(100))
    assert decoders.pixels(picture(100)).pixels.shape == (32, 32, 3)


def test_a_decoder_that_hangs_is_killed_in_time() -> None:
    pool = Decoders(1, Limits(decode_seconds=5))
    try:
        pool.pixels(picture(100))
        (worker,) = pool._workers
        os.kill(worker._running().pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(Problem, match="took over"):
            worker_limits = Limits(decode_seconds=0.3)
            pool._limits = worker_limits
            pool.pixels(picture(100))
        assert time.monotonic() - started < 3
    finally:
        pool.close()


def test_memory_of_a_decoder_is_bounded() -> None:
    pool = Decoders(1, Limits(pixels=400_000_000, decode_bytes=500 << 20, image_bytes=50_000_000))
    try:
        with pytest.raises(Problem) as caught:
            pool.pixels(bomb(16_000, 16_000))
        assert caught.value.status in (413, 422)
    finally:
        pool.close()
