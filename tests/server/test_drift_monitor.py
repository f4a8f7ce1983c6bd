"""The drift alarm: what it is by, and that it is still on after a restart."""

from __future__ import annotations

import pytest

from anomalyvfm.decision.drift import DriftTest
from anomalyvfm.server.station import Station
from tests.server.conftest import Open
from tests.server.fake_detector import FakeDetector, picture


def gauge(station: Station) -> str:
    lines = station.metrics.text().decode().splitlines()
    return next(line.rsplit(" ", 1)[1] for line in lines if line.startswith("anomalyvfm_drift_alarm{"))


def drift(station: Station) -> None:
    for number in range(60):
        station.submit(picture(118, number), None, "", "me").result(10)


def test_the_alarm_is_on_after_a_restart_until_it_is_reset(open_station: Open) -> None:
    station = open_station(images_between_drift_alarms=50)
    drift(station)
    assert gauge(station) == "1.0"
    station.close()

    station = open_station(models=[], images_between_drift_alarms=50)

    assert gauge(station) == "1.0"
    station.reset_drift("part", False, "eve")
    assert gauge(station) == "0.0"


def test_a_new_calibration_begins_the_test_anew_and_ends_the_alarm(open_station: Open) -> None:
    station = open_station(images_between_drift_alarms=50)
    drift(station)
    station.learning.set_rate("part", 0.2, "eve", "", expected=1)
    station.submit(picture(100), None, "", "me").result(10)
    assert gauge(station) == "0.0"


def test_the_test_is_the_detectors_own(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    def among_themselves(self: FakeDetector, images: float) -> DriftTest:
        calibration = self.calibration_
        return DriftTest(calibration.scores, calibration.threshold, images, among_themselves=True)

    monkeypatch.setattr(FakeDetector, "drift_test", among_themselves)
    station.submit(picture(100), None, "", "me").result(10)
    with station.reading() as session:
        from anomalyvfm.server.store.tables import DriftRow

        row = session.get(DriftRow, "part")
        assert row is not None and sum(row.state["ranks"]["first"]) == 0
