"""Pipelines as data: every setting of a preset, its meaning, its bounds, and how to override it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from typing_extensions import Self

from anomalyvfm.errors import InputError


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Side = Annotated[int, Field(ge=32, le=8192)]
Aspect = Literal["stretch", "keep", "auto"]


class ImageSettings(_Settings):
    """From file to backbone input."""

    size: Side | tuple[Side, Side] | None = Field(
        None,
        description="side of the square (or equal area) an image is resized to, px, or WIDTHxHEIGHT; none:"
        " the backbone's own",
    )
    aspect: Aspect = Field(
        "stretch",
        description="stretch to the frame, keep the shape and pad, or auto: keep where one side is over"
        " twice the other",
    )
    exposure: Literal["as_is", "standard"] = Field(
        "standard", description="one brightness and contrast for every image, or pixels as they are"
    )
    tile: int = Field(
        0, ge=0, le=8192, description="side of the tiles the backbone sees, px; 0: the whole frame at once"
    )
    overlap: float = Field(0.25, ge=0, lt=1, description="share of a tile that its neighbour sees too")
    white_level: int = Field(65535, ge=1, le=65535, description="16-bit grey value that counts as white")
    max_pixels: int = Field(178_000_000, ge=1, description="larger images are refused before decoding")

    @field_validator("size", mode="before")
    @classmethod
    def _sides(cls, value: Any) -> Any:
        """512x128 as the two sides it names."""
        if isinstance(value, str) and "x" in value.lower():
            return tuple(part.strip() for part in value.lower().split("x"))
        return value


def one_as_list(value: Any) -> Any:
    """A single value, as a command line gives it, as the list that it stands for."""
    return [value] if isinstance(value, str | int | float) else value


class FeatureSettings(_Settings):
    """What is taken from the backbone."""

    layers: tuple[int, ...] | None = Field(
        None, description="backbone layers to join; none: the backbone's own choice"
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: Any) -> Any:
        return one_as_list(value)


class GaussianSettings(_Settings):
    """The Gaussians of positions at each scale, and that of the image as a whole."""

    scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (1.0, 0.5),
        min_length=1,
        description="sizes at which an image is seen, as shares of the frame's sides, the largest first",
    )
    window: Literal[1, 2, 4, 8, 16] | None = Field(
        None,
        description="so many positions a side are learned as one; none: chosen by the density of good images",
    )
    experts: Literal["auto", "all", "fine", "coarse"] = Field(
        "auto",
        description="which scales judge an image; auto: chosen by how well they tell drawn defects",
    )
    bank: Literal["auto", "never"] = Field(
        "auto",
        description="whether patches are compared with remembered ones; auto: where parts are not aligned",
    )
    widen: Literal["auto", "never"] = Field(
        "auto",
        description="whether what is odd reaches half-way to the patches beside it; auto: where parts are"
        " not aligned",
    )
    dimensions: int | None = Field(
        None, ge=1, description="feature dimensions kept by a random projection; none: as many as fit max_mb"
    )
    max_mb: float = Field(125.0, gt=0, description="bound on the size of the stored sums, MB")
    context_dimensions: int = Field(
        0, ge=0, description="random directions of the image's summary that positions are conditioned on"
    )
    light_share: float = Field(
        0.25, ge=0, le=1, description="share of the good images that is learned under another light, too"
    )
    light_weight: float = Field(
        0.3,
        gt=0,
        description="weight of how features change with the light, where parts are aligned",
    )
    prior_images: float = Field(20.0, gt=0, description="weight of the pooled covariance, counted in images")
    patches: int = Field(
        5, ge=1, description="so many patches, the oddest, make a scale's score of the image"
    )
    summary_weight: float | None = Field(
        None,
        ge=0,
        description="weight of the summary's distance beside the coarsest scale's, where parts are aligned;"
        " none: the more, the more images are learned",
    )
    judge_light: bool = Field(
        False,
        description="whether brightness, contrast and colour of the image as it was taken are judged, too",
    )

    @field_validator("scales", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: Any) -> Any:
        return one_as_list(value)

    @field_validator("window", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("scales", mode="after")
    @classmethod
    def _the_largest_first(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value[0] != 1 or any(a <= b for a, b in pairwise(value)):
            raise ValueError("give shares that fall, the first of them 1, as in 1,0.5")
        return value


class GallerySettings(_Settings):
    """Good images kept in the model, small, to show beside odd places."""

    images: int = Field(
        100,
        ge=0,
        le=1000,
        description="at most so many, 0.12 MB each at 256 px; 0: the model holds no picture",
    )


class CalibrationSettings(_Settings):
    """From scores of good images to decisions."""

    false_alarm_rate: float = Field(0.01, gt=0, lt=1, description="share of good images that may be rejected")
    pixel_rate: float = Field(0.01, gt=0, lt=1, description="share of good pixels above the outline's level")
    groups: str = Field(
        "alike",
        description="images of one group, as of a part or a shift, are not independent: those alike, and"
        " where the rule is folder those of a folder, or a pattern of file names with {} for the group and"
        " * for anything, such as {}_*",
    )

    @field_validator("groups", mode="after")
    @classmethod
    def _rule_or_pattern(cls, value: str) -> str:
        if value in ("alike", "folder"):
            return value
        if value.count("{}") != 1 or "/" in value or "**" in value or "*{}" in value or "{}*" in value:
            raise ValueError(
                "alike, folder, or a pattern of file names with {} once, * anywhere and text in between,"
                " such as {}_*"
            )
        return value


class HoldoutSettings(CalibrationSettings):
    """Scores of good images that are not learned."""

    holdout: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the good images kept for calibration when there is no validation folder",
    )


class CrossFittingSettings(CalibrationSettings):
    """Scores of the learned images themselves, each without its own share in what was learned."""

    images: int = Field(1000, ge=2, description="at most so many learned images are judged that way")


class RegionSettings(_Settings):
    """Which odd regions count; an image of none is good, whatever its score."""

    min_level: float = Field(
        0.0, ge=0, description="the peak a region must reach, in standard deviations of good pixels"
    )
    min_area: int = Field(0, ge=0, description="the area a region must have, in pixels of the image")


class LoraSettings(_Settings):
    """Low-rank adaptation of the features."""

    enabled: bool = Field(True, description="off: the frozen features, as a baseline")
    where: Literal["features", "encoder"] = Field(
        "features", description="layers after the backbone, or inside a transformer's attention (peft)"
    )
    rank: int | None = Field(None, ge=1, description="of the updates; none: the version's for the category")
    alpha: float | None = Field(
        None, gt=0, description="updates are scaled by alpha / rank; none: the version's for the category"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share of an update's elements dropped in training")
    dora: bool = Field(False, description="inside the encoder: learn direction and length apart (DoRA)")


class TrainingSettings(_Settings):
    """How the adapter is trained."""

    epochs: int | None = Field(None, ge=1, description="none: the version's for the category")
    batch: int = Field(
        32, ge=2, multiple_of=2, description="rows a step, half of them normal and half synthetic"
    )
    learning_rate: float = Field(1e-4, gt=0, description="of AdamW")
    weight_decay: float = Field(1e-5, ge=0, description="of AdamW")
    loss: Literal["weighted", "confidence-map"] = Field(
        "weighted", description="elements weighted by the head's confidence, or by a map it predicts"
    )
    temperature: float = Field(0.1, gt=0, description="of the weighted loss")
    rows: Literal["summary", "patches"] = Field(
        "summary", description="learn from whole images, or from every patch and its mask"
    )
    parts: int = Field(
        1, ge=1, description="a batch is taken in that many parts, their gradients added up, for less memory"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="of matrix products")

    @field_validator("parts", mode="after")
    @classmethod
    def _a_pair_each(cls, value: int, info: ValidationInfo) -> int:
        batch = info.data.get("batch", 2 * value)
        if value > batch // 2:
            raise ValueError(f"a batch of {batch} has {batch // 2} pairs; give 1 to {batch // 2} parts")
        return value


class SynthesisSettings(_Settings):
    """The synthetic defects the adapter is trained against."""

    count: int = Field(90, ge=1, description="synthetic images a category")
    severity: float = Field(1.0, gt=0, le=1, description="how strong the defects are, 1: as in the pipelines")
    leave_out: Literal["texture", "structural", "contextual"] | None = Field(
        None, description="a stage to do without, as in an ablation"
    )


# What models and commands of earlier days call settings; both are still read.
_RENAMED = {
    "gaussian.given": "gaussian.context_dimensions",
    "gaussian.relit_share": "gaussian.light_share",
    "gaussian.relit_weight": "gaussian.light_weight",
}


class Preset(_Settings):
    """What the settings of all pipelines have in common. Immutable; :meth:`override` gives a changed copy."""

    name: str
    backbone: str = Field("dinov2-base", description="name, or folder in the model hub's format")
    batch: int = Field(
        8,
        ge=1,
        le=4096,
        description="images of 512 px per backbone call; of smaller ones up to four times as many",
    )
    image: ImageSettings = ImageSettings()
    features: FeatureSettings = FeatureSettings()
    calibration: CalibrationSettings
    regions: RegionSettings = RegionSettings()

    @property
    def detail(self) -> bool:
        """Whether the backbone is asked for an earlier layer, too, where it has one on a finer grid."""
        return False

    def override(self, settings: Mapping[str, Any]) -> Self:
        """A copy with dotted settings replaced, e.g. ``{"image.size": 256}``; text values are parsed.

        Raises InputError for a setting that does not exist (naming the nearest) or a value out of bounds.
        """
        data = self.model_dump()
        known = dict(flat(data))
        settings = {_RENAMED.get(key, key): value for key, value in settings.items()}
        for key, value in settings.items():
            if key not in known:
                raise InputError(
                    f"unknown setting {key!r}{nearest(key, known)}; `--set` takes one of: {', '.join(known)}"
                )
            *path, leaf = key.split(".")
            room = data
            for part in path:
                room = room[part]
            room[leaf] = _parsed(value)
        try:
            return type(self).model_validate(data)
        except ValidationError as error:
            found = error.errors()
            # Of a setting that may have several types, what is wrong with the one that was meant.
            worst = next((one for one in found if not one["type"].endswith("_type")), found[0])
            place = [str(part) for part in worst["loc"]]
            names = (".".join(place[:length]) for length in range(len(place), 0, -1))
            name = next((name for name in names if name in known), ".".join(place))
            value = settings.get(name, worst["input"])
            raise InputError(f"setting {name}={value!r}: {worst['msg']}") from None


class GaussianPreset(Preset):
    """v2: a Gaussian at every position, beside one of the image as a whole."""

    backbone: str = Field(
        "auto",
        description="name, or folder in the model hub's format; auto: dinov2-base where a GPU and its weights"
        " are at hand, else efficientnet-lite0",
    )
    image: ImageSettings = ImageSettings(aspect="auto")
    gaussian: GaussianSettings = GaussianSettings()
    gallery: GallerySettings = GallerySettings()
    calibration: CrossFittingSettings = CrossFittingSettings()

    @property
    def detail(self) -> bool:
        return True


class AdaptedPreset(Preset):
    """v1.1 to v1.4: features adapted against synthetic defects, and one Gaussian for all of them."""

    image: ImageSettings = ImageSettings(size=518, exposure="as_is")
    lora: LoraSettings = LoraSettings()
    training: TrainingSettings = TrainingSettings()
    synthesis: SynthesisSettings = SynthesisSettings()
    calibration: HoldoutSettings = HoldoutSettings()


def flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested settings, as `--set` takes them."""
    for key, value in data.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        elif prefix or key != "name":
            yield f"{prefix}{key}", value


def _parsed(value: Any) -> Any:
    """Command-line text to the value it spells; lists are comma-separated."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("none", "null"):
        return None
    if "," in value:
        return [part for part in value.strip("()[]").split(",") if part]
    return value


def nearest(word: str, known: Mapping[str, Any] | tuple[str, ...] | list[str]) -> str:
    """', did you mean …?' for a word close to a known one, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


PRESETS: dict[str, Preset] = {
    "v1.1": AdaptedPreset(name="v1.1"),
    "v1.2": AdaptedPreset(name="v1.2"),
    # The largest of the three sizes at which it sees an image.
    "v1.3": AdaptedPreset(name="v1.3", image=ImageSettings(size=512, exposure="as_is")),
    "v1.4": AdaptedPreset(name="v1.4"),
    "v2": GaussianPreset(name="v2"),
}


def preset(name: str) -> Preset:
    """The preset of that name; InputError names the nearest for an unknown one."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}{nearest(name, PRESETS)}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


def stored_preset(settings: Mapping[str, Any]) -> Preset:
    """The preset that `model_dump` wrote down, as found in a model."""
    return preset(settings["name"]).override(dict(flat(settings)))
