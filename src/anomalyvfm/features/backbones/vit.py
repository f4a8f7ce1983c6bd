"""DINOv2, DINOv2 with registers, and DINOv3: vision transformers, run by the transformers library.

DINOv2: Oquab et al. 2023, https://arxiv.org/abs/2304.07193; registers: Darcet et al. 2023,
https://arxiv.org/abs/2309.16588; DINOv3: Siméoni et al. 2025, https://arxiv.org/abs/2508.10104.

A layer here is a block, 1 to depth, with the network's final LayerNorm applied to its output. The default is
the last block alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor

from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import Backbone, resolve_device, resolve_layers, resolve_precision
from anomalyvfm.features.backbones.checkpoint import Checkpoint, quiet

# The config's model_type → the names of the two classes in transformers.
_CLASSES = {
    "dinov2": ("Dinov2Config", "Dinov2Model"),
    "dinov2_with_registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel"),
    "dinov3_vit": ("DINOv3ViTConfig", "DINOv3ViTModel"),
}
# What a config or weights that do not fit one another make transformers raise.
_MISFITS = (AttributeError, KeyError, OSError, RuntimeError, StrictDataclassError, TypeError, ValueError)

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def load(
    name: str,
    checkpoint: Checkpoint,
    *,
    layers: Sequence[int] | None = None,
    device: str = "cpu",
    precision: str = "auto",
) -> DinoViT:
    """The network of a checkpoint, cut off after the deepest layer asked for.

    Raises InputError for another architecture, and for weights that do not match the config.
    """
    if device == "openvino":
        raise InputError(
            f"{name}: OpenVINO runs EfficientNet-Lite here, and torch the others: use --device cpu."
        )
    target = resolve_device(device)
    if checkpoint.model_type not in _CLASSES:
        raise InputError(
            f"{checkpoint.folder / 'config.json'} describes a {checkpoint.model_type!r} model: "
            f"a backbone is one of {', '.join(_CLASSES)}."
        )
    model, chosen, depth = _model(name, checkpoint, layers)
    precision = resolve_precision(precision, target)
    return DinoViT(name, checkpoint, model, chosen, depth, device=target, precision=precision)


class DinoViT(Backbone):
    """Patch tokens of the layers asked for, joined; the summary is the CLS token of the deepest of them."""

    def __init__(
        self,
        name: str,
        checkpoint: Checkpoint,
        model: Any,
        layers: tuple[int, ...],
        depth: int,
        *,
        device: torch.device,
        precision: str,
    ) -> None:
        patch, width = model.config.patch_size, model.config.hidden_size
        super().__init__(
            name=name,
            source=checkpoint.source,
            layers=layers,
            stride=patch,
            image_size=518,  # DINOv2 was last trained at this; DINOv3 does well near it
            multiple=patch,
            depth=depth,
            layer_channels=(width,) * len(layers),
            summary_channels=width,
            weight_hash=checkpoint.weight_hash,
            device=device,
            precision=precision,
        )
        self.model = model.eval().requires_grad_(False).to(device)
        # The CLS token and the registers come before the patch tokens.
        self._prefix = 1 + getattr(model.config, "num_register_tokens", 0)
        self._mean = torch.tensor(_IMAGENET_MEAN, device=device)
        self._std = torch.tensor(_IMAGENET_STD, device=device)

    def _features(self, images: Tensor) -> tuple[Tensor, ...]:
        count, height, width, _ = images.shape
        pixels = ((images.float() / 255 - self._mean) / self._std).permute(0, 3, 1, 2)  # (B, 3, H, W)
        outputs = self.model(pixel_values=pixels, output_hidden_states=len(self.layers) > 1)
        deepest = outputs.last_hidden_state  # (B, prefix + patches, width), normalised by the model
        norm = self.model.layernorm if hasattr(self.model, "layernorm") else self.model.norm
        tokens = [norm(outputs.hidden_states[layer]) for layer in self.layers[:-1]] + [deepest]
        joined = torch.cat([t[:, self._prefix :] for t in tokens], dim=2)
        return joined.reshape(count, height // self.stride, width // self.stride, -1), deepest[:, 0]


def _model(
    name: str, checkpoint: Checkpoint, layers: Sequence[int] | None
) -> tuple[Any, tuple[int, ...], int]:
    """The model, no deeper than the layers asked for, those layers, and the depth it had as published."""
    with quiet():
        import transformers

        config_class, model_class = (getattr(transformers, c) for c in _CLASSES[checkpoint.model_type])
        try:
            config = config_class.from_pretrained(checkpoint.folder, local_files_only=True)
            depth = int(config.num_hidden_layers)
        except _MISFITS as error:
            raise _misfit(checkpoint, f"its config.json is not valid: {_first_line(error)}") from None
        chosen = resolve_layers(name, layers, (depth,), last=depth)
        config.num_hidden_layers = chosen[-1]
        try:
            model, found = model_class.from_pretrained(
                checkpoint.folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        except _MISFITS as error:
            raise _misfit(checkpoint, _first_line(error)) from None
    # transformers would fill these with random numbers and go on.
    absent = sorted(found["missing_keys"]) or sorted(str(key) for key in found["mismatched_keys"])
    if absent:
        raise _misfit(checkpoint, f"{len(absent)} tensors are missing, {absent[0]} for one")
    return model, chosen, depth


def _misfit(checkpoint: Checkpoint, reason: str) -> InputError:
    return InputError(
        f"the weights and config.json in {checkpoint.folder} do not belong together ({reason}): "
        "fetch both again."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
