from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones
from tests.checkpoints import save_tiny_dinov2, save_tiny_vit

REPOSITORY = "facebook/dinov2-base"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_dinov2(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, on a machine whose hub refuses connections."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "cache"


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        backbones.load(str(path))
    assert "\n" not in str(caught.value)


def test_hash_is_of_the_weights_and_of_nothing_else(original: Path, folder: Path, tmp_path: Path) -> None:
    of_original = backbones.load(str(original)).weight_hash
    assert len(of_original) == 64
    assert backbones.load(str(folder), layers=[1]).weight_hash == of_original
    assert backbones.load(str(save_tiny_dinov2(tmp_path / "other", seed=1))).weight_hash != of_original


def test_hash_sees_a_single_changed_number(original: Path, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["layernorm.bias"][5] += 1e-6
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert backbones.load(str(folder)).weight_hash != backbones.load(str(original)).weight_hash


def test_weights_in_several_files_are_the_same_weights(original: Path, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        part = {name: weights[name] for name in names if files[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    assert backbones.load(str(folder)).weight_hash == backbones.load(str(original)).weight_hash


def test_the_weights_file_stands_for_its_folder(original: Path) -> None:
    backbone = backbones.load(str(original / "model.safetensors"))
    assert backbone.source == str(original)


def test_a_folder_without_config_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    refused(folder, "no config.json in")


def test_a_config_that_is_not_json_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    refused(folder, "cannot be read as JSON")


def test_another_architecture_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    refused(folder, "describes a 'resnet' model: a backbone is one of dinov2")


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, "no model.safetensors in .*: add the weights")


def test_pickled_weights_are_never_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "pickle, which is never read")


@pytest.mark.parametrize("keep", [0, 4, 1000, -1])
def test_truncated_weights_are_refused(folder: Path, keep: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    refused(folder, "missing, truncated or corrupt")


def test_a_missing_part_of_the_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"layernorm.bias": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "model-00001-of-00001.safetensors is missing")


def test_missing_tensors_are_refused_and_not_made_up(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.mlp.fc1.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, r"do not belong together \(1 tensors are missing, encoder.layer.1.mlp.fc1.bias")


def test_weights_of_another_width_are_refused(folder: Path, tmp_path: Path) -> None:
    wider = save_tiny_vit("Dinov2", tmp_path / "wider", hidden=48)
    shutil.copy(wider / "model.safetensors", folder / "model.safetensors")
    refused(folder, "do not belong together")


def test_a_config_with_impossible_sizes_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": "many"}))
    refused(folder, "do not belong together")


def test_without_hub_and_cache_one_line_names_both_ways_out_at_once(cache: Path) -> None:
    started = time.monotonic()
    with pytest.raises(InputError, match=r"connect once to fetch it, or give --backbone FOLDER") as caught:
        backbones.load("dinov2-base")
    assert REPOSITORY in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 8


def test_the_cache_serves_without_a_hub(cache: Path, original: Path) -> None:
    repository = cache / "models--facebook--dinov2-base"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(original, repository / "snapshots" / ("0" * 40))
    backbone = backbones.load("dinov2-base")
    assert backbone.source == REPOSITORY
    assert backbone.weight_hash == backbones.load(str(original)).weight_hash


def test_half_a_download_in_the_cache_is_as_good_as_none(cache: Path, original: Path) -> None:
    snapshot = cache / "models--facebook--dinov2-base" / "snapshots" / ("0" * 40)
    (snapshot.parent.parent / "refs").mkdir(parents=True)
    (snapshot.parent.parent / "refs" / "main").write_text("0" * 40)
    snapshot.mkdir(parents=True)
    shutil.copy(original / "config.json", snapshot)
    with pytest.raises(InputError, match="not in the hub's cache"):
        backbones.load("dinov2-base")
