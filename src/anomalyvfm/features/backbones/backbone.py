"""The one interface of every backbone: images in, patch features and a summary out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.openvino import INSTALLED

# What networks respond to from the first layers to the last (Zeiler & Fergus 2014, "Visualizing and
# Understanding Convolutional Networks"; Raghu et al. 2021 find the same order in vision transformers).
_SEEN_BY_DEPTH = ("edges", "fine texture", "texture", "patterns", "parts", "shapes", "the whole object")
AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class PatchFeatures:
    """What a backbone sees in B images: a grid of H×W patch embeddings each, and one vector for the whole."""

    patches: Tensor  # (B, H, W, C) float32
    summary: Tensor  # (B, D) float32
    detail: Tensor | None = None
    """(B, 2·H, 2·W, E) float32: an earlier layer on a finer grid, where the backbone was asked for it."""
    coarser: tuple[PatchFeatures, ...] = ()
    """The same images seen smaller, the largest first."""
    light: Tensor | None = None
    """(B, 4) float32: the light they were taken in, see `light_of`, where that is judged."""

    @classmethod
    def of(cls, parts: Sequence[Tensor]) -> PatchFeatures:
        """Float32, of the patches, the summary, and after them what detail there is."""
        patches, summary, *detail = (part.float() for part in parts)
        return cls(patches, summary, detail[0] if detail else None)

    @property
    def scales(self) -> tuple[PatchFeatures, ...]:
        """The images at each size at which they are seen, the largest first."""
        return (self, *self.coarser)

    @property
    def grids(self) -> list[Tensor]:
        """(B, h, w, c) all there are: the patches of each scale, and after them what detail there is."""
        return [*(scale.patches for scale in self.scales), *([] if self.detail is None else [self.detail])]

    def in_detail(self) -> PatchFeatures:
        """The detail alone, as patches. Raises ValueError where there is none."""
        if self.detail is None:
            raise ValueError("these features hold no detail")
        return PatchFeatures(self.detail, self.summary)

    def split(self, images: int) -> list[PatchFeatures]:
        """Those of so many images each, in their order, not copied."""
        return [self._of(slice(start, start + images)) for start in range(0, len(self.patches), images)]

    def rows(self, images: Sequence[int]) -> PatchFeatures:
        """Those of some of the images."""
        return self._of(list(images))

    def _of(self, kept: slice | list[int]) -> PatchFeatures:
        coarser = tuple(scale._of(kept) for scale in self.coarser)
        detail = None if self.detail is None else self.detail[kept]
        light = None if self.light is None else self.light[kept]
        return PatchFeatures(self.patches[kept], self.summary[kept], detail, coarser, light)


@dataclass(kw_only=True, eq=False)
class Backbone(ABC):
    """A frozen network. `load(name, layers=layers)` builds the same one again."""

    name: str
    """As given to `load`."""
    source: str
    """Where the weights were read from: a package, a hub repository or a folder."""
    layers: tuple[int, ...]
    """The layers joined on the channel axis, ascending."""
    stride: int
    """Pixels from one patch of the feature grid to the next."""
    multiple: int
    """What both sides of an image must be a multiple of, in pixels."""
    image_size: int
    """Side in pixels of the square it is best given."""
    depth: int
    """How many layers the whole network has."""
    layer_channels: tuple[int, ...]
    """How many channels each of `layers` has, in the order in which they are joined."""
    summary_channels: int
    """D of `PatchFeatures.summary`."""
    weight_hash: str
    """sha256 of the weights as published, whatever the layers, the device or the place they came from."""
    device: torch.device
    precision: str
    """What the network computes in: fp32, bf16 or fp16; its output is always float32."""
    backend: str = "torch"
    """What runs the network: torch or openvino."""
    detail_channels: int = 0
    """E of `PatchFeatures.detail`; 0 where there is none."""

    @property
    def channels(self) -> int:
        """C of `PatchFeatures.patches`."""
        return sum(self.layer_channels)

    @property
    def runs_on(self) -> str:
        """The device that another machine must be asked for, to see the same to the last bits."""
        return "openvino" if self.backend == "openvino" else self.device.type

    # no_grad and not inference_mode: adapters are trained on these features, and autograd refuses to save a
    # tensor that was made in inference mode.
    @torch.no_grad()
    def __call__(self, images: Tensor) -> PatchFeatures:
        """Features of RGB images (B, H, W, 3) uint8, on the backbone's device; see :meth:`forward`."""
        return self.forward(images)

    def forward(self, images: Tensor) -> PatchFeatures:
        """As a call, but differentiable in what adapts the network from the inside.

        Raises InputError where a side is not a multiple of `multiple`, ValueError for any other shape.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3 or images.numel() == 0:
            raise ValueError(f"images must be (B, H, W, 3) uint8, not {tuple(images.shape)} {images.dtype}")
        height, width = images.shape[1:3]
        if height % self.multiple or width % self.multiple:
            fitting = " × ".join(
                str(max(1, round(n / self.multiple)) * self.multiple) for n in (height, width)
            )
            raise InputError(
                f"{self.name} takes image sides that are multiples of {self.multiple} pixels, "
                f"not {height} × {width}: resize to {fitting}."
            )
        with self._precision_scope():
            found = self._features(images.to(self.device))
        return PatchFeatures.of(found)

    def sees(self, layer: int) -> str:
        """In a word or two, what a layer of that depth mostly responds to."""
        return _SEEN_BY_DEPTH[-(-layer * len(_SEEN_BY_DEPTH) // self.depth) - 1]

    @abstractmethod
    def _features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Patches (B, H/stride, W/stride, C), summary (B, D) and what detail there is, of B images."""

    def _precision_scope(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=AUTOCAST_TYPES[self.precision])


def resolve_device(device: str) -> torch.device:
    """The torch device of that name, tried out; for auto a GPU where there is one, else the CPU.

    The device openvino is the CPU; :func:`resolve_backend` tells what runs a network there. Raises InputError
    where this machine does not have it.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device("cpu" if device == "openvino" else device)
        torch.empty(1, device=resolved)
    # An unbuilt backend is an AssertionError, an unknown name or absent hardware a RuntimeError.
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"device {device!r} is not available on this machine: use cpu.") from None
    return resolved


def resolve_backend(device: str, resolved: torch.device, precision: str) -> str:
    """What runs a network that OpenVINO can run, in fp32, on the device of that name.

    Where nothing else is asked for, on a CPU that is OpenVINO if it is installed. Raises InputError where it
    is asked for and is not, or in another precision.
    """
    exact = precision in ("auto", "fp32")
    if device == "openvino":
        if not INSTALLED:
            raise InputError("OpenVINO is not installed: run `pip install openvino`, or use --device cpu.")
        if not exact:
            raise InputError(f"OpenVINO runs backbones in fp32, not {precision}: use --device cpu.")
        return "openvino"
    fastest = device == "auto" and resolved.type == "cpu" and exact and INSTALLED
    return "openvino" if fastest else "torch"


def resolve_precision(precision: str, device: torch.device) -> str:
    """fp32, bf16 or fp16: what was asked, or for auto what is safe and fast on the device.

    bf16 goes before fp16 on a GPU because it has the range of fp32: no activation can overflow.
    """
    if precision == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if precision != "fp32" and precision not in AUTOCAST_TYPES:
        raise InputError(f"unknown precision {precision!r}: use auto, fp32, bf16 or fp16.")
    return precision


def resolve_layers(
    name: str, layers: Sequence[int] | None, default: tuple[int, ...], last: int
) -> tuple[int, ...]:
    """The layers asked for, ascending, without repeats. Raises InputError for one outside 1 to `last`."""
    chosen = default if layers is None else tuple(sorted(set(layers)))
    if not chosen or chosen[0] < 1 or chosen[-1] > last:
        raise InputError(f"{name} has layers 1 to {last}, not {list(layers or ())}: choose from these.")
    return chosen
