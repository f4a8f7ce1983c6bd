"""What Prometheus reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """One registry a station, so that several can live in a process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.inspections = Counter(
            "anomalyvfm_inspections", "Images judged and kept", ["model", "verdict"], registry=registry
        )
        self.refused = Counter(
            "anomalyvfm_refused", "Images refused, by status", ["status"], registry=registry
        )
        self.source_images = Counter(
            "anomalyvfm_source_images",
            "Images of the station's own sources: judged, refused, failed, or dropped for want of room",
            ["source", "outcome"],
            registry=registry,
        )
        self.reviews = Counter("anomalyvfm_reviews", "Reviews", ["label"], registry=registry)
        self.versions = Counter(
            "anomalyvfm_versions", "New versions of models", ["model", "action"], registry=registry
        )
        self.waiting = Gauge("anomalyvfm_waiting", "Images accepted and not yet judged", registry=registry)
        self.drift = Gauge(
            "anomalyvfm_drift_alarm", "1 while drift is reported", ["model"], registry=registry
        )
        self.answered = Histogram(
            "anomalyvfm_judging_seconds",
            "From an image's acceptance to its being kept",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batches = Histogram(
            "anomalyvfm_batch_images",
            "Images judged together",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.learning = Histogram(
            "anomalyvfm_learning_seconds",
            "From a review to the model that learned from it",
            buckets=_SECONDS,
            registry=registry,
        )

    def text(self) -> bytes:
        return generate_latest(self._registry)
