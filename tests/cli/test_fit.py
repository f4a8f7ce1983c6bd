"""`anomalyvfm fit` of the presets that train an adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapted import good, save_images
from tests.checkpoints import save_tiny_dinov2
from tests.cli.commands import as_json, refused, run


@pytest.fixture
def setting(tmp_path: Path) -> tuple[str, ...]:
    tiny = save_tiny_dinov2(tmp_path / "tiny")
    return ("--backbone", str(tiny), "--image-size", "56", "--device", "cpu", "--set", "synthesis.count=9")


@pytest.fixture
def walnuts(tmp_path: Path) -> Path:
    return save_images(good(6), tmp_path / "walnuts")


def test_a_fit_says_what_was_trained_and_info_repeats_it(
    walnuts: Path, tmp_path: Path, setting: tuple[str, ...]
) -> None:
    fit = ("fit", walnuts, "--out", tmp_path / "m", "--preset", "v1.2", *setting)
    said = as_json(*fit, "--set", "lora.rank=8", "--set", "training.epochs=2")
    assert said["adaptation"]["group"] == "high-texture"
    assert (said["adaptation"]["rank"], said["adaptation"]["alpha"]) == (8, 64)
    assert said["adaptation"]["synthetic"] == {"texture": 4, "structural": 3, "contextual": 2}
    assert as_json("info", tmp_path / "m")["adaptation"] == said["adaptation"]
    text = run("info", tmp_path / "m").stdout
    assert "chain, rank 8, for a high-texture category" in text
    assert "2 epochs on 5 good and 4 texture, 3 structural, 2 contextual images" in text
    assert "lora.rank=8" in text
    assert "in the first epoch" in text


def test_a_checkpoint_is_kept_and_taken_up(walnuts: Path, tmp_path: Path, setting: tuple[str, ...]) -> None:
    file = tmp_path / "state" / "training.safetensors"
    fit = ("fit", walnuts, "--preset", "v1.1", *setting, "--checkpoint", file)
    first = as_json(*fit, "--out", tmp_path / "a")
    written = file.stat().st_mtime_ns
    again = as_json(*fit, "--out", tmp_path / "b")
    assert file.stat().st_mtime_ns == written  # nothing was left to train
    assert again["adaptation"] == first["adaptation"]
    assert "from a run with other adapter" in refused(*fit, "--out", tmp_path / "c", "--set", "lora.rank=3")
    file.write_bytes(b"no such thing")
    assert f"{file}: cannot be read" in refused(*fit, "--out", tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--preset", "v1.1", "--set", "lora.rank=40"), "LoRA rank 40 with features of 32 dimensions"),
        (("--preset", "v1.1", "--set", "lora.rank=0"), "setting lora.rank='0'"),
        (("--preset", "v1.1", "--set", "training.batch=7"), "setting training.batch='7'"),
        (("--preset", "v1.1", "--set", "synthesis.severity=2"), "setting synthesis.severity='2'"),
        (("--preset", "v1.1", "--set", "lora.where=inside"), "setting lora.where='inside'"),
        (("--preset", "v1.3", "--set", "lora.where=encoder"), "v1.3 joins features of several scales"),
        (("--preset", "v1.1", "--set", "gaussian.top=1"), "unknown setting 'gaussian.top'"),
        (("--preset", "v2", "--checkpoint", "x"), "--checkpoint: v2 with these settings trains nothing"),
        (
            ("--preset", "v1.1", "--set", "lora.enabled=false", "--checkpoint", "x"),
            "--checkpoint: v1.1 with these settings trains nothing",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    settings: tuple[str, ...], message: str, walnuts: Path, tmp_path: Path, setting: tuple[str, ...]
) -> None:
    rest = setting if "v2" not in settings else setting[:-2]
    assert message in refused("fit", walnuts, "--out", tmp_path / "m", *rest, *settings)
    assert not (tmp_path / "m").exists()


def test_too_few_images_are_one_line(tmp_path: Path, setting: tuple[str, ...]) -> None:
    for count, message in ((1, "1 good image to learn from"), (2, "1 good image to train on")):
        folder = save_images(good(count), tmp_path / f"can{count}")
        fit = ("fit", folder, "--out", tmp_path / "m", "--preset", "v1.4", *setting)
        assert message in refused(*fit)


def test_a_backbone_without_attention_is_one_line(walnuts: Path, tmp_path: Path) -> None:
    lite = ("--backbone", "efficientnet-lite0", "--image-size", "64", "--device", "cpu")
    fit = ("fit", walnuts, "--out", tmp_path / "m", "--preset", "v1.1", *lite)
    assert "has no attention to put LoRA into" in refused(*fit, "--set", "lora.where=encoder")


def test_without_a_backbone_one_is_chosen_and_named(drawn: Path, tmp_path: Path) -> None:
    good = drawn / "sheet_metal" / "train" / "good"
    result = run("fit", good, "--out", tmp_path / "m", "--image-size", 96, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("backbone efficientnet-lite0: the best that this machine runs at speed")
    assert as_json("info", tmp_path / "m")["settings"]["backbone"] == "efficientnet-lite0"
