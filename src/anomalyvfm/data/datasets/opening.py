"""From a path or a name to the images of one category, whatever the layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from anomalyvfm.data.datasets import elpv, folder, mvtec
from anomalyvfm.data.datasets.listing import list_folders
from anomalyvfm.data.datasets.sample import Category
from anomalyvfm.data.defects import Defect
from anomalyvfm.data.reading import SUFFIXES
from anomalyvfm.errors import InputError


def open_dataset(path: Path | str, category: str | None = None, seed: int = 0) -> Category:
    """The images of one category of a dataset, by split. Nothing is decoded.

    `path` is a category folder or the root of several in the layout of MVTec AD 2 or MVTec AD, a plain
    folder of good images (or good/ and a folder for each kind of defect), or "elpv", "elpv-mono" or
    "elpv-poly" for the installed elpv-dataset. `seed` decides which good images are held out where the
    layout has no split of its own. Raises InputError where there is nothing to learn from, and where a
    root has several categories and none of them is named.
    """
    root, path_names = _locate(path)
    names = path_names or _categories(root)
    chosen = _choose(names, category, path)
    if elpv.is_root(root):
        found = elpv.read_category(root, chosen, seed)
    elif mvtec.is_category(root):
        found = mvtec.read_category(root, chosen)
    elif folder.is_category(root):
        found = folder.read_category(root, chosen, seed)
    else:
        found = mvtec.read_category(root / chosen, chosen)
    if not found.train:
        raise InputError(
            f"{path}: no good images to learn from in {chosen} ({found.layout}); add {_SUFFIXES}"
        )
    return found


def open_datasets(paths: Sequence[Path], category: str | None = None, seed: int = 0) -> Category:
    """The images of several places as those of one category. Raises InputError as `open_dataset`."""
    if len(paths) == 1:
        return open_dataset(paths[0], category, seed)
    found = [open_dataset(path, category, seed) for path in paths]
    return Category(
        "+".join(dict.fromkeys(one.name for one in found)),
        "folder",
        train=tuple(sample for one in found for sample in one.train),
        validation=tuple(sample for one in found for sample in one.validation),
        test=tuple(sample for one in found for sample in one.test),
    )


def open_defects(path: Path) -> tuple[Defect, ...]:
    """The confirmed defects in a folder, or in its folders, with their masks.

    Raises InputError where there are none.
    """
    root, _ = _locate(path)
    if not (found := folder.read_defects(root)):
        raise InputError(f"{path}: no images of defects there; found {_contents(root)}")
    return tuple(Defect(sample.path, sample.mask) for sample in found)


def list_categories(path: Path | str) -> list[str]:
    """The names of a root's categories, in natural order; of a category folder, its own name."""
    root, names = _locate(path)
    return names or _categories(root)


_SUFFIXES = " ".join(sorted(SUFFIXES))


def _locate(path: Path | str) -> tuple[Path, list[str]]:
    """The folder meant by a path or by one of elpv's names, and the categories if the name tells them."""
    given = Path(path)
    try:
        there = given.exists()
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check the path") from error
    if not there and str(path) in ("elpv", *elpv.NAMES):
        return elpv.installed_folder(), [str(path)] if str(path) in elpv.NAMES else list(elpv.NAMES)
    if not there:
        raise InputError(f"{path}: no such folder; give a folder of images, a dataset root, or elpv-mono")
    if not given.is_dir():
        raise InputError(f"{path}: a file; give the folder it is in")
    return given, []


def _categories(root: Path) -> list[str]:
    if elpv.is_root(root):
        return list(elpv.NAMES)
    if mvtec.is_category(root) or folder.is_category(root):
        # "." and ".." are named after the folder they stand for, a symlink as the user sees it.
        return [root.name if root.name not in ("", "..") else root.resolve().name]
    names = [child.name for child in list_folders(root) if mvtec.is_category(child)]
    if not names:
        raise InputError(
            f"{root}: no dataset; looked for train/good/ (MVTec AD, MVTec AD 2), <category>/train/good/, "
            f"good/, images ({_SUFFIXES}) and {elpv.LABELS} (elpv); found {_contents(root)}"
        )
    return names


def _choose(names: Sequence[str], category: str | None, path: Path | str) -> str:
    if category is None:
        if len(names) == 1:
            return names[0]
        raise InputError(f"{path}: several categories; choose one with --category: {', '.join(names)}")
    if category in names:
        return category
    if f"elpv-{category}" in names:
        return f"elpv-{category}"
    close = get_close_matches(category.lower(), names, n=1)
    hint = f"did you mean {close[0]}?" if close else "choose one that is there"
    raise InputError(f"{path}: no category '{category}'; {hint} (found {', '.join(names)})")


def _contents(root: Path) -> str:
    """What a folder holds, briefly: some names of folders, and how many files of which suffix."""
    folders = [child.name for child in list_folders(root)]
    suffixes = Counter(child.suffix.lower() or "no suffix" for child in root.iterdir() if child.is_file())
    shown = ", ".join(folders[:5]) + (f" and {len(folders) - 5} more" if len(folders) > 5 else "")
    files = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5))
    parts = [f"folders {shown}"] if folders else []
    parts += [f"files {files}"] if files else []
    return " and ".join(parts) or "nothing"
