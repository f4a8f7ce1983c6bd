"""Small, randomly initialised checkpoints in the model hub's format, for tests without a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def save_tiny_dinov2(folder: Path, seed: int = 0, hidden: int = 32, layers: int = 3, patch: int = 14) -> Path:
    """A DINOv2 with a 4×4 grid of position embeddings in `folder`, which is returned."""
    return save_tiny_vit("Dinov2", folder, seed, hidden, layers, patch)


def save_tiny_vit(
    family: str, folder: Path, seed: int = 0, hidden: int = 32, layers: int = 3, patch: int = 14
) -> Path:
    """As `save_tiny_dinov2`, for the family Dinov2, Dinov2WithRegisters or DINOv3ViT of transformers."""
    from anomalyvfm.features.backbones.checkpoint import quiet

    with quiet(), torch.random.fork_rng():
        import transformers

        torch.manual_seed(seed)
        sizes: dict[str, Any] = {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "image_size": 4 * patch,
            "patch_size": patch,
            # Enough that attention and position leave a mark on the output; the usual 0.02 is for training.
            "initializer_range": 0.2,
        }
        if family == "DINOv3ViT":
            sizes |= {"intermediate_size": 2 * hidden, "num_register_tokens": 4}
        config = getattr(transformers, f"{family}Config")(**sizes)
        getattr(transformers, f"{family}Model")(config).save_pretrained(folder)
    return folder
