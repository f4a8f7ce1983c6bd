"""OpenTelemetry: a span for each request, and each image of a source. Needs the extra ``otel``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from anomalyvfm.errors import InputError
from anomalyvfm.server.sources.intake import SourceImage
from anomalyvfm.server.station import Station
from anomalyvfm.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

_SECONDS = 2  # that a collector which is away may keep a station from ending
# Asked by machines every few seconds, or open for hours.
_NOT_TRACED = "/health,/ready,/metrics,/static/.*,/api/events"


def check() -> None:
    """Raise InputError where what traces need is not installed."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.instrumentation.fastapi") is None:
        raise InputError("--otlp needs OpenTelemetry; pip install 'anomalyvfm[otel]'")


def trace(
    app: FastAPI, station: Station, url: str, exporter: SpanExporter | None = None
) -> Callable[[], None]:
    """Send spans to the collector at ``url``, or to an exporter; what ends that.

    They are of each request, and of each image that a source brings, from the frame at hand to what is kept
    of it, with the fields of the part. A collector that does not answer costs neither: spans wait in a queue,
    and are dropped when it is full.
    """
    check()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": "anomalyvfm", "service.version": __version__})
    provider = TracerProvider(resource=resource)
    sent_to = exporter or OTLPSpanExporter(endpoint=f"{url.rstrip('/')}/v1/traces", timeout=_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(sent_to))
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, excluded_urls=_NOT_TRACED)
    tracer = provider.get_tracer("anomalyvfm", __version__)

    def of_image(image: SourceImage) -> AbstractContextManager[Any]:
        of_part = {f"anomalyvfm.{name}": value for name, value in image.told.items()}
        about = {"anomalyvfm.image": image.name, **of_part}
        return tracer.start_as_current_span(f"source {image.source.name}", attributes=about)

    station.sources.trace(of_image)
    return provider.shutdown
