"""The OpenAPI document is true: whatever it allows is answered as it says, and never by an error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from anomalyvfm.server.app import create_app, create_gate
from anomalyvfm.server.settings import Limits, Settings
from anomalyvfm.server.station import Station
from tests.server.fake_detector import FakeDetector, picture

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Of a station with some parts, a review and a job, so that numbers drawn at random meet some."""
    folder = tmp_path_factory.mktemp("openapi")
    FakeDetector().save(folder / "part")
    asked = Settings(folder / "station", decoders=1, limits=Limits(decode_seconds=20))
    station = Station(asked, [folder / "part"], FakeDetector.load)
    for number in range(3):
        part = station.submit(picture(100 + 40 * number, number), None, f"{number}.png", "me").result(20)
    station.learning.review(part["id"], "good", "ann")
    station.jobs.accept([("a.png", picture(100))], None, "me")
    app = create_app(station, create_gate(station.settings), hosts=["testserver", "localhost"])
    yield schemathesis.openapi.from_asgi("/api/openapi.json", app).exclude(path="/api/events")  # never ends
    station.close()


def test_every_operation_answers_as_the_document_says(document: Any) -> None:
    tried, false = 0, []
    for result in document.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=12,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy())
        def answers(case: Any) -> None:
            found = case.path_parameters or {}
            # Drawn at random they would meet nothing.
            if "name" in found:
                found["name"] = "part"
            if "number" in found:
                found["number"] = 1 + found["number"] % 4
            case.call_and_validate(checks=CHECKS)

        tried += 1
        try:
            answers()
        except FailureGroup as failures:
            false += [f"{operation.label}: {failure}" for failure in failures.exceptions]
    assert tried > 30
    assert not false, "\n\n".join(false)
