"""From what people say to versions of the model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from anomalyvfm.errors import InputError
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.settings import Retention
from anomalyvfm.server.station import Station
from anomalyvfm.server.store import versions
from tests.server.conftest import Open, client_of
from tests.server.fake_detector import FakeDetector, learned, picture


def judged(station: Station, brightness: int, seed: int = 0) -> dict[str, Any]:
    return station.submit(picture(brightness, seed), None, "", "me").result(20)


def wait_for(true: Callable[[], object]) -> None:
    for _ in range(400):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come")


def model_of(station: Station) -> Any:
    return station.registry.get("part").active


def test_good_on_a_false_alarm_teaches_and_undo_takes_it_back_exactly(station: Station) -> None:
    part = judged(station, 180)
    assert part["anomalous"]
    before = learned(model_of(station).detector).copy()

    said = station.learning.review(part["id"], "good", "ann", "dust")

    assert said.learning["action"] == "learned" and said.learning["version"] == 2
    assert learned(model_of(station).detector).total() == before.total() + 1
    assert said.review is not None
    undone = station.learning.undo(said.review["id"], "bob")
    assert undone.learning["action"] == "forgotten"
    assert undone.inspection["label"] is None
    assert learned(model_of(station).detector) == before
    newest, older, first = station.models.versions("part")
    assert (newest["by"], newest["action"], newest["parent"]) == ("bob", "forget", 2)
    assert (older["by"], older["why"], older["inspection_id"]) == ("ann", "dust", part["id"])
    assert first["action"] == "import"


def test_a_kind_of_defect_goes_with_its_review_and_is_offered_by_how_often_it_came(station: Station) -> None:
    parts = [judged(station, 180, number)["id"] for number in range(4)]
    for part, kind in zip(parts, ("scratch", "dent", "scratch", None), strict=True):
        station.learning.review(part, "defect", "ann", kind=kind)
    assert station.inspections.kinds("part") == ["scratch", "dent"]
    assert station.inspections.kinds("lid") == []
    assert [station.inspections.get(part)["kind"] for part in parts] == ["scratch", "dent", "scratch", None]
    with pytest.raises(Problem, match="good parts have none"):
        station.learning.review(parts[0], "good", "ann", kind="dent")
    again = station.learning.review(parts[0], "unsure", "bob")
    assert again.review and station.inspections.get(parts[0])["kind"] is None
    station.learning.undo(again.review["id"], "bob")
    assert station.inspections.get(parts[0])["kind"] == "scratch"
    client = client_of(station)
    path = f"/api/inspections/{parts[3]}/reviews"
    said = client.post(path, json={"label": "defect", "kind": " crack "}).json()
    assert said["review"]["kind"] == said["inspection"]["kind"] == "crack"
    assert client.post(path, json={"label": "good", "kind": "crack"}).status_code == 422
    assert "crack" in client.get("/api/export?format=csv").text


def test_saying_the_same_twice_teaches_once(station: Station) -> None:
    part = judged(station, 180)
    station.learning.review(part["id"], "good", "ann")
    again = judged(station, 180)  # the same picture
    said = station.learning.review(again["id"], "good", "bob")
    assert said.learning["action"] == "none"
    assert learned(model_of(station).detector).total() == 2


def test_of_parts_with_the_same_image_what_was_said_last_decides_and_undo_is_exact(station: Station) -> None:
    first, second = judged(station, 180), judged(station, 180)
    assert first["sha256"] == second["sha256"] and second["anomalous"]
    before = learned(model_of(station).detector).copy()

    def total() -> int:
        return learned(model_of(station).detector).total() - before.total()

    ann = station.learning.review(first["id"], "good", "ann").review
    bob = station.learning.review(second["id"], "good", "bob").review
    assert ann and bob and total() == 1
    station.learning.undo(ann["id"], "ann")
    assert total() == 1, "bob still says that it is good"
    station.learning.undo(bob["id"], "bob")
    assert learned(model_of(station).detector) == before

    station.learning.review(first["id"], "good", "ann")
    said = station.learning.review(second["id"], "defect", "bob").review
    assert said and total() == 0
    station.learning.undo(said["id"], "bob")
    assert total() == 1, "ann's word is in force again"
    third = judged(station, 180)
    assert not third["anomalous"] or total() == 1
    wrong = station.learning.review(third["id"], "defect", "eve").review
    assert wrong and total() == 0
    station.learning.review(third["id"], "good", "eve")
    assert total() == 1


def test_changing_ones_mind_takes_back_what_was_learned(station: Station) -> None:
    part = judged(station, 180)
    station.learning.review(part["id"], "good", "ann")
    said = station.learning.review(part["id"], "defect", "ann")
    assert said.learning["action"] == "forgotten"
    assert said.inspection["label"] == "defect"


def test_defect_on_a_training_image_forgets_it_and_undo_learns_it_again(station: Station) -> None:
    part = judged(station, 180)
    station.learning.review(part["id"], "good", "ann")
    trained = model_of(station).detector
    # As if it had been learned at the fit: a model given as new, whose versions know nothing of it.
    folder = station.settings.data.parent / "again" / "part"
    trained.save(folder)
    station.registry.open([folder])
    assert model_of(station).number == 3

    said = station.learning.review(part["id"], "defect", "ann")
    assert said.learning["action"] == "forgotten"
    assert said.review is not None
    assert station.learning.undo(said.review["id"], "ann").learning["action"] == "learned"
    assert learned(model_of(station).detector) == learned(trained)


def test_defect_on_a_part_never_learned_changes_no_model(station: Station) -> None:
    part = judged(station, 180)
    said = station.learning.review(part["id"], "defect", "ann")
    assert said.learning == {
        "action": "none",
        "version": 1,
        "message": "this preset learns from good images alone; v2 learns from defects, too;"
        " the model stays as it is",
    }


def test_many_people_at_once_lose_nothing(station: Station) -> None:
    parts = [judged(station, 170 + number, number) for number in range(8)]

    with ThreadPoolExecutor(8) as people:
        said = list(people.map(lambda part: station.learning.review(part["id"], "good", "x"), parts))

    assert sorted(one.learning["version"] for one in said) == list(range(2, 10))
    assert learned(model_of(station).detector).total() == 1 + len(parts)
    assert all(one["parent"] == one["number"] - 1 for one in station.models.versions("part")[:-1])


def test_a_review_of_what_another_reviewed_meanwhile_is_refused(station: Station) -> None:
    part = judged(station, 180)
    first = station.learning.review(part["id"], "unsure", "ann")
    assert first.review is not None
    station.learning.review(part["id"], "defect", "bob", seen=first.review["id"])
    with pytest.raises(Problem) as caught:
        station.learning.review(part["id"], "good", "ann", seen=first.review["id"])
    assert caught.value.status == 409 and "bob" in caught.value.detail
    with pytest.raises(Problem, match="was undone by"):
        for _ in range(2):
            station.learning.undo(first.review["id"], "ann")


def test_one_click_goes_back_and_learning_goes_on_from_there(station: Station) -> None:
    one, two = judged(station, 180, 1), judged(station, 180, 2)
    station.learning.review(one["id"], "good", "ann")
    with pytest.raises(Problem) as caught:
        station.registry.activate("part", 1, expected=1, by="bob", why="")
    assert caught.value.status == 409

    station.registry.activate("part", 1, expected=2, by="bob", why="too lenient")

    assert learned(model_of(station).detector).total() == 1
    said = station.learning.review(two["id"], "good", "ann")
    assert said.learning["version"] == 3
    assert station.models.versions("part")[0]["parent"] == 1
    # Forgetting what this line of versions never learned would be wrong; nothing happens.
    again = station.learning.review(one["id"], "defect", "ann")
    assert again.learning["action"] == "none"
    assert any(entry["action"] == "activate" and entry["by"] == "bob" for entry in station.audit(None, 50))


def test_a_new_promise_is_a_new_version_and_what_if_foretold_it(station: Station) -> None:
    parts = [judged(station, brightness) for brightness in range(90, 130, 4)]
    foretold = station.models.what_if("part", [0.3])["curve"][0]
    assert 0 < foretold["rejected"] < len(parts)

    station.learning.set_rate("part", 0.3, "eve", "", expected=1)

    rejected = sum(judged(station, brightness)["anomalous"] for brightness in range(90, 130, 4))
    assert rejected == foretold["rejected"]
    assert station.models.get("part")["active"]["calibration"]["threshold"] == foretold["threshold"]


def test_calibration_follows_from_sampled_good_parts_that_the_scorer_has_not_learned(
    open_station: Open,
) -> None:
    station = open_station(sampled_share=1.0)
    with pytest.raises(Problem, match="the promise needs 9"):
        station.recalibration.recalibrate("part", "eve", "too early")
    for number in range(9):
        station.learning.review(judged(station, 95 + number)["id"], "good", "ann")
    alarm = judged(station, 122)
    assert alarm["anomalous"]

    station.learning.review(alarm["id"], "good", "ann")
    station.recalibration.close()  # waits for the calibration

    newest = station.models.versions("part")[0]
    assert (newest["action"], newest["by"], newest["active"]) == ("calibrate", "station", True)
    assert newest["calibration"]["images"] == 10
    assert learned(model_of(station).detector).total() == 2, "the scorer forgot it, the model did not"


def test_a_calibration_that_would_pass_reviewed_defects_waits_for_an_engineer(open_station: Open) -> None:
    station = open_station(sampled_share=1.0)
    for number in range(4):
        station.learning.review(judged(station, 140, number)["id"], "defect", "ann")
    for number in range(8):
        station.learning.review(judged(station, 95 + number)["id"], "good", "ann")
    for number in range(2):  # one defect called good by mistake, and one that looks like it
        station.learning.review(judged(station, 160, number)["id"], "good", "ann")
        station.recalibration.close()  # waits for the calibration

    model = station.models.get("part")
    assert model["active"]["action"] == "learn"
    held = model["held_back"]
    assert (held["defects"], held["caught_now"], held["caught_then"]) == (4, 4, 0)
    assert (held["good"], held["passed_now"], held["passed_then"]) == (10, 8, 10)
    noted = [entry["detail"] for entry in station.audit(None, 50) if entry["action"].endswith("held back")]
    assert noted[0].startswith("of 4 reviewed defects 0 are caught instead of 4, and of 10 good parts 10")
    assert [judged(station, 140, seed)["anomalous"] for seed in range(4)] == [True] * 4

    station.close()
    station = open_station(models=[], sampled_share=1.0)
    assert station.models.get("part")["held_back"] == held, "it is not forgotten over night"
    station.reviewed_parts.settle()
    station.recalibration.recalibrate("part", "eve", "I have looked")
    model = station.models.get("part")
    assert (model["active"]["action"], model["held_back"]) == ("calibrate", None)
    station.reviewed_parts.settle()
    compared = station.models.get("part")["active"]["compared"]
    assert (compared["defects"], compared["caught_now"], compared["caught_then"]) == (4, 4, 0)
    (warning,) = [one for one in station.audit(None, 50) if one["action"] == "catches less"]
    assert (
        warning["object"] == f"part {model['active']['number']}"
        and "0 are caught instead" in warning["detail"]
    )


def test_a_calibration_that_moves_the_limit_further_than_chance_does_waits_for_an_engineer(
    open_station: Open,
) -> None:
    """Nobody has reviewed a defect yet, so none speaks against it."""
    station = open_station(sampled_share=1.0)
    for number in range(8):
        station.learning.review(judged(station, 95 + number)["id"], "good", "ann")
    for number in range(2):
        station.learning.review(judged(station, 240, number)["id"], "good", "ann")
    station.recalibration.close()
    model = station.models.get("part")
    assert model["active"]["action"] == "learn"
    assert model["held_back"]["moves_far"] and model["held_back"]["defects"] == 0
    noted = [entry["detail"] for entry in station.audit(None, 50) if entry["action"].endswith("held back")]
    assert 1 <= len(noted) <= 2, "one after both reviews, or one after each: as quick as the thread is"
    assert all("further than chance explains" in detail for detail in noted)


def test_each_version_keeps_what_it_says_of_reviewed_parts(open_station: Open) -> None:
    station = open_station()
    for number in range(3):
        station.learning.review(judged(station, 140 + 10 * number, number)["id"], "defect", "ann")
    for number in range(4):
        station.learning.review(judged(station, 95 + number)["id"], "good", "ann")
    station.reviewed_parts.settle()
    assert station.models.get("part")["active"]["compared"] is None, "there was none before"
    station.learning.set_rate("part", 0.001, "eve", "", expected=1)
    station.reviewed_parts.settle()
    strict = station.models.get("part")["active"]["compared"]
    assert (strict["now"], strict["then"], strict["defects"], strict["good"]) == (1, 2, 3, 4)
    alarm = judged(station, 200)
    station.learning.review(alarm["id"], "good", "ann")
    station.reviewed_parts.settle()
    learnt = station.models.get("part")["active"]["compared"]
    assert (learnt["now"], learnt["then"], learnt["good"]) == (2, 3, 4)
    assert learnt["caught_now"] == strict["caught_then"]
    # What was foretold for other promises is what they say of the same parts.
    what_if = station.models.what_if("part", [0.3])
    assert what_if["defects"] == 3
    number = station.learning.set_rate("part", 0.3, "eve", "", expected=3)
    station.reviewed_parts.settle()
    assert station.models.versions("part")[0]["number"] == number
    assert station.models.versions("part")[0]["compared"]["caught_then"] == what_if["curve"][0]["caught"]


def test_reviewed_parts_are_judged_only_while_nothing_waits(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.reviewed_parts.settle()
    part = judged(station, 180)
    with station.batcher.places():
        station.learning.review(part["id"], "defect", "ann")
        time.sleep(0.3)
        assert station.reviewed_parts.defect_scores("part") == []
    station.reviewed_parts.settle()
    assert station.reviewed_parts.defect_scores("part") == pytest.approx([part["score"]], rel=1e-5)


def test_a_version_that_catches_fewer_reviewed_defects_than_the_one_before_says_so(station: Station) -> None:
    for number in range(3):
        station.learning.review(judged(station, 140, number)["id"], "defect", "ann")
    station.reviewed_parts.settle()
    station.learning.set_rate("part", 0.00001, "eve", "", expected=1)
    station.reviewed_parts.settle()
    compared = station.models.get("part")["active"]["compared"]
    warnings = [one for one in station.audit(None, 50) if one["action"] == "catches less"]
    assert len(warnings) == (compared["caught_then"] < compared["caught_now"])


def test_sampled_parts_that_are_alike_back_no_new_promise(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station(sampled_share=1.0)
    calibrate = FakeDetector.calibrate

    def in_three_groups(self: FakeDetector, images: Sequence[Any]) -> FakeDetector:
        calibrate(self, images)
        self.calibration_ = replace(self.calibration_, groups=3)
        return self

    monkeypatch.setattr(FakeDetector, "calibrate", in_three_groups)
    for number in range(9):
        station.learning.review(judged(station, 95 + number)["id"], "good", "ann")
    with pytest.raises(Problem, match="of 3 groups, each alike in itself; the promise needs 9") as caught:
        station.recalibration.recalibrate("part", "eve", "")
    assert caught.value.status == 409
    assert station.models.get("part")["active"]["calibration"]["promised"]
    assert "calibrate" not in [one["action"] for one in station.models.versions("part")]


def test_old_versions_give_way_and_say_so(open_station: Open) -> None:
    station = open_station(versions_kept=2)
    for number in range(40):
        station.learning.review(judged(station, 180, number)["id"], "good", "ann")
        station.version_folders.settle()
    station.tidy()
    kept = [one["number"] for one in station.models.versions("part") if one["kept"]]
    # The last two, what the older of these is made from, and the one that was given.
    assert kept == [*range(41, 32, -1), 1]
    with pytest.raises(Problem, match="no longer kept"):
        station.registry.activate("part", 2, expected=41, by="bob", why="")


def test_an_image_no_longer_kept_is_labelled_all_the_same(station: Station) -> None:
    part = judged(station, 180)
    station.files.path(part["sha256"]).unlink()
    said = station.learning.review(part["id"], "good", "ann")
    assert said.inspection["label"] == "good" and "no longer kept" in said.learning["message"]


def test_the_next_part_is_judged_by_what_the_review_taught_and_others_wait_for_nothing(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = judged(station, 180)
    allowed, deriving = threading.Event(), threading.Event()

    def derive(_: object) -> None:
        deriving.set()
        allowed.wait(20)

    monkeypatch.setattr(FakeDetector, "prepare", derive)
    with ThreadPoolExecutor(1) as people:
        said = people.submit(station.learning.review, part["id"], "good", "ann")
        assert deriving.wait(20)
        assert judged(station, 100)["version"] == 1
        allowed.set()
        assert said.result(20).learning["version"] == 2
    assert judged(station, 100)["version"] == 2


def unwritten(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no copy of a version be written from now on."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FakeDetector, "save", full)


def learned_but_unwritten(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> tuple[Station, list[dict[str, Any]]]:
    """A station that was closed with two versions, of a part each, whose folders could not be written."""
    station = open_station()
    parts = [judged(station, 180, number) for number in range(2)]
    unwritten(station, monkeypatch)
    for part in parts:
        station.learning.review(part["id"], "good", "ann")
    station.close()
    return station, parts


def test_versions_a_kill_left_unwritten_are_made_again_at_the_start(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station()
    parts = [
        station.submit(picture(180, number), None, f"{number}.png", "me").result(20) for number in range(2)
    ]
    unwritten(station, monkeypatch)
    for part in parts:
        station.learning.review(part["id"], "good", "ann")
    taught = learned(model_of(station).detector)
    gallery = model_of(station).detector.gallery_
    assert sorted(gallery.images.values())[:2] == ["part 1, 0.png", "part 2, 1.png"]
    station.close()  # as a kill would: what cannot be written is left
    monkeypatch.undo()
    assert len(list((station.settings.data / "models" / "part").iterdir())) == 1

    station = open_station(models=[])

    assert model_of(station).number == 3
    assert learned(model_of(station).detector) == taught
    assert model_of(station).detector.gallery_ == gallery
    station.version_folders.settle()
    assert len(list((station.settings.data / "models" / "part").iterdir())) == 2
    assert learned(station.registry.activate("part", 2, 3, "bob", "").active.detector).total() == 2


def test_a_version_that_cannot_be_made_again_gives_way_to_the_one_before_and_says_so(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    station, parts = learned_but_unwritten(open_station, monkeypatch)
    monkeypatch.undo()
    for part in parts:
        station.files.path(part["sha256"]).unlink()

    station = open_station(models=[])

    assert model_of(station).number == 1
    assert [one["kept"] for one in station.models.versions("part")] == [False, False, True]
    lost = [entry["object"] for entry in station.audit(None, 50) if entry["action"] == "lost"]
    assert lost == ["part 3", "part 2"]


def test_a_version_whose_image_cannot_be_read_now_is_never_lost(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned_but_unwritten(open_station, monkeypatch)
    monkeypatch.undo()

    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as bad_disk:
        bad_disk.setattr("anomalyvfm.server.store.files.Files.read", broken)
        for _ in range(2):
            with pytest.raises(InputError, match="Input/output") as refused:
                open_station(models=[])
            assert "\n" not in str(refused.value)

    station = open_station(models=[])
    assert model_of(station).number == 3
    assert all(one["kept"] for one in station.models.versions("part"))
    assert not [entry for entry in station.audit(None, 50) if entry["action"] == "lost"]


def test_a_version_whose_image_was_changed_on_the_disk_is_refused_and_never_lost(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    station, parts = learned_but_unwritten(open_station, monkeypatch)
    monkeypatch.undo()
    image = station.files.path(parts[1]["sha256"])
    content = image.read_bytes()
    image.write_bytes(picture(20))
    with pytest.raises(InputError, match=r"changed since version 3 of part .* from a backup"):
        open_station(models=[])
    image.write_bytes(content)
    assert model_of(open_station(models=[])).number == 3


def test_a_copy_that_is_not_what_was_written_is_made_again(open_station: Open) -> None:
    """As after a power cut between a folder's name and its content; an imported one is refused instead."""
    station = open_station()
    for number in range(2):
        station.learning.review(judged(station, 180, number)["id"], "good", "ann")
    station.version_folders.settle()
    station.close()
    with station.reading() as session:
        active, imported = versions.of_model(session, "part")[0], versions.of_model(session, "part")[-1]
    folder = station.settings.data / "models" / "part"
    copy = folder / active.folder / "model.json"
    copy.write_bytes(copy.read_bytes()[:-40])
    again = open_station(models=[])
    assert (model_of(again).number, learned(model_of(again).detector).total()) == (3, 3)
    assert list((again.settings.data / "trash").glob(f"*/models/part/{active.folder}*"))
    again.version_folders.settle()
    assert copy.exists(), "and written again"
    again.close()
    for one in (copy, folder / imported.folder / "model.json"):
        one.write_bytes(one.read_bytes()[:-40])
    with pytest.raises(InputError, match="not readable as JSON"):
        open_station(models=[])
    assert (folder / imported.folder).exists(), "what cannot be made stays where it is"


def test_where_copies_cannot_be_written_people_go_on_and_ready_says_so(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalyvfm.server.models.version_folders._RETRY_SECONDS", 0.05)
    monkeypatch.setattr("anomalyvfm.server.models.version_folders._QUIET_SECONDS", 0.0)
    station = open_station()
    client = client_of(station)
    station.version_folders.settle()
    assert client.get("/ready").json()["warnings"] == []
    with monkeypatch.context() as no_room:
        unwritten(station, no_room)
        for number in range(4):
            station.learning.review(judged(station, 180, number)["id"], "good", "ann")
        wait_for(lambda: client.get("/ready").json()["warnings"])
        (warning,) = client.get("/ready").json()["warnings"]
        assert "waits for its copy" in warning and "No space left" in warning
    assert model_of(station).number == 5
    station.version_folders.settle()
    assert client.get("/ready").json()["warnings"] == []
    station.close()
    assert model_of(open_station(models=[])).number == 5


def test_versions_are_differences_but_every_sixteenth_and_the_one_that_judges(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station()
    taught = {1: learned(model_of(station).detector)}
    for number in range(40):
        station.learning.review(judged(station, 180, number)["id"], "good", "ann")
        taught[number + 2] = learned(model_of(station).detector).copy()
        if number % 3 == 0:
            station.version_folders.settle()
    station.learning.set_rate("part", 0.2, "eve", "", 41)
    station.version_folders.settle()
    station.close()

    station = open_station(models=[])
    copies = [path.name for path in (station.settings.data / "models" / "part").iterdir()]
    assert len(copies) == 4, "the imported one, two on the way, and the one that judges"
    assert model_of(station).detector.calibration_.false_alarm_rate == 0.2
    now = 42
    for number in (1, 2, 9, 17, 18, 30, 41, 42):
        station.registry.activate("part", number, now, "bob", "")
        assert learned(model_of(station).detector) == taught[min(number, 41)]
        now = number


def test_a_version_with_a_calibration_of_its_own_is_made_again_with_it(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station(sampled_share=1.0)
    for number in range(9):
        station.learning.review(judged(station, 95 + number)["id"], "good", "ann")
    unwritten(station, monkeypatch)
    number = station.recalibration.recalibrate("part", "eve", "")
    calibration = model_of(station).detector.calibration_
    station.close()
    assert len(list((station.settings.data / "models" / "part").iterdir())) == 2

    again = open_station(models=[])
    assert model_of(again).number == number
    assert np.array_equal(model_of(again).detector.calibration_.scores, calibration.scores)


def test_images_that_versions_are_made_from_outlast_the_retention(open_station: Open) -> None:
    station = open_station(retention=Retention(days=0), versions_kept=1)
    first, second = judged(station, 180, 1), judged(station, 180, 2)
    station.learning.review(first["id"], "good", "ann")
    station.learning.review(second["id"], "good", "ann")
    station.tidy()
    with pytest.raises(Problem, match="deleted by its age"):
        station.inspections.get(first["id"])
    # The last version is made from the first but one, whose copy has not been written yet.
    for part in (first, second):
        assert station.files.path(part["sha256"]).exists()
    station.version_folders.settle()
    station.tidy()
    assert [one["kept"] for one in station.models.versions("part")] == [True, False, True]
    station._sweep(older_than=0)
    assert not station.files.path(first["sha256"]).exists()


def test_versions_count_among_what_is_kept_at_most(open_station: Open) -> None:
    station = open_station()
    for number in range(20):
        station.learning.review(judged(station, 180, number)["id"], "good", "ann")
        station.version_folders.settle()
    most = 2 * station.version_folders.bytes() - 1
    station.settings = replace(station.settings, retention=Retention(bytes=most))
    before = station.version_folders.bytes()
    station.tidy()
    assert station.version_folders.bytes() <= before
    assert model_of(station).number == 21
    kept_images = sum(path.stat().st_size for path in station.files._folder.rglob("*") if path.is_file())
    assert kept_images + station.version_folders.bytes() <= most


def test_a_calibration_that_cannot_be_written_leaves_the_model_as_it_was(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station(sampled_share=1.0)
    for number in range(9):
        station.learning.review(judged(station, 95 + number)["id"], "good", "ann")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as no_room:
        no_room.setattr(FakeDetector, "save_calibration", full)
        with pytest.raises(OSError, match="No space"):
            station.recalibration.recalibrate("part", "eve", "")
    assert model_of(station).number == 1
    assert len(list((station.settings.data / "models" / "part").iterdir())) == 1
    assert station.recalibration.recalibrate("part", "eve", "") == 2
