"""Frozen networks that turn a batch of images into features: one call, whatever the family.

Importing this room costs nothing; torch and transformers are loaded by `load`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.names import AUTO, HUB_REPOSITORIES, LITE_PACKAGES

if TYPE_CHECKING:
    from anomalyvfm.features.backbones.backbone import Backbone

__all__ = ["NAMES", "choose", "cpu_backend", "load"]

NAMES: tuple[str, ...] = (*LITE_PACKAGES, *HUB_REPOSITORIES)


def load(
    name_or_path: str,
    *,
    layers: Sequence[int] | None = None,
    device: str = "cpu",
    precision: str = "auto",
    detail: bool = False,
) -> Backbone:
    """The backbone of that name, or the one in a folder in the model hub's format.

    `name_or_path` is one of `NAMES`, a folder that holds `config.json` and `model.safetensors`, or that
    `model.safetensors` itself. `layers` are stages 1 to 7 of an EfficientNet-Lite and blocks 1 to depth of a
    ViT, joined on the channel axis in ascending order; None takes the family's default. `precision` is
    auto, fp32, bf16 or fp16. With ``detail``, features have that of the last stage before `layers` whose grid
    is twice as fine, where an EfficientNet-Lite has one; a ViT has none.

    Raises InputError for an unknown name, weights that cannot be had or read, layers that the network does
    not have, and a device or precision that this machine does not have.
    """
    if name_or_path in LITE_PACKAGES:
        from anomalyvfm.features.backbones import efficientnet

        return efficientnet.load(
            name_or_path, layers=layers, device=device, precision=precision, detail=detail
        )

    from anomalyvfm.features.backbones import checkpoint

    if name_or_path in HUB_REPOSITORIES:
        weights = checkpoint.from_hub(HUB_REPOSITORIES[name_or_path])
    else:
        weights = checkpoint.from_folder(_folder(name_or_path))

    from anomalyvfm.features.backbones import vit

    return vit.load(name_or_path, weights, layers=layers, device=device, precision=precision)


def choose(name_or_path: str, device: str) -> str:
    """That backbone; for auto dinov2-base where a GPU and its weights are there, else efficientnet-lite0."""
    if name_or_path != AUTO:
        return name_or_path
    from anomalyvfm.features.backbones.backbone import resolve_device
    from anomalyvfm.features.backbones.checkpoint import is_cached

    large = resolve_device(device).type == "cuda" and is_cached(HUB_REPOSITORIES["dinov2-base"])
    return "dinov2-base" if large else "efficientnet-lite0"


def cpu_backend(name_or_path: str) -> str:
    """What runs that backbone on a CPU where the device is left to us: openvino or torch."""
    fast = name_or_path in LITE_PACKAGES and find_spec("openvino") is not None
    return "openvino" if fast else "torch"


def _folder(path_text: str) -> Path:
    path = Path(path_text).expanduser()
    if path.name == "model.safetensors" and path.is_file():
        return path.parent
    if path.is_dir():
        return path
    nearest = difflib.get_close_matches(path.name.lower(), NAMES, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"the names are {', '.join(NAMES)}."
    raise InputError(f"unknown backbone {path_text!r}, and no folder is there: {hint}")
