"""LoRA and DoRA inside a transformer's attention, by the peft library: the option that trains the encoder.

Hu et al. 2021, "LoRA", https://arxiv.org/abs/2106.09685; Liu et al. 2024, "DoRA",
https://arxiv.org/abs/2402.09353.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from anomalyvfm.adapted.layers import SeededDropout, check_rank, seeded
from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import Backbone
from anomalyvfm.features.backbones.vit import DinoViT

# Queries and values, as the paper adapts them; transformers 4 and 5 name them differently.
_TARGETS = r".*attention.*\.(query|value|q_proj|v_proj)"
_NAME = "default"


def encoder_of(backbone: Backbone) -> nn.Module:
    """The transformer to put LoRA into. Raises InputError where there is none, or no peft to do it."""
    if not isinstance(backbone, DinoViT):
        raise InputError(
            f"{backbone.name} has no attention to put LoRA into: choose a dinov2 or dinov3 backbone, or"
            " adapt the features instead"
        )
    if find_spec("peft") is None:
        raise InputError(
            "LoRA inside the encoder needs peft, which is not installed: pip install 'anomalyvfm[train]'"
        )
    model: nn.Module = backbone.model
    return model


class InEncoderAdapter(nn.Module):
    """Low-rank updates of the queries and values of every block of a backbone, which it changes in place.

    From then on ``backbone(images)`` gives adapted features. Only the updates are parameters here and in
    the state dict; the published weights stay as they were, bit by bit.

    Raises InputError where peft is not installed, the backbone is no transformer or has been adapted
    before, or the rank is above its width.
    """

    def __init__(
        self,
        backbone: Backbone,
        rank: int,
        alpha: float,
        dropout: float = 0.1,
        *,
        dora: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        model = encoder_of(backbone)
        check_rank(backbone.summary_channels, rank)
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer

        if any(isinstance(module, LoraLayer) for module in model.modules()):
            raise InputError(f"{backbone.name} has LoRA in its encoder already: load it anew")
        config = LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=_TARGETS, use_dora=dora
        )
        with seeded(seed):  # peft draws on the CPU, also for a model on a GPU
            inject_adapter_in_model(config, model, adapter_name=_NAME)
        self._layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
        for layer in self._layers:
            layer.lora_dropout[_NAME] = SeededDropout(dropout)
        # Registered: what is trained and the dropouts. Not the backbone, whose weights are not ours to keep.
        self.updates = nn.ModuleList()
        for layer in self._layers:
            parts = [layer.lora_A, layer.lora_B, layer.lora_dropout]
            self.updates.append(nn.ModuleList([*parts, layer.lora_magnitude_vector] if dora else parts))
        self.scale = alpha / rank
        self._backbone = [backbone]  # in a list, so that torch does not register its model
        self.width = backbone.summary_channels
        self.train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Summary tokens (B, D) of images (B, H, W, 3) uint8, differentiable in the updates."""
        return self._backbone[0].forward(images).summary

    def extra_repr(self) -> str:
        return f"{self.width}, scale={self.scale:g}"

    def train(self, mode: bool = True) -> InEncoderAdapter:
        """Dropout on or off. The backbone's own layers stay as they are in use."""
        super().train(mode)
        for layer in self._layers:
            layer.training = mode
        return self
