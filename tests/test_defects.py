"""Confirmed defects through the whole chain: from a folder of them to verdicts, files and exports."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomalyvfm.calibrating import calibration_tensors
from anomalyvfm.data.datasets.opening import open_defects
from anomalyvfm.data.defects import Defect
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.export.exporting import export
from anomalyvfm.runtime import load
from anomalyvfm.statistical.scorer import StatisticalScorer
from tests.cli import commands
from tests.cli.commands import QUICK, as_json, refused, run
from tests.conftest import SMALL, SMALL_IMAGES


def scratched(path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    """A good part with a faint scratch somewhere, and its mask."""
    image = np.asarray(Image.open(path).convert("RGB")).astype(int)
    y, x = np.random.default_rng(number).integers(10, 60, 2)
    mask = np.zeros(image.shape[:2], bool)
    for step in range(24):
        mask[y + step : y + step + 4, x + step // 2 : x + step // 2 + 5] = True
    image[mask] -= 25
    return image.clip(0, 255).astype(np.uint8), mask


@pytest.fixture(scope="module")
def defects(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scratched parts, with their masks in a folder among them."""
    folder = tmp_path_factory.mktemp("confirmed") / "defects"
    (folder / "masks").mkdir(parents=True)
    for number, good in enumerate(sorted((drawn / "sheet_metal" / "train" / "good").iterdir())[:4]):
        image, mask = scratched(good, number)
        Image.fromarray(image).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}_mask.png")
    return folder


@pytest.fixture(scope="module")
def plain(drawn: Path) -> Detector:
    return Detector("v2", SMALL, device="cpu").fit(drawn / "sheet_metal")


@pytest.fixture(scope="module")
def taught(drawn: Path, defects: Path) -> Detector:
    return Detector("v2", SMALL, device="cpu").fit(drawn / "sheet_metal", defects=open_defects(defects))


def test_patches_like_confirmed_defects_stand_out_further(
    plain: Detector, taught: Detector, drawn: Path
) -> None:
    """Those of other parts, scratched elsewhere, beside the good patches around them."""
    gains = []
    for number, good in enumerate(sorted((drawn / "sheet_metal" / "test_public" / "good").iterdir())):
        image, mask = scratched(good, 10 + number)
        before, after = (np.log(_distances(detector, image)) for detector in (plain, taught))
        covered = Defect(image, mask).covered((96, 96), plain.frame_)
        assert covered is not None
        down, across = (96 // side for side in before.shape)
        marked = covered.reshape(before.shape[0], down, before.shape[1], across).max((1, 3)) > 0.5
        gain = after - before
        gains.append(gain[marked].mean() - gain[~marked].mean())
    assert np.mean(gains) > 0.1 and np.min(gains) > 0, gains


def _distances(detector: Detector, image: np.ndarray) -> np.ndarray:
    (batch,) = detector.pipeline_.extractor.extract([image])
    assert batch.features is not None
    return detector.pipeline_.scorer.distances(batch.features).patch_distances[0].numpy()


def test_the_promise_is_made_anew_of_all_scores(taught: Detector, plain: Detector) -> None:
    calibration = taught.calibration_
    assert calibration.image_scores.shape[1] == plain.calibration_.image_scores.shape[1] + 1
    assert calibration.count == plain.calibration_.count
    above = (calibration.score(calibration.image_scores) > calibration.threshold).mean()
    assert above <= max(calibration.false_alarm_rate, 1 / calibration.count)


def test_without_defects_nothing_changes(plain: Detector, drawn: Path, tmp_path: Path) -> None:
    again = Detector("v2", SMALL, device="cpu").fit(drawn / "sheet_metal", defects=())
    assert not any(name.startswith("defects") for name in again.pipeline_.to_tensors())
    assert "defects" not in again.describe()
    np.testing.assert_array_equal(again.calibration_.scores, plain.calibration_.scores)


def test_a_model_keeps_what_it_knows_of_defects(taught: Detector, drawn: Path, tmp_path: Path) -> None:
    taught.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model", device="cpu")
    image = sorted((drawn / "sheet_metal" / "test_public" / "bad").iterdir())[-1]
    mine, theirs = taught.predict(image)[0], again.predict(image)[0]
    assert mine.score == theirs.score
    np.testing.assert_array_equal(mine.anomaly_map, theirs.anomaly_map)
    assert again.describe()["defects"] == taught.describe()["defects"]
    assert len(again.describe()["defects"]["images"]) == 4


def test_what_is_confirmed_later_is_as_if_it_had_been_at_once(
    plain: Detector, taught: Detector, defects: Path, drawn: Path, tmp_path: Path
) -> None:
    later = plain.clone().confirm(open_defects(defects))
    assert_equal(later, taught)
    plain.save(tmp_path / "model")  # and so is what a folder keeps
    assert_equal(Detector.load(tmp_path / "model", device="cpu").confirm(open_defects(defects)), taught)
    image = scratched(sorted((drawn / "sheet_metal" / "test_public" / "good").iterdir())[0], 10)[0]
    assert later.predict(image)[0].score == taught.predict(image)[0].score


def test_what_is_taken_back_leaves_nothing(plain: Detector, taught: Detector, defects: Path) -> None:
    folder = open_defects(defects)
    detector = taught.clone().take_back([folder[1].image])
    assert_equal(detector, plain.clone().confirm([folder[0], *folder[2:]]))
    assert len(detector.describe()["defects"]["images"]) == 3
    detector.take_back([defect.image for defect in folder if defect is not folder[1]])
    assert_equal(detector, plain)
    assert "defects" not in detector.describe()
    with pytest.raises(InputError, match=r"not among the confirmed defects; none was taken back"):
        taught.clone().take_back([folder[0].image, np.zeros((96, 96, 3), np.uint8)])


def assert_equal(one: Detector, other: Detector) -> None:
    """All that a folder would keep, to the last bit, and what likeness counts."""
    mine, theirs = ({**d.pipeline_.to_tensors(), **calibration_tensors(d.calibration_)} for d in (one, other))
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name
    assert one.calibration_.alternatives == other.calibration_.alternatives
    assert one.calibration_.threshold == other.calibration_.threshold


def test_good_images_respond_as_they_do_when_they_are_judged(
    plain: Detector, defects: Path, drawn: Path
) -> None:
    """What is kept of images that calibrate gives the scores and maps that judging them gives."""
    calibrated = plain.clone().confirm(open_defects(defects))
    images = sorted((drawn / "sheet_metal" / "test_public" / "good").iterdir())
    calibrated.calibrate(images)
    scorer = calibrated.pipeline_.scorer
    (batch,) = calibrated.pipeline_.extractor.extract(images)
    assert batch.features is not None
    found = scorer.distances(batch.features)
    np.testing.assert_allclose(calibrated.calibration_.image_scores, found.image_scores.numpy(), rtol=0.05)
    largest = found.patch_distances.flatten(1).max(1).values
    np.testing.assert_allclose(calibrated.calibration_.map_maxima, largest.numpy(), rtol=0.01)


def test_good_images_learned_later_are_as_if_they_had_been_learned_before(
    plain: Detector, defects: Path, drawn: Path
) -> None:
    """How like defects good images are does not depend on what came first, and forgetting undoes it."""
    new = sorted((drawn / "sheet_metal" / "test_public" / "good").iterdir())[:3]
    known = open_defects(defects)
    first = plain.clone().confirm(known).update(new)
    second = plain.clone().update(new).confirm(known)
    for name in ("image_scores", "map_maxima", "map_levels"):
        np.testing.assert_array_equal(getattr(first.calibration_, name), getattr(second.calibration_, name))
    before = plain.clone().confirm(known).calibration_
    assert (first.calibration_.image_scores != before.image_scores).any()
    again = first.forget(new).calibration_
    np.testing.assert_allclose(again.image_scores, before.image_scores, rtol=1e-4)


def test_a_score_is_of_the_oddest_patches_and_the_map_of_all(
    taught: Detector, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [
        scratched(path, 30)[0] for path in sorted((drawn / "sheet_metal" / "train" / "good").iterdir())[:6]
    ]
    scorer = taught.pipeline_.scorer
    (batch,) = taught.pipeline_.extractor.extract(images)
    assert batch.features is not None
    every = scorer.distances(batch.features)
    monkeypatch.setattr(scorer, "_odd_patches", 3)
    few = scorer.distances(batch.features)
    assert torch.equal(few.patch_distances, every.patch_distances)
    assert torch.equal(few.image_scores[:, :-1], every.image_scores[:, :-1])
    assert (few.image_scores[:, -1] <= every.image_scores[:, -1]).all()
    assert (few.image_scores[:, -1] < every.image_scores[:, -1]).any()


def test_a_confirmed_defect_that_is_a_good_image_changes_nothing(taught: Detector, drawn: Path) -> None:
    detector = taught.clone()
    good = sorted((drawn / "sheet_metal" / "train" / "good").iterdir())
    new = scratched(good[7], 90)[0]
    with pytest.raises(InputError, match="among the good images, too"):
        detector.confirm([Defect(new), Defect(good[8])])
    with pytest.raises(InputError, match="no image of a defect could be read"):
        detector.confirm([Defect(b"no image")])
    assert_equal(detector, taught)


def test_a_model_of_which_no_odd_patches_were_kept_stays_as_it_is(plain: Detector, defects: Path) -> None:
    """One that was fitted before they were."""
    detector = plain.clone()
    detector.calibration_ = replace(detector.calibration_, odd=None)
    with pytest.raises(InputError, match="fitted before defects could be confirmed later"):
        detector.confirm(open_defects(defects))
    assert not detector.pipeline_.describe().get("defects")
    detector.update(open_defects(defects)[0].image)
    assert detector.pipeline_.learned.total() == plain.pipeline_.learned.total() + 1


def test_another_calibration_or_rate_leaves_what_is_known_of_defects(
    taught: Detector, drawn: Path, tmp_path: Path
) -> None:
    images = sorted((drawn / "sheet_metal" / "test_public" / "good").iterdir())
    found = taught.clone().calibrate(images).calibration_
    other = taught.with_calibration(found)
    np.testing.assert_array_equal(other.calibration_.scores, found.scores)
    other.save_calibration(tmp_path / "calibration")
    again = taught.with_saved_calibration(tmp_path / "calibration")
    assert_equal(again, other)
    assert again.with_false_alarm_rate(0.2).calibration_.threshold < again.calibration_.threshold


def test_models_of_other_defects_do_not_merge(taught: Detector, plain: Detector) -> None:
    with pytest.raises(InputError, match="their confirmed differ"):
        taught.clone().merge(plain)


def test_copies_of_a_defect_count_once_and_broken_ones_are_named(
    drawn: Path, defects: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(defects, tmp_path / "more"))
    first = sorted(folder.glob("*.png"))[0]
    shutil.copy(first, folder / "zz_copy.png")
    (folder / "broken.png").write_bytes(b"no image")
    result = run("fit", drawn / "sheet_metal", "--defects", folder, "--out", tmp_path / "m", *QUICK)
    assert result.exit_code == 0, result.output
    assert "broken.png" in result.stderr
    assert len(as_json("info", tmp_path / "m")["defects"]["images"]) == 4
    assert "\ndefects    4 confirmed" in result.stdout


def test_a_good_image_among_the_defects_is_named(drawn: Path, defects: Path, tmp_path: Path) -> None:
    """It was compressed on its way, so it is no exact copy; the scratched parts are not named for it."""
    good = sorted((drawn / "sheet_metal" / "train" / "good").iterdir())[7]
    folder = Path(shutil.copytree(defects, tmp_path / "defects"))
    Image.open(good).convert("RGB").save(folder / "misplaced.jpg", quality=85)
    result = run("fit", drawn / "sheet_metal", "--defects", folder, "--out", tmp_path / "m", *QUICK)
    assert result.exit_code == 0, result.output
    named = [line for line in result.stderr.splitlines() if "wrong folder" in line]
    assert len(named) == 1 and "misplaced.jpg" in named[0] and good.name in named[0]
    ((defect, like),) = as_json("info", tmp_path / "m")["defects"]["near_copies"]
    assert Path(defect).name == "misplaced.jpg" and Path(like).name == good.name
    loaded = Detector.load(tmp_path / "m", device="cpu").describe()
    assert loaded["defects"]["near_copies"] == [[defect, like]]


def test_what_is_wrong_with_defects_is_one_line(drawn: Path, defects: Path, tmp_path: Path) -> None:
    good = drawn / "sheet_metal" / "train" / "good"

    def said(folder: Path, *more: object) -> str:
        return refused(
            "fit", good, "--defects", folder, "--out", tmp_path / "m", *commands.SMALL_IMAGES, *more
        )

    def spoiled(name: str) -> tuple[Path, Path]:
        folder = Path(shutil.copytree(defects, tmp_path / name))
        return folder, sorted((folder / "masks").iterdir())[0]

    folder, mask = spoiled("size")
    Image.new("L", (20, 30), 255).save(mask)
    assert f"{mask}: mask of 30×20 pixels for an image of 96×96" in said(folder)
    folder, mask = spoiled("empty")
    Image.new("L", (96, 96)).save(mask)
    assert f"{mask}: marks nothing; draw the defect in it" in said(folder)
    folder, _ = spoiled("good")
    shutil.copy(sorted(good.iterdir())[0], folder / "same.png")
    assert "same.png: among the good images, too" in said(folder)
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    assert "no images of defects there" in said(nothing)
    (nothing / "broken.png").write_bytes(b"no image")
    assert "no image of a defect could be read" in said(nothing)
    assert "no such folder" in said(tmp_path / "missing")
    assert "v1.1 learns from good images alone" in said(defects, "--preset", "v1.1")
    assert not (tmp_path / "m").exists()
    with pytest.raises(InputError, match="this preset learns from good images alone"):
        Detector("v1.1", SMALL_IMAGES, device="cpu").fit(good, defects=open_defects(defects))


def test_a_mask_may_be_an_array(drawn: Path) -> None:
    image = np.asarray(
        Image.open(sorted((drawn / "sheet_metal" / "train" / "good").iterdir())[0]).convert("RGB")
    )
    mask = np.zeros(image.shape[:2], bool)
    mask[10:20, 30:40] = True
    marked = Defect(image, mask).marked((96, 96))
    assert marked is not None and marked.sum() == 100
    with pytest.raises(InputError, match="the mask of an image of ndarray: mask of 96×96 pixels"):
        Defect(image, mask).marked((96, 97))


def test_masks_lie_where_those_of_a_data_set_do(drawn: Path, defects: Path, tmp_path: Path) -> None:
    of_set = open_defects(drawn / "sheet_metal" / "test_public" / "bad")
    assert of_set and all(defect.mask is not None for defect in of_set)
    assert len(open_defects(drawn / "sheet_metal" / "test_public")) == len(of_set)
    kinds = tmp_path / "kinds"
    shutil.copytree(defects, kinds / "scratch")
    shutil.copytree(defects, kinds / "dent")
    found = open_defects(kinds)
    assert len(found) == 8 and all(defect.mask is not None for defect in found)


@pytest.mark.parametrize("log_prior", [pytest.param(None, marks=pytest.mark.slow), -1.0])
def test_an_exported_model_knows_them_too(
    taught: Detector, drawn: Path, tmp_path: Path, log_prior: float | None
) -> None:
    detector = taught.clone()
    scorer = detector.pipeline_.scorer
    assert isinstance(scorer, StatisticalScorer)
    scorer.count_defects(log_prior)
    detector.calibration_ = replace(taught.calibration_, alternatives=scorer.alternatives)
    export(detector, tmp_path / "out", "onnx")
    good = sorted((drawn / "sheet_metal" / "test_public" / "good").iterdir())[0]
    images = [scratched(good, 20)[0], np.asarray(Image.open(good).convert("RGB"))]
    for ours, theirs in zip(
        detector.predict(images), load(tmp_path / "out", threads=1).predict(images), strict=True
    ):
        assert theirs.score == pytest.approx(ours.score, abs=0.01)
        np.testing.assert_allclose(theirs.map, ours.map, atol=0.02 * max(1, float(ours.map.max())))
