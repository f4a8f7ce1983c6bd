"""A checkpoint in the model hub's format: config.json and safetensors, from a folder or from the hub.

Nothing but JSON and safetensors is read; a checkpoint cannot bring code along.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from anomalyvfm.errors import InputError

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"  # lists the files of weights that are too large for one
_HUB_PATIENCE_S = 5.0  # for its first answer; a download may take as long as it needs


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose files are present and whole. `source` is the hub repository or the folder itself."""

    folder: Path
    source: str
    model_type: str
    weight_hash: str


def from_folder(folder: Path, source: str | None = None) -> Checkpoint:
    """The checkpoint in a folder. Raises InputError for a file that is missing, truncated or corrupt."""
    config = _json(folder / "config.json")
    files = _weight_files(folder)
    return Checkpoint(folder, source or str(folder), str(config.get("model_type")), _hash(files))


def from_hub(repository: str) -> Checkpoint:
    """The checkpoint of a hub repository, out of the hub's cache or, where that lacks it, downloaded into it.

    The cache goes first: a detector is tied to its weights, so a newer upload would be of no use to it, and
    what was loaded once loads again without a network.

    Raises InputError, within seconds, where there is neither, and where the hub refuses.
    """
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return from_folder(_snapshot(repository, cached=True), source=repository)
    except (LocalEntryNotFoundError, InputError):
        pass  # nothing in the cache, or the remains of a download that was cut off

    other_way = "or give --backbone FOLDER with its config.json and model.safetensors"
    try:
        with quiet():
            _knock()
            folder = _snapshot(repository, cached=False)
    except (GatedRepoError, RepositoryNotFoundError):
        raise InputError(
            f"the hub does not hand out {repository} to you: accept its terms at "
            f"https://huggingface.co/{repository} and run `hf auth login`, {other_way}."
        ) from None
    # The hub's client lets through the errors of whichever HTTP library its version is built on.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            f"{repository} is not in the hub's cache and cannot be downloaded ({reason}): connect once to "
            f"fetch it, {other_way}, or take --backbone efficientnet-lite0, whose weights came with pip."
        ) from None
    return from_folder(folder, source=repository)


def is_cached(repository: str) -> bool:
    """Whether the hub's cache on this machine has the weights."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repository, _WEIGHTS), str)


def _snapshot(repository: str, *, cached: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["config.json", _WEIGHTS, "model-*.safetensors", _INDEX]
    return Path(snapshot_download(repository, allow_patterns=patterns, local_files_only=cached))


def _knock() -> None:
    """Any answer of the hub will do. Its client itself waits without limit, and retries, where none comes."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # exported, but lazily

    get_session().head(constants.ENDPOINT, timeout=_HUB_PATIENCE_S)


def _json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"no {path.name} in {path.parent}: a backbone folder holds config.json and {_WEIGHTS}, "
            "as on the model hub."
        ) from None
    except (OSError, ValueError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InputError(f"{path} cannot be read as JSON ({error}): fetch it again.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} does not hold a JSON object: fetch it again.")
    return content


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).exists():
        return [folder / _WEIGHTS]
    if not (folder / _INDEX).exists():
        converts = any(folder.glob("*.bin")) or any(folder.glob("*.pth"))
        what = (
            "its weights are in a pickle, which is never read: convert them"
            if converts
            else "add the weights"
        )
        raise InputError(f"no {_WEIGHTS} in {folder}: {what} in safetensors form.")
    names = _json(folder / _INDEX).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InputError(f"{folder / _INDEX} lists no weights: fetch it again.")
    return [folder / str(name) for name in sorted(set(names.values()))]


def _hash(files: list[Path]) -> str:
    """Hash of all tensors of the files. Raises InputError where one is not whole."""
    held: dict[str, Path] = {}
    try:
        for file in files:
            with safe_open(file, framework="pt") as content:
                held.update(dict.fromkeys(content.keys(), file))
        readers = {file: safe_open(file, framework="pt") for file in files}

        def tensor(name: str) -> Tensor:
            return cast(Tensor, readers[held[name]].get_tensor(name))  # type: ignore[no-untyped-call]  # has no hints

        return hash_weights(held, tensor)
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file} is missing, truncated or corrupt ({reason}): fetch it again.") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Without the log lines and progress bars of transformers and of the hub's client, in this scope."""
    from transformers.utils import logging

    verbosity, shows_progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shows_progress:
            logging.enable_progress_bar()


def hash_weights(names: Iterable[str], tensor: Callable[[str], Tensor]) -> str:
    """sha256 (hex) over name, type, shape and bytes of each tensor, in sorted order of the names.

    `tensor` fetches one by name, so weights larger than memory can be read as they are hashed. Each tensor
    gets a digest of its own and the digests are hashed together: that way all cores take part.
    """

    def line(name: str) -> str:
        value = tensor(name)
        data = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        return f"{name} {value.dtype} {tuple(value.shape)} {hashlib.sha256(data.data).hexdigest()}\n"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        lines = pool.map(line, sorted(names))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
