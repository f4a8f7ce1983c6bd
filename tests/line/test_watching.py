"""The whole way from files in a folder to verdicts, with a real model; and what may go wrong on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.data.datasets.listing import list_images
from anomalyvfm.errors import InputError
from anomalyvfm.line import filing, watching
from anomalyvfm.line.folder import WatchedFolder
from anomalyvfm.line.ledger import LEDGER, Ledger, Part
from anomalyvfm.line.settings import LineSettings
from anomalyvfm.line.watching import Watch, WatchSettings
from anomalyvfm.runtime import Runtime, load
from tests.cli.commands import as_json, refused, run
from tests.line.codes import with_codes
from tests.waiting import until


@pytest.fixture(scope="module")
def runtime(exported_folder: Path) -> Runtime:
    return load(exported_folder)


@pytest.fixture(scope="module")
def images(drawn: Path) -> list[Path]:
    """Four good ones, then four bad ones."""
    bad = drawn / "sheet_metal" / "test_public" / "bad"
    return list_images(drawn / "sheet_metal" / "test_public" / "good")[:4] + list_images(bad)[:4]


@pytest.fixture
def settings(tmp_path: Path) -> WatchSettings:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    return WatchSettings(
        folder=tmp_path / "in",
        out=tmp_path / "out",
        line=LineSettings({}, "line.toml"),
        model={"name": "m", "sha256": "0"},
        settle=0,
        poll=0.005,
        once=True,
    )


def watched(runtime: Runtime, settings: WatchSettings) -> list[dict[str, Any]]:
    """What is told of all that lies there now."""
    told: list[dict[str, Any]] = []
    Watch(runtime, settings).run(lambda message: told.append(dict(message)))
    return told


def put(images: Sequence[Path], folder: Path, lot: str = "") -> None:
    (folder / lot).mkdir(exist_ok=True)
    for number, image in enumerate(images):
        shutil.copyfile(image, folder / lot / f"{number}{image.suffix}")


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def listed(out: Path) -> int:
    """How many lines there are by now."""
    place = out / "predictions.jsonl"
    return place.read_bytes().count(b"\n") if place.exists() else 0


def test_verdicts_are_those_of_predict(
    runtime: Runtime, settings: WatchSettings, images: list[Path], exported_folder: Path, tmp_path: Path
) -> None:
    put(images, settings.folder, "lot-7")
    told = {message["path"]: message for message in watched(runtime, settings)}
    as_json("predict", exported_folder, settings.folder / "lot-7", "--out", tmp_path / "p", "--maps", "none")
    predicted = lines(tmp_path / "p")
    assert len(predicted) == len(told) == 8
    for line in predicted:
        message = told[f"lot-7/{Path(line['path']).name}"]
        assert message["score"] == pytest.approx(line["score"], abs=1e-4)
        assert [message[key] for key in ("anomalous", "promised")] == [line["anomalous"], line["promised"]]
        assert message["outcome"] == ("anomalous" if line["anomalous"] else "good")
        assert message["fields"] == {"lot": "lot-7"}
        assert message["model"] == {"name": "m", "sha256": "0"}
    assert any(message["anomalous"] for message in told.values())


def test_results_lie_beside_and_nothing_is_judged_twice(
    runtime: Runtime, settings: WatchSettings, images: list[Path]
) -> None:
    put(images, settings.folder, "lot-7")
    told = watched(runtime, settings)
    assert lines(settings.out) == told
    for message in told:
        place = settings.out / "parts" / message["path"]
        assert json.loads(place.with_name(f"{place.name}.json").read_text()) == message
        drawn = place.with_name(f"{place.name}.map.jpg")
        assert drawn.is_file() == message["anomalous"]
        assert message["map"] == (f"parts/{message['path']}.map.jpg" if message["anomalous"] else None)
    assert not place.exists()
    assert watched(runtime, settings) == []
    os.utime(settings.folder / "lot-7" / "0.png", ns=(5, 5))  # as after it was copied back
    assert watched(runtime, settings) == []
    put(images[7:], settings.folder, "lot-7")  # another part under a name that was there
    (again,) = watched(runtime, settings)
    assert (again["path"], again["number"]) == ("lot-7/0.png", 9)
    assert (settings.out / "parts" / "lot-7" / "0.9.png.json").is_file()
    status = json.loads((settings.out / "status.json").read_text())
    assert status["judged"] == {"good": 0, "anomalous": 1, "refused": 0}


def test_images_are_moved_where_that_is_wanted(
    runtime: Runtime, settings: WatchSettings, images: list[Path]
) -> None:
    moving = replace(settings, then="move")
    put(images[:2], settings.folder, "lot-7")
    assert len(watched(runtime, moving)) == 2
    assert list((settings.folder / "lot-7").iterdir()) == []
    moved = settings.out / "parts" / "lot-7" / "0.png"
    assert moved.read_bytes() == images[0].read_bytes()
    stamp = moved.stat()
    put(images[:1], settings.folder, "lot-7")  # the same file once more is another part: the first is gone
    os.utime(settings.folder / "lot-7" / "0.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (again,) = watched(runtime, moving)
    assert again["number"] == 3
    assert (settings.out / "parts" / "lot-7" / "0.3.png").read_bytes() == images[0].read_bytes()


def test_what_no_verdict_is_possible_on_is_refused_with_the_reason(
    runtime: Runtime, settings: WatchSettings, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_PATIENCE_SECONDS", 0.2)
    (settings.folder / "half.png").write_bytes(images[0].read_bytes()[:500])
    (settings.folder / "none.png").touch()
    (settings.folder / "text.png").write_text("no image at all")
    Image.new("RGB", (96, 96)).save(settings.folder / "black.png")
    Image.new("RGB", (4, 4), "red").save(settings.folder / "small.png")
    shutil.copyfile(images[0], settings.folder / "good.png")
    told = {message["path"]: message for message in watched(runtime, settings)}
    assert told.pop("good.png")["outcome"] == "good"
    assert {message["outcome"] for message in told.values()} == {"refused"}
    reasons = {path: message["error"].split(":")[0] for path, message in told.items()}
    assert reasons == {
        "half.png": "decode",
        "none.png": "decode",
        "text.png": "decode",
        "small.png": "decode",
        "black.png": "contrast",
    }
    assert "image data" not in str(told)
    assert watched(runtime, settings) == []


def test_a_code_in_the_picture_says_which_part_it_is(
    runtime: Runtime, settings: WatchSettings, images: list[Path]
) -> None:
    pytest.importorskip("zxingcpp")
    Image.fromarray(with_codes(("QRCode", "A-1041", 20, 20))).save(settings.folder / "with.png")
    put(images[:1], settings.folder)
    told = watched(runtime, replace(settings, line=LineSettings({"barcode": {}}, "")))
    assert {message["path"]: message["fields"] for message in told} == {
        "with.png": {"serial": "A-1041"},
        "0.png": {},
    }


def test_a_file_that_is_written_slowly_is_judged_when_it_is_whole(
    runtime: Runtime, settings: WatchSettings, images: list[Path]
) -> None:
    told: list[Mapping[str, Any]] = []
    watch = Watch(runtime, replace(settings, once=False, settle=0.4))
    thread = threading.Thread(target=watch.run, args=(told.append,))
    thread.start()
    content = images[0].read_bytes()
    with (settings.folder / "slow.png").open("wb") as stream:
        for start in range(0, len(content), len(content) // 5):
            stream.write(content[start : start + len(content) // 5])
            stream.flush()
            time.sleep(0.06)
    until(lambda: bool(told))
    watch.stop()
    thread.join()
    assert [message["outcome"] for message in told] == ["good"]


def test_a_folder_that_vanishes_is_said_and_the_line_goes_on_when_it_is_back(
    runtime: Runtime, settings: WatchSettings, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_PAUSE_SECONDS", 0.05)
    told: list[Mapping[str, Any]] = []
    watch = Watch(runtime, replace(settings, once=False))
    thread = threading.Thread(target=watch.run, args=(told.append,))
    thread.start()
    put(images[:1], settings.folder)
    until(lambda: len(told) == 1)
    away = settings.folder.rename(settings.folder.with_name("away"))
    until(lambda: "folder" in watch.states.troubles())
    away.rename(settings.folder)
    until(lambda: "folder" not in watch.states.troubles())
    shutil.copyfile(images[1], settings.folder / "next.png")
    until(lambda: len(told) == 2)
    watch.stop()
    thread.join()
    assert [message["path"] for message in told] == ["0.png", "next.png"]


def test_a_full_disk_holds_verdicts_back_and_loses_none(
    runtime: Runtime, settings: WatchSettings, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(filing, "_PAUSE_SECONDS", 0.01)
    failures = {"ledger": 3, "results": 3}
    add, write = Ledger.add, filing._write_text

    def add_at_last(ledger: Ledger, part: Part) -> None:
        failures["ledger"] -= 1
        if failures["ledger"] >= 0:
            raise OSError(28, "No space left on device", "l")
        add(ledger, part)

    def write_at_last(place: Path, text: str) -> None:
        failures["results"] -= 1
        if failures["results"] >= 0:
            raise OSError(28, "No space left on device", str(place))
        write(place, text)

    monkeypatch.setattr(Ledger, "add", add_at_last)
    monkeypatch.setattr(filing, "_write_text", write_at_last)
    put(images, settings.folder)
    heard: list[tuple[str, str | None]] = []
    watch = Watch(runtime, settings)
    watch.states.listen(lambda name, trouble: heard.append((name, trouble)))
    told: list[Mapping[str, Any]] = []
    watch.run(told.append)
    assert len(told) == len(lines(settings.out)) == 8
    for name in ("ledger", "results"):
        says = [trouble for other, trouble in heard if other == name]
        assert "No space left on device" in str(says[0])
        assert says[-1] is None


def test_pictures_that_wait_too_long_are_made_later(
    runtime: Runtime, settings: WatchSettings, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filing, "_AHEAD", 1)
    put(images, settings.folder)
    told = watched(runtime, replace(settings, maps="all"))
    assert [message["number"] for message in lines(settings.out)] == list(range(1, 9))
    assert all((settings.out / message["map"]).is_file() for message in told)


def test_an_image_on_which_the_model_fails_ends_nothing(
    runtime: Runtime, settings: WatchSettings, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = np.asarray(Image.open(images[2]).convert("RGB"))
    judge = Runtime.judge

    def failing(self: Runtime, given: Iterable[Any]) -> Iterator[Any]:
        given = list(given)
        if any(np.array_equal(image, broken) for image in given):
            raise MemoryError("none left")
        return judge(self, given)

    monkeypatch.setattr(Runtime, "judge", failing)
    put(images, settings.folder)
    told = {message["path"]: message for message in watched(runtime, settings)}
    assert len(told) == 8
    assert told["2.png"]["error"] == "judging failed (MemoryError: none left)"
    assert Counter(message["outcome"] for message in told.values())["refused"] == 1


def test_what_goes_wrong_on_the_way_ends_nothing(
    runtime: Runtime, settings: WatchSettings, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(watching, "_PATIENCE_SECONDS", 0.05)
    fails = Counter({"is_same": 2, "look": 2, "draw": 1})
    is_same, look, draw = Ledger.is_same, WatchedFolder.look, filing._draw

    def failing(name: str, does: Callable[..., Any], error: Exception) -> Callable[..., Any]:
        def does_at_last(*given: Any) -> Any:
            fails[name] -= 1
            if fails[name] >= 0:
                raise error
            return does(*given)

        return does_at_last

    full = OSError(28, "No space left on device", "l")
    monkeypatch.setattr(Ledger, "is_same", failing("is_same", is_same, full))
    monkeypatch.setattr(WatchedFolder, "look", failing("look", look, ValueError("odd")))
    monkeypatch.setattr(filing, "_draw", failing("draw", draw, ZeroDivisionError()))
    put(images, settings.folder)
    told = watched(runtime, replace(settings, maps="all"))
    assert len(told) == len(lines(settings.out)) == 8
    assert [(settings.out / message["map"]).is_file() for message in told].count(False) == 1


def test_a_lot_that_is_called_as_an_image_was_holds_nothing_up(
    runtime: Runtime, settings: WatchSettings, images: list[Path]
) -> None:
    moving = replace(settings, then="move")
    shutil.copyfile(images[0], settings.folder / "a.png")
    assert len(watched(runtime, moving)) == 1
    put(images[1:2], settings.folder, "a.png")
    shutil.copyfile(images[2], settings.folder / "b.png")
    assert len(watched(runtime, moving)) == 2
    assert (settings.out / "parts" / "b.png").is_file()


def test_a_watch_killed_again_and_again_judges_each_file_once(
    exported_folder: Path, settings: WatchSettings, images: list[Path]
) -> None:
    command = [sys.executable, "-m", "anomalyvfm", "watch", exported_folder, settings.folder]
    command += ["--out", settings.out, "--settle", "0", "--poll", "0.005", "--then", "move", "--maps", "all"]
    count = 0
    for _ in range(3):
        process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
        before = listed(settings.out)
        for image in images * 3:
            partial = settings.folder / f".{count}"
            shutil.copyfile(image, partial)
            partial.rename(settings.folder / f"{count}.png")
            count += 1
        until(lambda: listed(settings.out) > before + 3)  # noqa: B023 - asked at once
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*map(str, command), "--once"], check=True, capture_output=True)
    kept = lines(settings.out)
    assert [message["number"] for message in kept] == list(range(1, count + 1))
    assert sorted(message["path"] for message in kept) == sorted(f"{number}.png" for number in range(count))
    assert len({message["id"] for message in kept}) == count
    for message in kept:
        place = settings.out / "parts" / message["path"]
        assert place.is_file()
        assert json.loads(place.with_name(f"{place.name}.json").read_text()) == message
        assert (settings.out / message["map"]).is_file()
    assert list_images(settings.folder) == []


def test_the_command_says_what_it_did(
    exported_folder: Path, settings: WatchSettings, images: list[Path], tmp_path: Path
) -> None:
    put(images, settings.folder)
    (tmp_path / "line.toml").write_text('settle = 0.0\n[fields]\nline = "3"\npattern = "{serial}"\n')
    arguments = ("watch", exported_folder, settings.folder, "--out", settings.out, "--once")
    done = as_json(*arguments, "--config", tmp_path / "line.toml")
    assert sum(done["judged"].values()) == 8
    assert lines(settings.out)[0]["fields"] == {"line": "3", "serial": "0"}
    assert "0 judged" in run(*arguments).stdout


def test_what_cannot_be_watched_is_said_in_a_line(
    exported_folder: Path, settings: WatchSettings, tmp_path: Path
) -> None:
    said = refused("watch", exported_folder, tmp_path / "nowhere", "--out", tmp_path / "new", "--once")
    assert "no such folder" in said
    assert "name the model first" in refused(
        "watch", settings.folder, exported_folder, "--out", tmp_path / "new"
    )
    (settings.out / "file").touch()
    assert "no ledger" in refused("watch", exported_folder, settings.folder, "--out", settings.out)
    assert "is in it" in refused("watch", exported_folder, settings.folder, "--out", settings.folder)
    (tmp_path / "line.toml").write_text("[sinks.mes]\nkind = 'webhook'\n")
    arguments = ("watch", exported_folder, settings.folder, "--out", tmp_path / "new")
    assert "line.toml: sinks.mes.url: is missing" in refused(*arguments, "--config", tmp_path / "line.toml")
    (tmp_path / "line.toml").write_text("[sources]\n")
    assert "sources: no such option" in refused(*arguments, "--config", tmp_path / "line.toml")


def test_two_watches_do_not_share_a_ledger(
    runtime: Runtime, settings: WatchSettings, exported_folder: Path
) -> None:
    from anomalyvfm.files import locked

    with locked(settings.out):
        said = refused("watch", exported_folder, settings.folder, "--out", settings.out, "--once")
    assert "another run" in said


def test_without_the_folder_there_is_no_watch(runtime: Runtime, settings: WatchSettings) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Watch(runtime, replace(settings, folder=settings.folder / "nowhere"))
    assert not (settings.out / LEDGER).exists()
