"""Settings: overridable by dotted names, checked, and never changed in place."""

import json

import pytest

from anomalyvfm.errors import InputError
from anomalyvfm.presets import PRESETS, AdaptedPreset, GaussianPreset, flat, preset, stored_preset


def test_overrides_are_parsed_and_the_preset_stays() -> None:
    v2 = PRESETS["v2"]
    assert isinstance(v2, GaussianPreset)
    changed = v2.override(
        {"image.size": "384", "features.layers": "3,5", "gaussian.scales": "1,0.25", "image.aspect": "keep"}
    )
    assert (changed.image.size, changed.features.layers) == (384, (3, 5))
    assert (changed.gaussian.scales, changed.image.aspect) == ((1.0, 0.25), "keep")
    assert PRESETS["v2"].image.size is None


@pytest.mark.parametrize(("text", "value"), [("5", (5,)), ("4,5", (4, 5)), ("none", None)])
def test_layers_may_be_one_several_or_the_backbones_own(text: str, value: tuple[int, ...] | None) -> None:
    assert PRESETS["v2"].override({"features.layers": text}).features.layers == value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image.sise", "256", "did you mean 'image.size'?"),
        ("image", "256", "unknown setting 'image'"),
        ("name", "mine", "unknown setting 'name'"),
        ("image.size", "31", "setting image.size='31': Input should be greater than or equal to 32"),
        ("image.size", "8x512", "setting image.size='8x512': Input should be greater than or equal to 32"),
        ("image.size", "big", "setting image.size='big': "),
        ("image.aspect", "squash", "'stretch', 'keep' or 'auto'"),
        ("calibration.false_alarm_rate", "0", "greater than 0"),
        ("features.layers", "two", "features.layers"),
        ("gaussian.scales", "0.5,1", "give shares that fall"),
        ("gaussian.window", "3", "gaussian.window"),
    ],
)
def test_wrong_settings_are_one_line(key: str, value: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        PRESETS["v2"].override({key: value})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_can_be_set_to_its_own_value(name: str) -> None:
    settings = dict(flat(PRESETS[name].model_dump()))
    assert PRESETS[name].override(settings) == PRESETS[name]
    assert PRESETS[name].override({key: str(value) for key, value in settings.items()}) == PRESETS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_a_stored_preset_is_the_same_one(name: str) -> None:
    changed = PRESETS[name].override({"image.size": 96, "batch": 3})
    again = stored_preset(json.loads(json.dumps(changed.model_dump(mode="json"))))
    assert again == changed
    assert type(again) is type(changed)


def test_the_four_pipelines_take_518_pixels_v13_its_largest_scale_and_all_as_they_are() -> None:
    for name in ("v1.1", "v1.2", "v1.3", "v1.4"):
        chosen = PRESETS[name]
        assert isinstance(chosen, AdaptedPreset)
        assert chosen.image.size == (512 if name == "v1.3" else 518)
        assert chosen.image.exposure == "as_is"
        assert chosen.backbone == "dinov2-base"
        assert (chosen.lora.enabled, chosen.lora.dropout, chosen.synthesis.count) == (True, 0.1, 90)
        training = chosen.training
        assert (training.batch, training.learning_rate, training.weight_decay) == (32, 1e-4, 1e-5)
        assert (training.loss, training.temperature, training.rows) == ("weighted", 0.1, "summary")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lora.rank", "0"),
        ("lora.alpha", "0"),
        ("lora.dropout", "1"),
        ("lora.where", "head"),
        ("lora.enabled", "maybe"),
        ("training.epochs", "0"),
        ("training.batch", "31"),
        ("training.learning_rate", "0"),
        ("training.loss", "focal"),
        ("training.rows", "pixels"),
        ("training.precision", "fp8"),
        ("synthesis.count", "0"),
        ("synthesis.severity", "1.5"),
        ("synthesis.leave_out", "noise"),
        ("calibration.holdout", "1"),
    ],
)
def test_settings_of_the_pipelines_have_bounds(key: str, value: str) -> None:
    with pytest.raises(InputError, match=f"setting {key}=") as raised:
        PRESETS["v1.1"].override({key: value})
    assert "\n" not in str(raised.value)


def test_a_setting_of_another_preset_is_unknown() -> None:
    with pytest.raises(InputError, match=r"unknown setting 'gaussian\.patches'"):
        PRESETS["v1.1"].override({"gaussian.patches": 1})
    with pytest.raises(InputError, match=r"unknown setting 'lora\.rank'"):
        PRESETS["v2"].override({"lora.rank": 8})


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'v2'"):
        preset("v22")


def test_earlier_names_of_settings_are_still_taken() -> None:
    now = preset("v2").override({"gaussian.given": "8", "gaussian.relit_share": "0"})
    assert isinstance(now, GaussianPreset)
    assert (now.gaussian.context_dimensions, now.gaussian.light_share) == (8, 0)
