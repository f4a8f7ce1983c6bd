"""Industrial cameras of any maker that speak GenICam: GigE Vision, USB3 Vision, CoaXPress.

The maker's GenTL producer does the transport; Harvesters asks it for frames.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.line.sources.camera import CameraDownError

if TYPE_CHECKING:
    from anomalyvfm.line.settings import GenicamSettings

_BAYER = {"BayerRG": "RGGB", "BayerGR": "GRBG", "BayerGB": "GBRG", "BayerBG": "BGGR"}
"""GenICam names the first two pixels, OpenCV all four."""


class Genicam:
    """A camera that sends by itself."""

    streams = True

    def __init__(self, settings: GenicamSettings) -> None:
        self._settings = settings
        self._harvester: Any = None
        self._acquirer: Any = None
        self._buffer: Any = None

    def open(self) -> None:
        from harvesters.core import Harvester

        settings = self._settings
        if not settings.producer.is_file():
            raise CameraDownError(f"{settings.producer}: no such GenTL producer")
        self._harvester = Harvester()
        try:
            self._harvester.add_file(str(settings.producer), check_validity=True)
            self._harvester.update()
            serials = [found.serial_number for found in self._harvester.device_info_list]
            if settings.serial is None and len(serials) != 1:
                raise CameraDownError(
                    f"{settings.producer.name}: sees {len(serials)} cameras"
                    f"{' (' + ', '.join(serials) + '), name one by its serial' if serials else ''}"
                )
            wanted = serials[0] if settings.serial is None else settings.serial
            if wanted not in serials:
                raise CameraDownError(f"{settings.where}: is not there, of {', '.join(serials) or 'none'}")
            self._acquirer = self._harvester.create({"serial_number": wanted})
            for feature, value in settings.features.items():
                self._set(feature, value)
            self._acquirer.start()
        except CameraDownError:
            raise
        except Exception as error:  # Harvesters and producers raise what they like
            raise CameraDownError(f"{settings.where}: {type(error).__name__}: {error}") from error

    def _set(self, feature: str, value: bool | int | float | str) -> None:
        try:
            getattr(self._acquirer.remote_device.node_map, feature).value = value
        except Exception as error:
            raise CameraDownError(
                f"{self._settings.where}: its {feature} cannot be {value} ({type(error).__name__}: {error})"
            ) from error

    def advance(self) -> None:
        """To the newest frame: older ones wait in the producer's buffers."""
        self._give_back()
        self._buffer = self._acquirer.try_fetch(timeout=self._settings.timeout)
        if self._buffer is None:
            raise CameraDownError(f"{self._settings.where}: no frame for {self._settings.timeout:g} s")
        for _ in range(self._acquirer.num_buffers):
            if (newer := self._acquirer.try_fetch(timeout=1e-4)) is None:
                break
            self._give_back()
            self._buffer = newer

    def frame(self) -> NDArray[np.uint8]:
        components = self._buffer.payload.components
        if not components:
            raise CameraDownError(f"{self._settings.where}: a frame has no picture in it")
        found = components[0]
        if found.data.size % (found.height * found.width):
            raise CameraDownError(f"{self._settings.where}: {_unknown(found.data_format)}")
        return rgb_of(found.data_format, found.data.reshape(found.height, found.width, -1))

    def close(self) -> None:
        with suppress(Exception):
            self._give_back()
        if self._acquirer is not None:
            with suppress(Exception):  # the camera may be gone
                self._acquirer.stop()
            with suppress(Exception):
                self._acquirer.destroy()
            self._acquirer = None
        if self._harvester is not None:
            with suppress(Exception):
                self._harvester.reset()
            self._harvester = None

    def _give_back(self) -> None:
        if self._buffer is not None:
            buffer, self._buffer = self._buffer, None
            buffer.queue()


def rgb_of(data_format: str, data: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, red first, of pixels (H, W, channels) in a format of GenICam's naming convention.

    Of more than 8 bits the highest 8 are kept. The result shares no memory with ``data``, which the camera
    fills again. Raises CameraDownError for formats that are not known.
    """
    import cv2

    name = data_format.rstrip("0123456789")
    bits = data_format[len(name) :]
    if not bits or data.dtype.itemsize != (
        1 if int(bits) <= 8 else 2
    ):  # packed formats have more to their name
        raise CameraDownError(_unknown(data_format))
    pixels = data.astype(np.uint8) if int(bits) <= 8 else (data >> (int(bits) - 8)).astype(np.uint8)
    if name == "Mono" and data.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    if name in ("RGB", "RGBa") and data.shape[2] == len(name):
        return np.ascontiguousarray(pixels[..., :3])
    if name in ("BGR", "BGRa") and data.shape[2] == len(name):
        return np.ascontiguousarray(pixels[..., 2::-1])
    if name in _BAYER and data.shape[2] == 1:
        return np.asarray(cv2.cvtColor(pixels, getattr(cv2, f"COLOR_Bayer{_BAYER[name]}2RGB")), np.uint8)
    raise CameraDownError(_unknown(data_format))


def _unknown(data_format: str) -> str:
    return f"its pixel format {data_format} is not read; set PixelFormat to Mono8, RGB8 or BayerRG8"
