"""`anomalyvfm fit` of the presets that train an adapter."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.detector import Detector
from tests.checkpoints import save_tiny_dinov2
from tests.cli.commands import QUICK, as_json, refused, run
from tests.quick_detectors import good, save_images


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
        (("--preset", "v1.1", "--set", "gaussian.patches=1"), "unknown setting 'gaussian.patches'"),
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


def test_copies_of_an_image_back_no_promise(drawn: Path, tmp_path: Path) -> None:
    good = sorted((drawn / "sheet_metal" / "train" / "good").iterdir())
    for folder, originals in (("one", 1), ("five", 5)):
        (tmp_path / folder).mkdir()
        for number in range(100):
            shutil.copy(good[number % originals], tmp_path / folder / f"{number}.png")
        result = run("fit", tmp_path / folder, "--out", tmp_path / f"m-{folder}", *QUICK)
        assert f"{100 - originals} of 100 images are copies of others" in result.stderr
        info = as_json("info", tmp_path / f"m-{folder}")
        assert (info["fitted_on"]["images"], info["fitted_on"]["different"]) == (100, originals)
        assert info["calibration"]["images"] == originals
        assert not info["calibration"]["promised"]
        assert info["calibration"]["threshold"] > 1
    validated = Detector("v2", {"backbone": "efficientnet-lite0", "image.size": 96}, device="cpu").fit(
        good, [good[0]] * 120
    )
    assert not validated.calibration_.promised


def test_defects_among_the_good_images_are_named(drawn: Path, tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(drawn / "sheet_metal" / "train" / "good", tmp_path / "mixed"))
    image = np.asarray(Image.open(mixed / "000_regular.png")).copy()
    image[30:60, 20:70] = (180, 20, 20)
    Image.fromarray(image).save(mixed / "spoiled.png")
    result = run("fit", mixed, "--out", tmp_path / "m", *QUICK)
    assert result.exit_code == 0, result.output
    assert "warning: look at spoiled.png (" in result.stderr
    assert "\noddest     spoiled.png " in result.stdout
    oddest = as_json("info", tmp_path / "m")["fitted_on"]["oddest"]
    assert len(oddest) == 10
    assert oddest[0]["image"] == "spoiled.png"
    loaded = Detector.load(tmp_path / "m", device="cpu")
    assert [name for name, _ in loaded.outlying()] == ["spoiled.png"]
    clean = run("fit", drawn / "sheet_metal" / "train" / "good", "--out", tmp_path / "clean", *QUICK)
    assert "look at" not in clean.stderr


def test_images_that_use_little_of_the_range_are_told_which_setting_it_takes(
    drawn: Path, tmp_path: Path
) -> None:
    (tmp_path / "dark").mkdir()
    for number, path in enumerate(sorted((drawn / "sheet_metal" / "train" / "good").iterdir())):
        twelve_bit = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 16
        Image.fromarray(twelve_bit).save(tmp_path / "dark" / f"{number}.png")
    said = run("fit", tmp_path / "dark", "--out", tmp_path / "m", *QUICK).stderr
    assert "of 255; where the camera gives 10 or 12 bits, add --set image.white_level=1023 or 4095" in said
    white = ("--set", "image.white_level=4095")
    said = run("fit", tmp_path / "dark", "--out", tmp_path / "m2", *QUICK, *white).stderr
    assert "white_level" not in said


def test_files_left_out_are_counted_and_named(drawn: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(drawn / "sheet_metal" / "train" / "good", tmp_path / "data"))
    for number in range(6):
        (data / f"{number}.gif").write_bytes(b"")
    (data / "gone.png").symlink_to("nowhere")
    for command in (("fit", data), ("predict", tmp_path / "m", data)):
        options = QUICK if command[0] == "fit" else ()
        out = tmp_path / ("m" if command[0] == "fit" else "p")
        said = run(*command, "--out", out, *options).stderr
        assert (
            "left out 7 of 27 files that are no images: 0.gif, 1.gif, 2.gif, 3.gif, 4.gif and 2 more" in said
        )


def test_what_the_backbone_sees_is_said_where_it_is_not_what_was_asked(drawn: Path, tmp_path: Path) -> None:
    good = drawn / "sheet_metal" / "train" / "good"
    (tmp_path / "long").mkdir()
    for path in good.iterdir():
        Image.open(path).resize((500, 40)).save(tmp_path / "long" / path.name)

    def said(name: str, data: Path, *options: object) -> str:
        result = run("fit", data, "--out", tmp_path / name, *QUICK[2:], *options)
        assert result.exit_code == 0, result.output
        return result.stderr

    assert "their shape is kept, at 336×32 px" in said("a", tmp_path / "long", "--image-size", 96)
    assert "--image-size 50×50 becomes 48×48" in said("b", good, "--image-size", 50)
    tiled = said("c", good, "--image-size", 96, "--set", "image.tile=128")
    assert "image.tile=128 is no smaller than the 96×96 px seen, and changes nothing" in tiled
    assert "note" not in said("d", good, "--image-size", "128x64")
    frame = as_json("info", tmp_path / "d")["input_frame"]
    assert (frame["width"], frame["height"]) == (128, 64)
    assert as_json("predict", tmp_path / "d", good, "--out", tmp_path / "p")["errors"] == 0


def test_unlabelled_images_are_sorted_first_and_the_odd_ones_named(drawn: Path, tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(drawn / "sheet_metal" / "train" / "good", tmp_path / "mixed"))
    image = np.asarray(Image.open(mixed / "000_regular.png")).copy()
    image[30:60, 20:70] = (180, 20, 20)
    Image.fromarray(image).save(mixed / "spoiled.png")
    result = run("fit", mixed, "--out", tmp_path / "m", "--unlabelled", *QUICK)
    assert result.exit_code == 0, result.output
    assert "set aside as the most unlike the others: spoiled.png (" in result.stderr
    assert "look at spoiled.png" not in result.stderr
    assert "\nset aside  spoiled.png " in result.stdout
    aside = as_json("info", tmp_path / "m")["fitted_on"]["set_aside"]
    assert aside[0]["image"] == "spoiled.png"
    plain = run("fit", mixed, "--out", tmp_path / "plain", *QUICK)
    assert "set aside" not in plain.stderr + plain.stdout


def test_an_odd_share_of_labelled_images_is_refused(drawn: Path, tmp_path: Path) -> None:
    good = drawn / "sheet_metal" / "train" / "good"
    assert "--unlabelled" in refused("fit", good, "--out", tmp_path / "m", "--odd-share", "0.1")
