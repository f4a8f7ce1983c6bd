"""Predictions in parts: lines, files and what follows of them are those of one machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pytest

from anomalyvfm.cluster import parts, predicting
from anomalyvfm.cluster.predicting import ClusterPredict
from anomalyvfm.cluster.workers import Cluster
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.predictions.tables import write_coco, write_csv
from anomalyvfm.predictions.writing import Output, Tally, write_predictions
from anomalyvfm.tracking import Tracker, untracked

from .here import Here

TABLES = [write_csv, write_coco]
T = TypeVar("T")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "Workers", Here)
    monkeypatch.setattr(predicting, "connected", lambda cluster: nullcontext())
    monkeypatch.setattr(Here, "dies_after", None)
    monkeypatch.setattr(Here, "careful", False)
    monkeypatch.setattr(parts, "_LEAST", 1)


@pytest.fixture(scope="module")
def detector(fitted_folder: Path) -> Detector:
    judge = Detector.load(fitted_folder, device="cpu")
    judge.pipeline_.extractor.batch = 4
    return judge


@pytest.fixture(scope="module")
def images(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Good and bad ones, many of one name, and one that is broken."""
    place = tmp_path_factory.mktemp("images")
    found = []
    for number, image in enumerate(sorted((drawn / "sheet_metal" / "test_public").rglob("*.png"))[:40]):
        folder = place / f"lot {number % 7}"
        folder.mkdir(exist_ok=True)
        found.append(Path(shutil.copy(image, folder / f"{number % 5}-{number // 35}.png")))
    (place / "broken.png").write_bytes(b"no image")
    return [*found[:18], place / "broken.png", *found[18:]]


def there(
    detector: Detector,
    model: Path,
    images: list[Path],
    out: Path,
    output: Output | None = None,
    track: Tracker = untracked,
    resume: bool = False,
) -> tuple[Tally, Any]:
    load = partial(Detector.load, model, device="cpu")
    engine = ClusterPredict(Cluster(), out.with_name("parts"), load, model, resume=resume)
    return engine.predict(detector, images, out, output or Output(), track), engine.summary


def lines(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    for line in found:
        line.pop("ms", None)
    return found


def require_same(one: Path, other: Path) -> None:
    assert lines(one) == lines(other)
    names = [sorted(str(path.relative_to(out)) for path in out.rglob("*")) for out in (one, other)]
    assert names[0] == names[1]
    for name in names[0]:
        if Path(name).suffix in (".jpg", ".png", ".tiff") or name in ("coco.json", "drift.json"):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("given", [{}, {"maps": "raw"}, {"masks": True, "tables": TABLES, "maps": "all"}])
def test_lines_and_files_are_those_of_one_machine(
    detector: Detector, fitted_folder: Path, images: list[Path], tmp_path: Path, given: dict[str, Any]
) -> None:
    one, other = (Output(detector.drift_test(1000.0), **given) for _ in range(2))
    expected = write_predictions(detector, images, tmp_path / "plain", one)
    tally, summary = there(detector, fitted_folder, images, tmp_path / "out", other)
    assert tally == expected and tally.errors == 1 and tally.anomalous
    assert summary["parts"] > 5
    require_same(tmp_path / "out", tmp_path / "plain")


def test_a_run_that_was_killed_goes_on_and_one_that_is_done_is_counted(
    detector: Detector,
    fitted_folder: Path,
    images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(Here, "dies_after", 3)
    with pytest.raises(KeyboardInterrupt):
        there(detector, fitted_folder, images, out)
    monkeypatch.setattr(Here, "dies_after", None)

    def killed_while_joining(items: Iterable[T], total: int, description: str) -> Iterator[T]:
        yield from islice(items, 9)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        there(detector, fitted_folder, images, out, resume=True, track=killed_while_joining)
    assert not (out / "predictions.jsonl").exists()
    tally, summary = there(detector, fitted_folder, images, out, resume=True)
    assert summary["images_before"] == len(images)  # only joining was left
    expected = write_predictions(detector, images, tmp_path / "plain")
    assert tally == expected
    require_same(out, tmp_path / "plain")
    shutil.rmtree(tmp_path / "parts")
    again, summary = there(detector, fitted_folder, images, out, resume=True)
    assert again == expected and summary == {}
    with pytest.raises(InputError, match="holds a run of another model, of other images"):
        there(detector, fitted_folder, images[:-1], out, resume=True)
    require_same(out, tmp_path / "plain")


def test_an_image_that_ends_its_reader_has_an_error_for_its_line(
    detector: Detector,
    fitted_folder: Path,
    images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Here, "careful", True)
    there(detector, fitted_folder, images, tmp_path / "out")
    write_predictions(detector, images, tmp_path / "plain")
    require_same(tmp_path / "out", tmp_path / "plain")
