"""Which images can be read, asked of a process whose end costs nothing but the image it is at.

A file that brings a decoder down takes the whole process with it. Where a worker has gone more than once over
the same images, they are first read one by one in a process of their own.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

from anomalyvfm.data.pixels import ImageError
from anomalyvfm.data.sources import ImageSource, ReadingSettings, Unreadable, describe, read_source

_SECONDS = 120.0
"""As long as an image may take to be read."""


def unreadable_left_out(images: Sequence[ImageSource], settings: ReadingSettings) -> list[ImageSource]:
    """The same images, with what says why in the place of each whose reading ends a process or never ends."""
    found = list(images)
    first = 0
    while first < len(found):
        ended = _reads_until(found[first:], settings)
        if ended is None:
            break
        first += ended
        found[first] = Unreadable(
            f"{describe(found[first])}: reading it brings the process down; look at the file, or leave it out"
        )
        first += 1
    return found


def _reads_until(images: Sequence[ImageSource], settings: ReadingSettings) -> int | None:
    """How many of the images a process has read when it ended before its time; None where it has read all."""
    # Neither forked, as threads may hold locks, nor with what the parent has loaded.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_read_all, args=(images, settings, theirs), daemon=True)
    process.start()
    theirs.close()
    read = 0
    with suppress(EOFError):
        while read < len(images) and ours.poll(_SECONDS):
            read = ours.recv()
    if read < len(images):
        process.kill()
    process.join()
    ours.close()
    return None if read == len(images) else read


def _read_all(images: Sequence[ImageSource], settings: ReadingSettings, done: Connection) -> None:
    for number, image in enumerate(images, start=1):
        with suppress(ImageError):
            read_source(image, settings)
        done.send(number)
