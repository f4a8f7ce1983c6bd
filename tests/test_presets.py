"""Settings: overridable by dotted names, checked, and never changed in place."""

import pytest

from anomalyvfm.errors import InputError
from anomalyvfm.presets import PRESETS, GaussianPreset, flat, preset


def test_overrides_are_parsed_and_the_preset_stays() -> None:
    v2 = PRESETS["v2"]
    assert isinstance(v2, GaussianPreset)
    changed = v2.override(
        {"image.size": "384", "features.layers": "3,5", "gaussian.top": 0.1, "image.aspect": "keep"}
    )
    assert (changed.image.size, changed.features.layers) == (384, (3, 5))
    assert (changed.gaussian.top, changed.image.aspect) == (0.1, "keep")
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
        ("image.size", "31", "greater than or equal to 32"),
        ("image.aspect", "squash", "'stretch' or 'keep'"),
        ("calibration.false_alarm_rate", "0", "greater than 0"),
        ("features.layers", "two", "features.layers"),
    ],
)
def test_wrong_settings_are_one_line(key: str, value: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        PRESETS["v2"].override({key: value})
    assert "\n" not in str(raised.value)


def test_every_setting_can_be_set_to_its_own_value() -> None:
    settings = dict(flat(PRESETS["v2"].model_dump()))
    assert PRESETS["v2"].override({key: settings[key] for key in settings if key != "name"}) == PRESETS["v2"]


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'v2'"):
        preset("v22")
