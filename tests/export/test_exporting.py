"""Exported graphs judge as the detectors they were made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from anomalyvfm.data import InputFrame
from anomalyvfm.data.views import standard_exposure as standard_exposure_of_one
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.export import assembling, exporting, quantising
from anomalyvfm.export.exporting import _Attempts, _stored_in_half, compare, export
from anomalyvfm.export.graph import JudgingGraph, resized, standard_exposure
from anomalyvfm.export.halving import PARTS
from anomalyvfm.export.writing import write_graph
from anomalyvfm.runtime import judge, load
from anomalyvfm.sealed import seal
from anomalyvfm.synthesis.patch import Image8
from tests.checkpoints import save_tiny_dinov2
from tests.conftest import SMALL, SMALL_IMAGES
from tests.quick_detectors import good, quick


def fitted(version: str = "v2", **overrides: object) -> Detector:
    small = SMALL if version == "v2" else SMALL_IMAGES
    settings = {**small, **{key.replace("__", "."): value for key, value in overrides.items()}}
    return Detector(version, settings, device="cpu").fit(good(8), good(4, seed=1))


def agree(detector: Detector, folder: Path, images: Sequence[Image8]) -> None:
    for ours, theirs in zip(detector.predict(images), load(folder, threads=1).predict(images), strict=True):
        assert theirs.score == pytest.approx(ours.score, abs=0.01)
        assert theirs.p_value == pytest.approx(ours.p_value, abs=1e-6)
        assert theirs.anomalous == ours.anomalous
        assert theirs.threshold == ours.threshold
        assert theirs.size == ours.size
        assert (theirs.own_thresholds is None) is not ours.anomalous
        assert theirs.own_thresholds == (ours.own_thresholds and pytest.approx(ours.own_thresholds, rel=0.02))
        np.testing.assert_allclose(theirs.map, ours.map, atol=0.02 * max(1, float(ours.map.max())))
        np.testing.assert_allclose(theirs.summary, ours.summary, atol=0.05)
        assert [region.bbox for region in theirs.regions] == [region.bbox for region in ours.regions]
        assert all(region.reason is None for region in theirs.regions)


def some(side: int = 56) -> list[Image8]:
    spoiled = good(1, seed=5, side=side)[0].copy()
    spoiled[10:30, 10:40] = (200, 30, 30)
    return [*good(2, seed=4, side=side), spoiled, good(1, seed=6, side=side)[0][: side // 2]]


@pytest.mark.slow
def test_v2_with_tiles_and_its_shape_kept(tmp_path: Path) -> None:
    detector = fitted(image__aspect="keep", image__exposure="as_is", image__tile=64, gaussian__dimensions=40)
    manifest = export(detector, tmp_path / "out", "onnx")
    assert manifest["parity"]["images"] == 8  # those the model keeps
    assert manifest["parity"]["score"] < exporting.MOST_DIFFERENT
    agree(detector, tmp_path / "out", some())
    takes_any_number_and_size(detector, tmp_path / "out" / "model.onnx")


def test_activations_work_in_place_again_whatever_became_of_the_recording() -> None:
    network = torch.nn.Sequential(torch.nn.ReLU6(inplace=True), torch.nn.ReLU6())
    with pytest.raises(ZeroDivisionError), assembling._not_in_place(network):
        assert [activation.inplace for activation in network] == [False, False]
        raise ZeroDivisionError
    assert [activation.inplace for activation in network] == [True, False]


def test_a_backbone_that_cannot_be_recorded_is_said_in_one_line(
    fitted_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    judged = JudgingGraph.forward

    def by_values(graph: JudgingGraph, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return judged(graph, pixels + 1 if pixels.sum() > 3 else pixels)

    monkeypatch.setattr(JudgingGraph, "forward", by_values)
    with pytest.raises(InputError, match="torch cannot record this model") as refused:
        export(Detector.load(fitted_folder, device="cpu"), tmp_path / "out", "onnx")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists() and capfd.readouterr() == ("", "")


def test_openvino_judges_as_the_detector(
    fitted_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector.load(fitted_folder, device="cpu")
    export(detector, tmp_path / "out", "openvino")
    agree(detector, tmp_path / "out", some(96))
    runtime = load(tmp_path / "out", threads=2)
    images = [*good(9, seed=2, side=96), *some(80), *good(8, seed=3, side=96)]
    alone = [runtime.predict([image])[0] for image in images]
    for one, same in zip(alone, runtime.predict(images), strict=True):
        assert same.score == pytest.approx(one.score, abs=1e-4)
        np.testing.assert_allclose(same.anomaly_map, one.anomaly_map, atol=1e-3)
        np.testing.assert_array_equal(same.summary, one.summary)
    # Without Pillow the graph resizes and exposes, and may round a grey level otherwise.
    monkeypatch.setattr(judge, "find_spec", lambda name: None)
    without = load(tmp_path / "out", threads=2)
    for one, same in zip(alone, without.predict(images), strict=True):
        assert same.score == pytest.approx(one.score, abs=0.01 if one.size == (96, 96) else 0.3)
    monkeypatch.undo()
    # Nor does an export of before, which names no views, take any.
    body = json.loads((tmp_path / "out" / "export.json").read_text(encoding="utf-8"))
    del body["views"]
    without_views = json.dumps({**body, "sha256": seal(body)})
    (tmp_path / "out" / "export.json").write_text(without_views, encoding="utf-8")
    for one, same in zip(alone, load(tmp_path / "out").predict(images), strict=True):
        assert same.score == pytest.approx(one.score, abs=0.01 if one.size == (96, 96) else 0.3)


def test_onnxruntime_judges_as_the_detector(fitted_folder: Path, exported_folder: Path) -> None:
    detector = Detector.load(fitted_folder, device="cpu")
    agree(detector, exported_folder, some(96))
    takes_any_number_and_size(detector, exported_folder / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v1.1", "v1.2", "v1.3", "v1.4"])
def test_adapters_and_scales_are_in_the_graph(version: str, tmp_path: Path) -> None:
    backbone = save_tiny_dinov2(tmp_path / "dinov2")
    detector = quick(version, backbone).fit(good(10), good(4, seed=1))
    with pytest.raises(InputError, match="give some by --images"):
        export(detector, tmp_path / "out", "onnx")
    export(detector, tmp_path / "out", "onnx", images=good(4, seed=2))
    agree(detector, tmp_path / "out", some())


def takes_any_number_and_size(detector: Detector, path: Path) -> None:
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    assert names == ["score", "p_value", "grid", "map", "summary"]
    for count, size in ((1, (96, 96)), (3, (50, 90)), (2, (150, 101))):
        images = np.stack(
            [np.array(Image.fromarray(image).resize(size[::-1])) for image in good(count, seed=3)]
        )
        outputs = dict(zip(names, session.run(None, {"images": images}), strict=True))
        assert outputs["map"].shape == (count, *size)
        for row, verdict in enumerate(detector.predict(list(images))):
            # The graph's own resizing may round a grey level otherwise.
            assert outputs["score"][row] == pytest.approx(verdict.score, abs=0.3)
            expected = detector.frame_.restore(outputs["grid"][row], size)
            np.testing.assert_allclose(outputs["map"][row], expected, atol=2e-3, rtol=1e-4)


def test_exposure_and_resizing_are_those_of_the_extractor() -> None:
    images = np.stack(some()[:3])
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    ours = standard_exposure(planes).permute(0, 2, 3, 1).numpy().astype(int)
    theirs = np.stack([standard_exposure_of_one(image) for image in images]).astype(int)
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() < 1e-3
    small = resized(planes, (56, 56), (28, 42)).permute(0, 2, 3, 1).numpy().astype(int)
    placed = np.stack([InputFrame(28, 42).place(image) for image in images]).astype(int)
    assert np.abs(small - placed).max() <= 1
    assert (small != placed).mean() < 0.02


def test_half_precision_keeps_scores_and_leaves_out_what_would_change_them(
    fitted_folder: Path, exported_folder: Path, tmp_path: Path
) -> None:
    detector = Detector.load(fitted_folder, device="cpu")
    model = onnx.load(exported_folder / "model.onnx")
    shown = some(96)
    attempts = _Attempts(detector, "onnx", tmp_path)
    smaller, kept = _stored_in_half(model, load(exported_folder).predict(shown), shown, attempts)
    assert set(kept) < set(PARTS)
    assert compare(detector.predict(shown), attempts.loaded(smaller), shown).score < 0.01
    (tmp_path / "half").mkdir()
    write_graph(smaller, tmp_path / "half", "onnx")
    before = (exported_folder / "model.onnx").stat().st_size
    assert (tmp_path / "half" / "model.onnx").stat().st_size < 0.9 * before


def test_a_graph_that_judges_otherwise_is_not_written(
    fitted_folder: Path, exported_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(exported_folder / "model.onnx")
    offset = next(node for node in model.graph.node if "score" in node.output)
    offset.output[0] = "score_before"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.1), "off"))
    place = list(model.graph.node).index(offset)
    model.graph.node.insert(place + 1, onnx.helper.make_node("Add", ["score_before", "off"], ["score"]))
    monkeypatch.setattr(exporting, "assemble", lambda *_, **__: model)
    with pytest.raises(InputError, match=r"not written, for the exported graph does not judge as the model"):
        export(Detector.load(fitted_folder, device="cpu"), tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()


def test_eight_bits_are_taken_or_refused_by_what_they_cost(
    exported_folder: Path, fitted_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector.load(fitted_folder, device="cpu")
    exact, model = load(exported_folder), onnx.load(exported_folder / "model.onnx")
    images = good(12, seed=8, side=96)
    attempts = _Attempts(detector, "onnx", tmp_path)
    monkeypatch.setattr(quantising, "PLANS", quantising.PLANS[-1:])
    monkeypatch.setattr(quantising, "MOST_LOST", 1.0)
    smaller, cost = quantising.quantised(model, images, exact, attempts.loaded, tmp_path, 0)
    assert 0 <= cost["auroc_int8"] <= 1
    assert any(node.op_type == "QuantizeLinear" for node in smaller.graph.node)
    before, after = (
        [verdict.score for verdict in judge.predict(images)] for judge in (exact, attempts.loaded(smaller))
    )
    # Else every image would look odd, and the threshold promise nothing.
    assert np.mean(after) == pytest.approx(np.mean(before), abs=1e-3)
    assert np.std(after) == pytest.approx(np.std(before), abs=1e-3)
    monkeypatch.setattr(quantising, "MOST_LOST", -1.0)
    with pytest.raises(InputError, match=r"int8 would cost -?0\.\d{4} of the image AUROC"):
        quantising.quantised(model, images, exact, attempts.loaded, tmp_path, 0)
