"""Models on disk: whole or not at all, and refused when not as written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from anomalyvfm.errors import InputError
from anomalyvfm.model_folder import read_description, read_tensors, write_model


@pytest.fixture
def model(fitted_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted_folder, tmp_path / "model"))


def edit(model: Path, change: Callable[[dict[str, object]], object]) -> None:
    body = json.loads((model / "model.json").read_text())
    change(body)
    (model / "model.json").write_text(json.dumps(body))


def test_a_whole_model_reads_back(model: Path) -> None:
    description = read_description(model)
    assert description["settings"]["backbone"] == "efficientnet-lite0"
    assert read_tensors(model, description)["learned"].numel() == description["fitted_on"]["images"]
    assert sorted(p.name for p in model.glob("[!.]*")) == ["model.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: (m / "model.json").unlink(), "no model here"),
        (lambda m: (m / "model.json").write_text("{"), "not readable as JSON"),
        (lambda m: (m / "model.json").write_text("[]"), "not a model of AnomalyVFM"),
        (lambda m: edit(m, lambda b: b.update(schema_version=99)), "newer AnomalyVFM"),
        (
            lambda m: edit(m, lambda b: b.update(schema_version=1)),
            "written by an older AnomalyVFM .* fit it anew",
        ),
        (lambda m: edit(m, lambda b: b.update(seed=99)), "changed since it was written"),
        (lambda m: (m / "model.safetensors").unlink(), "cannot be read"),
        (lambda m: os.truncate(m / "model.safetensors", 1000), "truncated or changed"),
        (lambda m: flip_a_bit(m / "model.safetensors"), "truncated or changed"),
    ],
)
def test_what_is_not_as_written_is_one_line(
    model: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(model)
    with pytest.raises(InputError, match=message) as raised:
        read_tensors(model, read_description(model))
    assert "\n" not in str(raised.value)
    assert str(model) in str(raised.value)


def flip_a_bit(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(-100, os.SEEK_END)
        byte = stream.read(1)
        stream.seek(-100, os.SEEK_END)
        stream.write(bytes([byte[0] ^ 1]))


def test_what_safetensors_could_not_write_is_one_line(
    fitted_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch
    from safetensors import SafetensorError

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    description = read_description(fitted_folder)
    tensors = read_tensors(fitted_folder, description)
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(InputError, match=r"cannot be written .*No space left on device"):
        write_model(tmp_path / "out", description, tensors)
    assert list(tmp_path.iterdir()) == []


def test_another_user_can_read_a_model(fitted_folder: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in fitted_folder.iterdir()}
    assert len(modes) == 1
