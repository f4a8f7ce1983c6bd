"""AnomaVision's own commands, train, export and detect, with its PaDiM on ResNet-18.

Its ImageNet weights come by download; random ones in their place take as long. What it exports judges one
image at a time only (a batch fails in its graph), so that is how it is asked to; its torch model takes eight.
`detect` writes no pictures, as it does by default.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

from peers import peer_python
from performing.bench import SIDE, Bench
from performing.process_tree import measured

MODELS = {"torch": "model.pt", "onnx": "model.onnx", "openvino": "model_openvino"}
COMPLAINT = "Inference failed"  # after which it goes on to the next batch and ends well
_WEIGHTS = "resnet18-f37072fd.pth"  # what torchvision looks for before it downloads
_RANDOM = (
    "import sys, torch, torchvision; torch.manual_seed(0);"
    "torch.save(torchvision.models.resnet18(weights=None).state_dict(), sys.argv[1])"
)
_COUNT = """
import json, torch
from anomavision.algorithm.common.feature_extraction import ResnetEmbeddingsExtractor
seen = 0
def count(layer, _, out):
    global seen
    seen += out[0].numel() * layer.weight[0].numel()
extractor = ResnetEmbeddingsExtractor("resnet18", torch.device("cpu"))
for layer in extractor.modules():
    if isinstance(layer, torch.nn.Conv2d):
        layer.register_forward_hook(count)
extractor(torch.zeros(1, 3, {side}, {side}), layer_indices=[0, 1])
print(json.dumps({"count": seen}))
"""


class AnomaVision:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._home = bench.work / "anomavision"

    @cached_property
    def backend(self) -> str:
        """Which of its backends judges the shorter list fastest."""
        few = self._bench.sizes[0]

        def seconds(backend: str) -> float:
            return self._bench.run(
                "choose",
                f"AnomaVision, {backend}, {few}",
                lambda: self.detect(backend, self._bench.to_judge(few)),
                complaint=COMPLAINT,
            ).wall_s

        return min(MODELS, key=seconds)

    def detect(self, backend: str, images: Path) -> list[str | Path]:
        batch = "8" if backend == "torch" else "1"
        known = ("--model", MODELS[backend], "--img_path", images, "--batch_size", batch)
        return self._command("detect", self._fitted, *known)

    def multiply_adds(self) -> list[str | Path]:
        """Counts those of its backbone for an image, in the convolutions that run."""
        return [*self._python, "-c", _COUNT.replace("{side}", str(SIDE))]

    @cached_property
    def _python(self) -> list[str | Path]:
        """Its Python, where it finds the weights that it would download."""
        python = peer_python("anomavision")
        checkpoints = self._home / "torch" / "hub" / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        self._bench.make(checkpoints / _WEIGHTS, [python, "-c", _RANDOM, checkpoints / _WEIGHTS])
        return ["env", "-C", self._home, f"TORCH_HOME={self._home / 'torch'}", python]

    @cached_property
    def _fitted(self) -> Path:
        """Its settings, with which it finds its fitted and exported models."""
        file, partial = self._home / "config.json", self._home / "new.json"
        if file.exists():
            return file
        settings = {
            "dataset_path": str(self._bench.to_learn().parents[1]),
            "class_name": "tiles",
            "algorithm": "padim",
            "backbone": "resnet18",
            "layer_indices": [0, 1],  # these and the 50 channels are its own defaults
            "feat_dim": 50,
            "resize": [SIDE, SIDE],
            "crop_size": None,
            "normalize": True,
            "norm_mean": [0.485, 0.456, 0.406],
            "norm_std": [0.229, 0.224, 0.225],
            "batch_size": 8,
            "device": "cpu",
            "run_name": "run",
            "output_model": MODELS["torch"],
            "enable_visualization": False,
            "log_level": "INFO",
        }
        _ = self._python
        partial.write_text(json.dumps(settings), encoding="utf-8")
        for command, *how in (["train"], ["export", "--format", "onnx"], ["export", "--format", "openvino"]):
            model = ["--model", MODELS["torch"]] if command == "export" else []
            measured(self._command(command, partial, *how, *model))
        partial.replace(file)
        return file

    def _command(self, command: str, config: Path, *arguments: str | Path) -> list[str | Path]:
        known = ("--config", config, "--model_data_path", self._home / "models")
        return [*self._python, "-m", "anomavision.cli", command, *known, *arguments]
