"""Options that several commands take, what their text means, and the two ways to print a result."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from anomalyvfm.errors import InputError

if TYPE_CHECKING:
    from anomalyvfm.data.roi import Roi

# Either a function or the command click made of it.
_Command = TypeVar("_Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


class _Place(click.Path):
    """A path, or as text an address in a store, such as s3://bucket/good."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        if isinstance(value, str) and "://" in value:
            return value
        return Path(str(super().convert(value, param, ctx)))


PLACE = _Place()

weights_moved = click.option(
    "--backbone", help="Where the backbone's weights are now, if they have moved since the fit."
)


def common(command: _Command) -> _Command:
    """The options every command takes."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else."),
        click.option(
            "--device",
            default="auto",
            show_default=True,
            help="auto (the fastest there is), cpu, openvino (also the CPU), cuda, mps.",
        ),
        click.option(
            "--seed",
            default=0,
            show_default=True,
            type=click.IntRange(0),
            help="Seed of every random choice.",
        ),
    ):
        command = option(command)
    return command


def out(**settings: Any) -> Callable[[_Command], _Command]:
    """Where results go, and whether they may replace what is there."""
    place = click.option("--out", type=PATH, help="A new folder.", **(settings or {"required": True}))
    overwrite = click.option(
        "--overwrite", is_flag=True, help="Replace what an earlier run wrote to --out; nothing else."
    )
    return lambda command: place(overwrite(command))


def log_to(command: _Command) -> _Command:
    """Where else what was measured is to go."""
    return click.option(
        "--log",
        metavar="TARGET",
        help="Also log what was measured: mlflow:EXPERIMENT or wandb:PROJECT.",
    )(command)


def reserve(out: Path, overwrite: bool) -> None:
    """Check that --out can be written, and keep other runs out of it until the command ends."""
    from anomalyvfm.files import reserved

    click.get_current_context().with_resource(reserved(out, overwrite))


def check_order(model: Path, others: Sequence[Path | str]) -> None:
    """Raise InputError where a model comes after what is to be judged by it."""
    if is_model(model) or not model.exists():
        return
    for path in others:
        if isinstance(path, Path) and is_model(path):
            raise InputError(
                f"{model}: no model, but {path} is one; name the model first, then what it judges"
            )


def is_model(folder: Path) -> bool:
    """Whether a folder holds a fitted or an exported model."""
    return (folder / "model.json").is_file() or (folder / "export.json").is_file()


def image_size(default: str) -> Callable[[_Command], _Command]:
    """The side of the images, with the words that say what it is otherwise."""
    return click.option(
        "--image-size",
        type=_Size(),
        help=f"Side in pixels images are resized to, or WIDTHxHEIGHT.  [default: {default}]",
    )


class _Size(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[0-9]+(x[0-9]+)?", str(value).lower()):
            self.fail(f"{value!r} is not a valid integer, nor two as in 512x128.", param, ctx)
        return str(value)


def setting(about: str) -> Callable[[_Command], _Command]:
    """Any other setting of a preset."""
    return click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help=about)


reading = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="For this run alone: image.max_pixels, image.white_level, regions.min_level, regions.min_area.",
)


def roi_options(command: _Command) -> _Command:
    """The options from which `given_roi` makes a region of interest."""
    roi = click.option(
        "--roi",
        type=PATH,
        help="What counts of the images: a mask of their size with it in white, or polygons in JSON.",
    )
    ignore = click.option(
        "--ignore", type=PATH, help="What does not count: a mask of the images' size, or JSON."
    )
    return roi(ignore(command))


def given_roi(roi: Path | None, ignore: Path | None) -> Roi | None:
    """The region of interest of `roi_options`. Raises InputError."""
    if roi is None and ignore is None:
        return None
    from anomalyvfm.data.roi_files import read_roi

    return read_roi(roi, ignore)


def reading_overrides(settings: tuple[str, ...]) -> dict[str, Any]:
    """What --set changes in how a fitted model judges files. Raises InputError for what a fit has settled."""
    changed = overrides(None, None, settings)
    for key in changed:
        if key not in ("image.max_pixels", "image.white_level", "regions.min_level", "regions.min_area"):
            raise InputError(
                f"--set {key}: settled when the model was fitted; here go image.max_pixels,"
                " image.white_level, regions.min_level and regions.min_area"
            )
    return changed


def overrides(backbone: str | None, size: str | None, settings: tuple[str, ...]) -> dict[str, Any]:
    """What --backbone, --image-size and --set change in a preset. Raises InputError for a --set without =."""
    changed: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set {text}: write it as key=value, e.g. --set image.size=256")
        changed[key.strip()] = value.strip()
    if backbone is not None:
        from anomalyvfm.features.backbones import NAMES

        # A folder is kept absolute, for the model will be used from elsewhere.
        is_folder = backbone not in NAMES and Path(backbone).exists()
        changed["backbone"] = str(Path(backbone).resolve()) if is_folder else backbone
    if size is not None:
        changed["image.size"] = size
    return changed


def names(text: str) -> list[str]:
    """A comma-separated list, spaces allowed."""
    return [name.strip() for name in text.split(",")]


def report(as_json: bool, data: dict[str, Any], text: Callable[[], None]) -> None:
    """Print the result as JSON, or have ``text`` print it for people."""
    if as_json:
        click.echo(json.dumps(data, indent=2, allow_nan=False))
    else:
        text()
