"""Images whose reading ends a process cost themselves alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from anomalyvfm.cluster.careful import unreadable_left_out
from anomalyvfm.data import ImageError, read_source
from anomalyvfm.data.sources import Unreadable
from anomalyvfm.presets import ImageSettings


class Deadly:
    """A file whose reading ends any process but the one it is made in, as a decoder does that crashes."""

    def __init__(self) -> None:
        self._safe = os.getpid()

    def seekable(self) -> bool:
        return False

    def read(self) -> bytes:
        if os.getpid() != self._safe:
            os._exit(9)
        return b"no image"


def test_those_that_end_the_process_are_named_and_all_others_stay(tmp_path: Path) -> None:
    good, broken = tmp_path / "good.png", tmp_path / "broken.png"
    Image.new("RGB", (64, 64)).save(good)
    broken.write_bytes(b"no image")
    given = [good, Deadly(), broken, good, Deadly()]
    found = unreadable_left_out(given, ImageSettings())
    assert [type(one) for one in found] == [type(good), Unreadable, type(good), type(good), Unreadable]
    assert found[2] == broken  # what is broken in the usual way is told when it is read
    with pytest.raises(ImageError, match="an image of Deadly: reading it brings the process down"):
        read_source(found[1], ImageSettings())
    assert unreadable_left_out([good], ImageSettings()) == [good]
