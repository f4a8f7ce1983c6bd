"""The chain: learn, judge, update, forget, merge, keep."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomalyvfm.data import ImageError
from anomalyvfm.data.generated import draw_bad, draw_good
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError, NotLearnedError
from anomalyvfm.statistical.pipeline import StatisticalPipeline
from tests.checkpoints import save_tiny_dinov2
from tests.conftest import SMALL, SMALL_IMAGES


def good(count: int, seed: int = 0, category: str = "sheet_metal") -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [draw_good(category, 96, rng) for _ in range(count)]


def bad(count: int, seed: int = 0, category: str = "sheet_metal") -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [draw_bad(category, 96, rng)[0] for _ in range(count)]


def fitted(images: list[np.ndarray], held_out: list[np.ndarray], **overrides: object) -> Detector:
    return Detector("v2", SMALL | overrides, device="cpu").fit(images, held_out)


def sums_differ(one: Detector, other: Detector) -> float:
    assert one.pipeline_.learned == other.pipeline_.learned
    ours, theirs = one.pipeline_.scorer.to_tensors(), other.pipeline_.scorer.to_tensors()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        if not tensor.is_floating_point():
            assert torch.equal(tensor, theirs[name]), name
        elif tensor.dtype == torch.float16:  # patches as they are, whose last bits depend on the batch
            torch.testing.assert_close(tensor, theirs[name], rtol=2e-3, atol=2e-3)
    return max(
        float((a - theirs[name]).norm() / theirs[name].norm())
        for name, a in ours.items()
        if a.dtype == torch.float64
    )


def scores(detector: Detector, images: list[np.ndarray]) -> list[float]:
    return [verdict.score for verdict in detector.predict(images)]


def test_defects_score_above_good_images() -> None:
    detector = fitted(good(30), good(20, seed=1))
    odd, fine = scores(detector, bad(30, seed=2)), scores(detector, good(30, seed=2))
    # At 96 px many of the drawn defects are a pixel wide; 60 images at chance stay within 0.5 ± 0.15.
    assert np.mean([[o > f for f in fine] for o in odd]) > 0.68


def test_fit_does_not_change_settings_and_is_repeatable() -> None:
    detector = Detector("v2", SMALL, device="cpu", seed=4)
    before = detector.settings
    images = good(12)
    first = scores(detector.fit(images), images[:3])
    assert detector.settings == before
    assert scores(detector.fit(images), images[:3]) == pytest.approx(first, abs=1e-6)


# As of parts that are aligned, and of others: there patches are remembered, too. And with light judged.
_KINDS = pytest.mark.parametrize(
    "kind",
    [
        {"gaussian.window": 1},
        {"gaussian.window": 2, "gaussian.experts": "all"},
        {"gaussian.window": 1, "gaussian.judge_light": True},
    ],
)


@_KINDS
def test_update_equals_fitting_on_all_images(kind: dict[str, object]) -> None:
    images, held_out = good(12), good(5, seed=1)
    updated = fitted(images[:7], held_out, **kind).update(images[7:])
    assert ("bank_0.keys" in updated.pipeline_.scorer.to_tensors()) == (kind["gaussian.window"] == 2)
    assert sums_differ(updated, fitted(images, held_out, **kind)) < 1e-6


@_KINDS
def test_forget_equals_never_having_learned(kind: dict[str, object]) -> None:
    images, held_out = good(12), good(5, seed=1)
    detector = fitted(images, held_out, **kind).forget(images[3:6])
    scratch = fitted(images[:3] + images[6:], held_out, **kind)
    assert sums_differ(detector, scratch) < 1e-6
    new = bad(3, seed=5)
    # The calibration stays, so raw distances are compared, not scores.
    distances = [
        d.pipeline_.scorer.distances(next(iter(d.pipeline_.extractor.extract(new))).features).patch_distances  # type: ignore[arg-type]
        for d in (detector, scratch)
    ]
    torch.testing.assert_close(distances[0], distances[1], rtol=1e-4, atol=1e-5)


@_KINDS
def test_merge_equals_fitting_on_both_machines_images(kind: dict[str, object]) -> None:
    images, held_out = good(14), good(6, seed=1)
    merged = fitted(images[:5], held_out[:3], **kind).merge(fitted(images[5:], held_out[3:], **kind))
    assert sums_differ(merged, fitted(images, held_out, **kind)) < 1e-6
    assert merged.calibration_.count == 20  # those learned too: three validation images are too few


def test_forgetting_what_was_not_learned_changes_nothing() -> None:
    images = good(8)
    detector = fitted(images, good(3, seed=1))
    before = detector.pipeline_.scorer.to_tensors()["patches.outer"].clone()
    with pytest.raises(InputError, match="not among the images this model learned; nothing was forgotten"):
        detector.forget([images[0], good(1, seed=9)[0]])
    with pytest.raises(InputError, match="cannot forget every image"):
        detector.forget(images)
    assert torch.equal(detector.pipeline_.scorer.to_tensors()["patches.outer"], before)


def test_models_of_other_settings_do_not_merge() -> None:
    scales = {"gaussian.scales": "1,0.5"}
    one = fitted(good(4), good(2, seed=1), **scales)
    with pytest.raises(InputError, match="their input_frame, image, grid, coarser_grids, detail_grid differ"):
        one.merge(fitted(good(4), good(2, seed=1), **scales, **{"image.size": 64}))


def test_saved_and_loaded_gives_the_same_verdicts_and_learns_on(tmp_path: Path) -> None:
    images = good(10)
    detector = fitted(images[:8], good(4, seed=1))
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model", device="cpu")
    for ours, theirs in zip(detector.predict(images), again.predict(images), strict=True):
        assert ours.score == theirs.score
        assert ours.p_value == theirs.p_value
        assert ours.own_thresholds == theirs.own_thresholds
        np.testing.assert_array_equal(ours.map, theirs.map)
    assert sums_differ(detector.update(images[8:]), again.update(images[8:])) < 1e-12
    assert sums_differ(detector.forget(images[:2]), again.forget(images[:2])) < 1e-12


def test_without_validation_every_image_is_learned_and_calibrates() -> None:
    images = good(20)
    detector = Detector("v2", SMALL, device="cpu").fit(images)
    assert detector.pipeline_.learned.total() == 20
    assert detector.calibration_.count == 20
    # Taking shares out and putting them back leaves the sums as those of a plain pass.
    plain = fitted(images, good(120, seed=1))
    assert plain.calibration_.count == 120
    assert sums_differ(detector, plain) < 1e-9


def test_cross_fitted_scores_are_those_of_models_that_have_not_seen_the_image() -> None:
    images = good(6)
    whole = Detector("v2", SMALL, device="cpu").fit(images)
    others = [fitted(images[:i] + images[i + 1 :], good(2, seed=1)) for i in range(6)]
    expected = []
    for image, other in zip(images, others, strict=True):
        (batch,) = other.pipeline_.extractor.extract([image])
        assert batch.features is not None
        expected.append(other.pipeline_.scorer.distances(batch.features).numpy()[1][0])
    np.testing.assert_allclose(
        np.sort(whole.calibration_.image_scores, axis=0), np.sort(expected, axis=0), rtol=1e-3
    )


def test_equal_images_do_not_calibrate_one_another() -> None:
    images = good(8)
    once = Detector("v2", SMALL, device="cpu").fit(images)
    doubled = Detector("v2", SMALL, device="cpu").fit(images + images)
    # A double in another fold would bring the score down to that of a learned image.
    assert np.median(doubled.calibration_.image_scores[:, 0]) > 0.8 * np.median(
        once.calibration_.image_scores[:, 0]
    )


def test_few_validation_images_are_joined_by_the_learned_ones() -> None:
    assert fitted(good(8), good(5, seed=1)).calibration_.count == 13
    settings = {"calibration.false_alarm_rate": 0.25}
    assert fitted(good(8), good(5, seed=1), **settings).calibration_.count == 5


def test_v1_holds_images_out() -> None:
    images = good(20)
    settings = SMALL_IMAGES | {"lora.enabled": False, "calibration.holdout": 0.3}
    detector = Detector("v1.1", settings, device="cpu").fit(images)
    assert detector.pipeline_.learned.total() == 14
    assert detector.calibration_.count == 6
    other = Detector("v1.1", settings, device="cpu", seed=1).fit(images)
    assert detector.pipeline_.learned != other.pipeline_.learned


def test_a_broken_image_among_good_ones_is_named_and_left_out(tmp_path: Path) -> None:
    paths = []
    for i, image in enumerate(good(6)):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    paths[2].write_bytes(paths[2].read_bytes()[:300])
    detector = Detector("v2", SMALL, device="cpu").fit(tmp_path)
    assert len(detector.pipeline_.skipped) == 1
    assert "2.png" in detector.pipeline_.skipped[0]
    assert detector.pipeline_.learned.total() == detector.calibration_.count == 5
    outcomes = [outcome for _, outcome in detector.judge(paths)]
    assert [isinstance(outcome, ImageError) for outcome in outcomes] == [i == 2 for i in range(6)]


@pytest.mark.parametrize(("count", "message"), [(0, "0 good images"), (1, "1 good image to learn")])
def test_fewer_than_two_images_are_refused(count: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Detector("v2", SMALL, device="cpu").fit(good(count))


def test_two_images_are_enough_for_finite_verdicts() -> None:
    detector = Detector("v2", SMALL, device="cpu").fit(good(2))
    values = [(v.score, v.threshold, v.p_value, float(v.map.max())) for v in detector.predict(bad(3))]
    assert np.isfinite(values).all()


def test_constant_images_are_learned_and_a_change_is_found() -> None:
    white = [np.full((64, 64, 3), 255, np.uint8)] * 6
    detector = Detector("v2", SMALL, device="cpu").fit(white)
    spotted = white[0].copy()
    spotted[20:40, 20:40] = 0
    same, changed = detector.predict([white[0], spotted])
    assert not same.anomalous
    assert changed.anomalous


def test_all_unreadable_is_one_line(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(b"no image at all")
    with pytest.raises(InputError, match=r"none of the 3 images could be read; the first: .*\.png"):
        Detector("v2", SMALL, device="cpu").fit(tmp_path)


def test_images_of_mixed_sizes_and_kinds_get_maps_of_their_own_size() -> None:
    detector = fitted(good(8), good(4, seed=1))
    rng = np.random.default_rng(0)
    shapes = [(40, 90), (200, 33, 1), (64, 64, 4)]
    for shape, verdict in zip(
        shapes,
        detector.predict([rng.integers(0, 255, shape, dtype=np.uint8) for shape in shapes]),
        strict=True,
    ):
        assert verdict.map.shape == verdict.mask.shape == shape[:2]
        assert verdict.anomalous
        assert verdict.mask.any()


def test_the_map_peaks_on_the_defect() -> None:
    detector = fitted(good(30), good(10, seed=1))
    image = good(1, seed=7)[0].copy()
    image[60:72, 20:32] = (200, 30, 30)
    verdict = detector.predict([image])[0]
    y, x = np.unravel_index(verdict.map.argmax(), verdict.map.shape)
    assert 56 <= y < 76
    assert 16 <= x < 36
    x0, y0, x1, y1 = verdict.regions[0].bbox
    assert x0 <= 26 < x1
    assert y0 <= 66 < y1
    assert verdict.regions[0].area == verdict.mask.sum()


def test_good_verdicts_have_no_regions() -> None:
    detector = fitted(good(30), good(10, seed=1))
    passed = [v for v in detector.predict(good(10, seed=3)) if not v.anomalous]
    assert passed
    assert not any(v.regions or v.mask.any() for v in passed)


@pytest.mark.parametrize("aspect", ["stretch", "keep"])
def test_tiles_and_aspect_give_a_map_where_the_defect_is(aspect: str) -> None:
    settings = {"image.size": 192, "image.tile": 96, "image.aspect": aspect}
    rng = np.random.default_rng(0)
    images = [draw_good("sheet_metal", 192, rng)[:96] for _ in range(14)]
    detector = fitted(images[:10], images[10:12], **settings)
    spoiled = images[12].copy()
    spoiled[40:60, 150:170] = 255 - spoiled[40:60, 150:170]
    map_ = detector.predict([spoiled])[0].map
    y, x = np.unravel_index(map_.argmax(), map_.shape)
    assert 30 <= y < 70
    assert 140 <= x < 180
    if aspect == "keep":
        assert detector.frame_.width > detector.frame_.height


def test_a_dinov2_folder_goes_the_same_way(tmp_path: Path) -> None:
    folder = save_tiny_dinov2(tmp_path / "dinov2")
    settings = {"backbone": str(folder), "image.size": 84, "gaussian.dimensions": 16}
    detector = Detector("v2", settings, device="cpu").fit(good(12))
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model", device="cpu")
    images = bad(2)
    assert scores(again, images) == scores(detector, images)
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="backbone"):
        Detector.load(tmp_path / "model", device="cpu")
    assert scores(Detector.load(tmp_path / "model", backbone=str(moved), device="cpu"), images) == scores(
        detector, images
    )


def test_other_weights_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_dinov2(tmp_path / "dinov2")
    Detector("v2", {"backbone": str(folder), "image.size": 84}, device="cpu").fit(good(4)).save(
        tmp_path / "model"
    )
    other = save_tiny_dinov2(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="fitted with other weights"):
        Detector.load(tmp_path / "model", backbone=str(other), device="cpu")


def test_nothing_learned_is_one_line() -> None:
    with pytest.raises(InputError, match="has learned nothing yet"):
        Detector("v2", SMALL).predict(good(1))


@pytest.mark.parametrize("other", range(4))
def test_an_image_learned_many_times_beside_another_can_be_cross_fitted(other: int) -> None:
    """Some of these are learned under another light as well, and are taken back to the last bit."""
    first, *others = good(5)
    detector = fitted([first] * 40 + [others[other]], [])
    assert detector.calibration_.count == 2
    assert np.isfinite(detector.calibration_.scores).all()


def test_a_calibration_knows_whether_it_is_of_learned_images(tmp_path: Path) -> None:
    images, held_out = good(12), good(12, seed=1)
    rate = SMALL | {"calibration.false_alarm_rate": 0.1}
    few = Detector("v2", rate, device="cpu").fit(images, held_out[:3])
    enough = Detector("v2", rate, device="cpu").fit(images, held_out)
    assert (few.calibration_.cross_fitted, enough.calibration_.cross_fitted) == (True, False)
    # Held-out scores are exchangeable with new ones, and the drift test counts them from the start.
    counted = [any(one.drift_test(1000).as_dict()["ranks"]["first"]) for one in (few, enough)]
    assert counted == [False, True]

    few.save(tmp_path / "few")
    again = Detector.load(tmp_path / "few", device="cpu")
    assert again.calibration_.cross_fitted
    assert not again.calibrate(held_out).calibration_.cross_fitted
    assert again.clone().merge(few).calibration_.cross_fitted


def test_a_model_that_is_replaced_is_freed_at_once(tmp_path: Path) -> None:
    fitted(good(8), good(3, seed=1)).save(tmp_path / "model")
    detector = Detector.load(tmp_path / "model", device="cpu")
    detector.predict(bad(2))
    pipeline = detector.pipeline_
    assert isinstance(pipeline, StatisticalPipeline)
    patches, summary = pipeline.scorer.patches[0], pipeline.scorer._summary
    sums = patches.fitted.statistics, summary.fitted.statistics
    parts = detector, pipeline, pipeline.scorer, pipeline.extractor, patches, summary, *sums
    watched = [weakref.ref(part) for part in parts]
    gc.disable()  # a process that answers for long does not look at what was loaded first
    try:
        del parts, detector, pipeline, patches, summary, sums
        assert [reference() for reference in watched] == [None] * 8
    finally:
        gc.enable()


def test_a_clone_learns_alone() -> None:
    images = good(8)
    detector = fitted(images, good(3, seed=1))
    new = good(2, seed=5)
    before = [verdict.score for verdict in detector.predict(new)]
    other = detector.clone().update(new, names=["this", "that"])
    assert [verdict.score for verdict in detector.predict(new)] == before
    assert (detector.pipeline_.learned.total(), other.pipeline_.learned.total()) == (8, 10)
    assert {"this", "that"} <= {one.name for one in other.pipeline_.gallery.images.values()}
    assert other.forget(new).pipeline_.learned == detector.pipeline_.learned
    with pytest.raises(NotLearnedError):
        detector.forget(new)


def test_what_followed_from_a_saved_detector_follows_again_to_the_last_bit(tmp_path: Path) -> None:
    """A station keeps no more of most versions than what each changed."""
    detector = fitted(good(8), good(3, seed=1))
    detector.save(tmp_path / "base")
    learned, calibrating = good(2, seed=5), good(12, seed=2)

    def follow(start: Detector) -> Detector:
        return start.update([learned[0]]).update([learned[1]]).forget([learned[0]])

    then = follow(detector.clone()).with_false_alarm_rate(0.2).calibrate(calibrating)
    then.save_calibration(tmp_path / "calibration")
    then.save(tmp_path / "then")

    again = follow(Detector.load(tmp_path / "base", device="cpu"))
    again = again.with_saved_calibration(tmp_path / "calibration")
    again.save(tmp_path / "again")
    assert (tmp_path / "then" / "model.safetensors").read_bytes() == (
        tmp_path / "again" / "model.safetensors"
    ).read_bytes()
    assert again.calibration_.false_alarm_rate == 0.2
    assert again.calibration_.threshold == then.calibration_.threshold

    with (tmp_path / "calibration" / "calibration.safetensors").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(InputError, match=r"calibration\.safetensors: truncated or changed"):
        again.with_saved_calibration(tmp_path / "calibration")
    with pytest.raises(InputError, match="no calibration here"):
        again.with_saved_calibration(tmp_path / "base")
