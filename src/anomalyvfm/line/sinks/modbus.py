"""A coil of a PLC, over Modbus TCP, that is on while a part is to be thrown out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from anomalyvfm.line.messages import Message
from anomalyvfm.line.sinks.sink import Refusal, SinkDownError

if TYPE_CHECKING:
    from anomalyvfm.line.settings import ModbusSettings


class ModbusCoil:
    """Turns a coil on for every message, and off again after the pulse, or leaves that to the PLC."""

    def __init__(self, settings: ModbusSettings) -> None:
        from pymodbus.client import ModbusTcpClient

        # It logs each attempt that fails; the state says so once.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self._settings = settings
        self._client = ModbusTcpClient(
            settings.host, port=settings.port, timeout=settings.timeout, retries=0, reconnect_delay=0
        )

    def send(self, messages: Sequence[Message]) -> Iterator[Refusal | None]:
        for _ in messages:
            self._write(True)
            yield None
            if self._settings.pulse:
                time.sleep(self._settings.pulse)
                self._write(False)

    def beat(self) -> None:
        self._connect()

    def close(self) -> None:
        self._client.close()

    def _connect(self) -> None:
        if self._client.connected:
            return
        if not self._client.connect():
            raise SinkDownError(f"{self._settings.where}: no connection")
        if self._settings.pulse:
            self._write(False)  # as a connection that broke within a pulse may have left it on

    def _write(self, on: bool) -> None:
        from pymodbus.exceptions import ModbusException

        self._connect()
        try:
            answer = self._client.write_coil(self._settings.coil, on, device_id=self._settings.unit)
        except (ModbusException, OSError) as error:
            self._client.close()
            raise SinkDownError(f"{self._settings.where}: {error}") from error
        if answer.isError():
            raise SinkDownError(f"{self._settings.where}: the PLC refuses ({answer})")
