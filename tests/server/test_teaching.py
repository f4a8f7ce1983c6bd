"""What a confirmed defect teaches, and that taking it back leaves nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from anomalyvfm.server.problems import Problem
from anomalyvfm.server.station import Station
from tests.server.conftest import Open, client_of
from tests.server.fake_detector import FakeDetector, known_defects, learned, picture

SQUARE = [[(4.0, 4.0), (11.0, 4.0), (11.0, 13.0), (4.0, 13.0)]]
"""80 pixels of a picture."""


@pytest.fixture
def station(open_station: Open, tmp_path: Path) -> Station:
    """With a model that learns from defects, too."""
    FakeDetector(defects={}).save(tmp_path / "teachable" / "part")
    return open_station(models=[tmp_path / "teachable" / "part"])


def judged(station: Station, brightness: int, seed: int = 0) -> dict[str, Any]:
    return station.submit(picture(brightness, seed), None, f"{seed}.png", "me").result(20)


def detector_of(station: Station) -> Any:
    return station.registry.get("part").active.detector


def known(station: Station) -> list[tuple[str, int]]:
    return sorted((known_defects(detector_of(station)) or {}).values())


def newest(station: Station) -> dict[str, Any]:
    return station.models.versions("part")[0]


def test_a_defect_is_confirmed_and_undo_takes_it_back_exactly(station: Station) -> None:
    missed = judged(station, 98, 3)
    assert not missed["anomalous"]
    before = detector_of(station).describe()

    said = station.learning.review(missed["id"], "defect", "ann")

    assert said.learning == {
        "action": "confirmed",
        "version": 2,
        "message": f"the model looks for more like part {missed['id']}",
    }
    assert known(station) == [(f"part {missed['id']}, 3.png", -1)]
    assert newest(station)["action"] == "confirm"
    assert said.review is not None
    undone = station.learning.undo(said.review["id"], "bob")
    assert undone.learning["action"] == "taken_back" and undone.learning["version"] == 3
    assert detector_of(station).describe() == before
    assert newest(station)["action"] == "take_back"


def test_an_outline_tells_where_it_is_and_can_be_drawn_later(station: Station) -> None:
    part = judged(station, 98)["id"]
    first = station.learning.review(part, "defect", "ann")
    assert [count for _, count in known(station)] == [-1]
    drawn = station.learning.review(part, "defect", "ann", outline=SQUARE)
    assert drawn.learning["action"] == "confirmed" and drawn.learning["version"] == 3
    assert [count for _, count in known(station)] == [80]
    again = station.learning.review(part, "defect", "bob", outline=SQUARE)
    assert again.learning["action"] == "none", "the model knows it"
    assert first.review and drawn.review and again.review
    station.learning.undo(again.review["id"], "bob")
    assert [count for _, count in known(station)] == [80]
    assert station.learning.undo(drawn.review["id"], "ann").learning["action"] == "confirmed"
    assert [count for _, count in known(station)] == [-1], "as before it was drawn"
    station.learning.undo(first.review["id"], "ann")
    assert known(station) == []


def test_a_learned_part_that_has_a_defect_is_forgotten_and_confirmed_at_once(station: Station) -> None:
    part = judged(station, 180)["id"]
    station.learning.review(part, "good", "ann")
    assert learned(detector_of(station)).total() == 2
    said = station.learning.review(part, "defect", "ann")
    assert said.learning["action"] == "confirmed" and said.learning["version"] == 3
    assert learned(detector_of(station)).total() == 1 and len(known(station)) == 1
    again = station.learning.review(part, "good", "ann")
    assert again.learning["action"] == "taken_back"
    assert learned(detector_of(station)).total() == 2 and known(station) == []


def test_a_part_no_longer_called_a_defect_is_not_looked_for(station: Station) -> None:
    missed, alarm = judged(station, 98)["id"], judged(station, 180)["id"]
    for part in (missed, alarm):
        station.learning.review(part, "defect", "ann")
    assert len(known(station)) == 2
    assert station.learning.review(missed, "unsure", "ann").learning["action"] == "taken_back"
    assert learned(detector_of(station)).total() == 1
    station.learning.review(alarm, "good", "ann")
    assert known(station) == [] and learned(detector_of(station)).total() == 2, "a false alarm is learned"


def test_of_parts_with_the_same_image_what_was_said_last_decides(station: Station) -> None:
    first, second = judged(station, 98)["id"], judged(station, 98)["id"]
    ann = station.learning.review(first, "defect", "ann").review
    bob = station.learning.review(second, "defect", "bob").review
    assert ann and bob and len(known(station)) == 1
    station.learning.undo(ann["id"], "ann")
    assert len(known(station)) == 1, "bob still says that it is one"
    station.learning.undo(bob["id"], "bob")
    assert known(station) == []


def test_versions_are_made_again_from_their_parents(open_station: Open, station: Station) -> None:
    """Copies of all but the first are lost; each version follows from what it changed."""
    part, other = judged(station, 180, 1)["id"], judged(station, 98, 2)["id"]
    station.learning.review(part, "good", "ann")
    station.learning.review(part, "defect", "ann")
    station.learning.review(other, "defect", "ann", outline=SQUARE)
    station.learning.review(part, "good", "ann")
    expected = detector_of(station).describe()
    station.version_folders.settle()
    station.close()
    for folder in (station.settings.data / "models" / "part").glob("*"):
        fake: Any = FakeDetector.load(folder)
        if fake.describe() != FakeDetector(defects={}).describe():
            shutil.rmtree(folder)
    again = open_station(models=[])
    assert detector_of(again).describe() == expected
    assert known(again) == [(f"part {other}, 2.png", 80)]


def test_one_goes_back_and_forth_between_versions(station: Station) -> None:
    part = judged(station, 98)["id"]
    station.learning.review(part, "defect", "ann")
    station.registry.activate("part", 1, expected=2, by="bob", why="compare")
    assert known(station) == []
    said = station.learning.review(part, "defect", "ann")
    assert said.learning["action"] == "confirmed", "this line of versions does not know it"
    assert newest(station)["parent"] == 1


def test_no_more_than_a_hundred_are_known(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomalyvfm.server.teaching._MOST_DEFECTS", 2)
    for seed in range(3):
        said = station.learning.review(judged(station, 98, seed)["id"], "defect", "ann")
    assert said.learning["action"] == "none" and "has learned 2 defects" in said.learning["message"]
    assert len(known(station)) == 2
    assert said.inspection["label"] == "defect"
    alarm = judged(station, 180)["id"]
    station.learning.review(alarm, "good", "ann")
    said = station.learning.review(alarm, "defect", "ann")
    assert said.learning["action"] == "forgotten" and learned(detector_of(station)).total() == 1


def test_outlines_come_by_the_interface_and_what_is_wrong_with_them_is_said(station: Station) -> None:
    client = client_of(station)
    path = f"/api/inspections/{judged(station, 98)['id']}/reviews"
    said = client.post(path, json={"label": "defect", "outline": SQUARE}).json()
    assert said["review"]["outline"] == [[list(corner) for corner in SQUARE[0]]]
    assert [count for _, count in known(station)] == [80]
    for outline in (
        [[(1, 1), (2, 2)]],
        [[(1, 1), (2, -2), (3, 3)]],
        [[(1, 1), (2, 70000), (3, 3)]],
        [SQUARE] * 51,
    ):
        assert client.post(path, json={"label": "defect", "outline": outline}).status_code == 422
    refused = client.post(path, json={"label": "good", "outline": SQUARE})
    assert refused.status_code == 422 and "outline: good parts have none" in refused.text
    away = [[(40.0, 40.0), (50.0, 40.0), (50.0, 50.0)]]
    said = client.post(path, json={"label": "defect", "outline": away})
    assert said.status_code == 422 and "outside the image" in said.json()["detail"]
    with pytest.raises(Problem, match="outline: unsure parts have none"):
        station.learning.review(1, "unsure", "ann", outline=SQUARE)
