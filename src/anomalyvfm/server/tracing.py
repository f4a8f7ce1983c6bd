"""OpenTelemetry: a span for each request, sent to a collector. Needs the extra ``otel``."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fastapi import FastAPI

from anomalyvfm.errors import InputError
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


def trace(app: FastAPI, url: str, exporter: SpanExporter | None = None) -> Callable[[], None]:
    """Send a span of each request to the collector at ``url``, or to an exporter; what ends that.

    A collector that does not answer costs no request: spans wait in a queue, and are dropped when it is full.
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
    return provider.shutdown
