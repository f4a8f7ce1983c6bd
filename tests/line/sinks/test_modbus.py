"""A coil over Modbus TCP, of a real server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anomalyvfm.line.delivery import Delivery
from anomalyvfm.line.ledger import Ledger
from anomalyvfm.line.messages import Message
from anomalyvfm.line.settings import LineSettings, ModbusSettings
from anomalyvfm.line.sinks.modbus import ModbusCoil
from anomalyvfm.line.sinks.opening import open_deliveries
from anomalyvfm.line.sinks.sink import SinkDownError
from anomalyvfm.line.states import States
from tests.line.parts import fill, part
from tests.line.sinks.mosquitto import free_port

pytest.importorskip("pymodbus")

MESSAGE = Message(1, "part-1", "anomalous", "{}", None)


class Plc:
    """Coils 0 to 15 at a port of its own, and each change of coil 7."""

    def __init__(self) -> None:
        self.port = free_port()
        self.changes: list[tuple[float, bool]] = []
        self._ready = threading.Event()
        self.start()

    def start(self) -> None:
        self._ready.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        from pymodbus.server import ModbusTcpServer
        from pymodbus.simulator import DataType, SimData, SimDevice

        coils = SimData(0, values=[False] * 16, datatype=DataType.BITS)
        self._server: Any = ModbusTcpServer(
            SimDevice(1, simdata=([coils], [coils], [SimData(0)], [SimData(0)])),
            address=("127.0.0.1", self.port),
            trace_pdu=self._note,
        )
        self._loop = asyncio.get_running_loop()
        await self._server.serve_forever(background=True)
        self._ready.set()
        self._end = asyncio.Event()
        await self._end.wait()
        await self._server.shutdown()

    def _note(self, sending: bool, pdu: Any) -> Any:
        if not sending and pdu.function_code == 5 and pdu.address == 7:
            self.changes.append((time.monotonic(), bool(pdu.bits[0])))
        return pdu

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()


@pytest.fixture
def plc() -> Iterator[Plc]:
    plc = Plc()
    yield plc
    plc.stop()


def settings(port: int, **others: Any) -> dict[str, Any]:
    return {"kind": "modbus", "host": "127.0.0.1", "port": port, "coil": 7, "pulse": 0.05, **others}


def coil(port: int, **others: Any) -> ModbusCoil:
    return ModbusCoil(ModbusSettings.model_validate(settings(port, **others)))


def test_each_part_to_be_thrown_out_is_a_pulse(plc: Plc) -> None:
    sink = coil(plc.port)
    assert list(sink.send([MESSAGE, MESSAGE])) == [None, None]
    sink.close()
    assert [on for _, on in plc.changes] == [False, True, False, True, False]  # off first, when it connects
    lengths = [plc.changes[i + 1][0] - plc.changes[i][0] for i in (1, 3)]
    assert all(0.04 < length < 0.5 for length in lengths)


def test_without_a_pulse_the_coil_is_the_plcs_to_turn_off(plc: Plc) -> None:
    sink = coil(plc.port, pulse=0)
    sink.beat()
    assert list(sink.send([MESSAGE])) == [None]
    sink.close()
    assert [on for _, on in plc.changes] == [True]


def test_only_what_is_not_good_and_not_gone_by_moves_the_coil(plc: Plc, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    line = LineSettings({"sinks": {"reject": settings(plc.port)}}, "")
    (delivery,) = open_deliveries(line, ledger, States())
    ledger.add(part(ledger, outcome="anomalous", arrived=time.monotonic() - 2))  # has gone by
    fill(ledger, 1, "good")
    fill(ledger, 1, "anomalous")
    fill(ledger, 1, "refused")
    delivery.start()
    delivery.end(5)
    delivery.join()
    assert [on for _, on in plc.changes] == [False, True, False, True, False]
    said = delivery.describe()
    assert (said["delivered"], said["too_late"], said["waiting"]) == (2, 1, 0)


def test_a_plc_that_is_away_is_down_and_found_again(plc: Plc) -> None:
    with pytest.raises(SinkDownError, match="no connection"):
        coil(free_port(), timeout=0.5).beat()
    sink = coil(plc.port, timeout=0.5)
    sink.beat()
    plc.stop()
    with pytest.raises(SinkDownError, match="coil 7"):
        list(sink.send([MESSAGE]))
        list(sink.send([MESSAGE]))
    plc.start()
    assert list(sink.send([MESSAGE])) == [None]
    assert [on for _, on in plc.changes][-3:] == [False, True, False]


def test_a_coil_that_is_not_there_is_said(plc: Plc) -> None:
    with pytest.raises(SinkDownError, match="the PLC refuses"):
        list(coil(plc.port, coil=999, pulse=0).send([MESSAGE]))


def test_a_delivery_of_a_pulse_waits_for_its_end(plc: Plc, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    delivery = Delivery("reject", coil(plc.port), ledger, States(), max_age=5)
    fill(ledger, 1, "anomalous")
    delivery.start()
    delivery.end(5)
    delivery.join()
    assert [on for _, on in plc.changes][-1] is False
