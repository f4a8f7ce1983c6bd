"""Spans of requests, as a collector gets them."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from anomalyvfm.errors import InputError
from anomalyvfm.line.settings import LineSettings
from anomalyvfm.server import tracing
from anomalyvfm.server.app import create_app, create_gate
from anomalyvfm.server.station import Station
from tests.line.sources.http_camera import http_camera
from tests.server.conftest import Open
from tests.server.fake_detector import picture
from tests.waiting import until

export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")


def test_each_request_is_a_span_that_goes_on_from_the_clients(station: Station) -> None:
    app = create_app(station, create_gate(station.settings))
    collected = export.InMemorySpanExporter()
    end = tracing.trace(app, station, "", collected)
    client = TestClient(app, base_url="http://localhost")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert client.post("/api/judge", content=picture(100), headers={"traceparent": parent}).status_code == 200
    assert client.get("/api/inspections/1").status_code == 200
    assert client.get("/ready").status_code == 200
    assert client.get("/api/models/none").status_code == 404
    end()
    spans = [one for one in collected.get_finished_spans() if one.parent is None or one.parent.is_remote]
    assert [one.name for one in spans] == [
        "POST /api/judge",
        "GET /api/inspections/{number}",
        "GET /api/models/{name}",
    ]
    assert f"{spans[0].context.trace_id:032x}" == parent.split("-")[1]
    assert spans[0].resource.attributes["service.name"] == "anomalyvfm"


def test_each_image_of_a_source_is_a_span(open_station: Open) -> None:
    pytest.importorskip("httpx")
    with http_camera(picture(100)) as (_, url):
        top = {"kind": "snapshot", "url": f"{url}/now", "trigger": "message"}
        tables = {"gate": {"min-contrast": 0, "max-torn": 0}, "sources": {"top": top}}
        station = open_station(line=LineSettings(tables, ""))
        collected = export.InMemorySpanExporter()
        end = tracing.trace(create_app(station, create_gate(station.settings)), station, "", collected)
        until(lambda: "source top" in station.states.all())
        station.sources.ask("top", {"serial": "A-1"})
        until(lambda: station.sources.describe()[0]["judged"] == 1)
        until(lambda: not station.batcher.is_busy)  # and its span is over
        end()
    (span,) = collected.get_finished_spans()
    assert span.name == "source top"
    assert span.attributes["anomalyvfm.serial"] == "A-1"


def test_a_collector_that_is_away_costs_no_request(station: Station) -> None:
    app = create_app(station, create_gate(station.settings))
    end = tracing.trace(app, station, "http://127.0.0.1:9")
    assert TestClient(app, base_url="http://localhost").get("/api/models").status_code == 200
    end()


def test_without_the_extra_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'anomalyvfm\[otel\]'"):
        tracing.check()
