"""Which images are judged, and by which of several models."""

from __future__ import annotations

import glob
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from anomalyvfm.data.datasets.listing import TRUTH, given_images, list_folders, natural_key
from anomalyvfm.data.reading import SUFFIXES
from anomalyvfm.data.stores import ImageFile, images_at
from anomalyvfm.errors import ImageWarning, InputError


def find_images(places: Sequence[Path | str], recursive: bool = False) -> list[ImageFile]:
    """Files as named and the images in folders, in the order given. Raises InputError where there are none.

    An address in a store stands for all images there and below, a pattern at its end for those it fits.

    Of a folder that holds images, those below it are left out unless ``recursive``, and counted in a warning;
    one that holds only folders is searched. A name with ``*``, ``?`` or ``[`` that is no file stands for all
    it matches, and a text file for the images it lists, a path a line. A file that is missing or no image
    stays in the list: it gets its line among the predictions.
    """
    found: list[ImageFile] = []
    for place in places:
        if isinstance(place, str):
            found += images_at(place)
        elif place.is_dir():
            found += _in_folder(place, recursive)
        elif place.suffix.lower() == ".txt" and place.is_file():
            found += _listed(place)
        elif set("*?[").intersection(str(place)) and not place.exists():
            matched = glob.glob(str(place), recursive=True)  # noqa: PTH207  # Path's takes no absolute pattern
            paths = [Path(name) for name in sorted(matched, key=natural_key)]
            found += find_images(paths, recursive) if paths else [place]
        else:
            found.append(place)
    if not found:
        named = ", ".join(map(str, places))
        raise InputError(
            f"{named}: no images there ({' '.join(sorted(SUFFIXES))}); name a folder or files of images"
        )
    return found


def share_out(images: Sequence[ImageFile], models: Mapping[str, Path]) -> dict[str, list[ImageFile]]:
    """Images by the name of the model that judges them: that of the innermost folder with a model's name.

    Those in no such folder are left out, and counted in a warning. Raises InputError where all are.
    """
    shares: dict[str, list[ImageFile]] = {}
    left_out = []
    for image in images:
        path = image.absolute() if isinstance(image, Path) else image.path
        name = next((part for part in reversed(path.parts[:-1]) if part in models), None)
        if name is None:
            left_out.append(image)
        else:
            shares.setdefault(name, []).append(image)
    if left_out:
        text = (
            f"{len(left_out)} of {len(images)} images lie in no folder named like a model"
            f" ({', '.join(models)}), the first is {left_out[0]}"
        )
        if not shares:
            raise InputError(f"{text}; name one of the models")
        warnings.warn(f"{text}; they are left out", ImageWarning, stacklevel=2)
    return shares


def _in_folder(folder: Path, recursive: bool) -> list[Path]:
    images = given_images(folder)
    below = [
        path
        for child in list_folders(folder)
        if child.name != TRUTH and not child.is_symlink()
        for path in _in_folder(child, recursive=True)
    ]
    if recursive or not images:
        return images + below
    if below:
        text = f"{folder}: {len(below)} images in its sub-folders are left out; --recursive takes them too"
        warnings.warn(text, ImageWarning, stacklevel=2)
    return images


def _listed(place: Path) -> list[Path]:
    """The paths in a text file, where they are not absolute below its folder or where we are."""
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{place}: no list of images, a path a line ({error})") from None
    paths = [Path(line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    return [path if path.exists() else place.parent / path for path in paths]
