"""What every camera is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Picture: TypeAlias = bytes | NDArray[np.uint8]
"""An image file's content, or pixels (H, W, 3)."""


class CameraDownError(Exception):
    """The camera is not there or gives nothing; one line says why."""


class RecordingEnded(Exception):
    """There is nothing more to see, and nothing is wrong."""


class Camera(Protocol):
    """Used by one thread. Each method may raise CameraDownError; it is then closed, and opened anew."""

    streams: bool
    """Whether frames come by themselves, each to be waited for with `advance`; else `frame` asks for one."""

    def open(self) -> None: ...

    def advance(self) -> None:
        """Wait for the next frame of a stream, so that `frame` is never one of long ago."""

    def frame(self) -> Picture: ...

    def close(self) -> None:
        """Also where it is not open."""


@dataclass(frozen=True)
class Frame:
    """A frame that shows a part."""

    picture: Picture
    taken: float
    """By the monotonic clock."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What was said of the part when the frame was asked for."""
