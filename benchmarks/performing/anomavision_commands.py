"""AnomaVision's own commands, train, export and detect, with its PaDiM on ResNet-18.

Its ImageNet weights come by download; random ones in their place take as long. What it exports judges one
image at a time only (a batch fails in its graph), so that is how it is asked to; its torch model takes eight.
`detect` writes no pictures, as it does by default.
"""

from __future__ import annotations

import json
import subprocess
from functools import cached_property
from pathlib import Path

from peers import peer_python
from performing.bench import SIDE, Bench
from performing.process_tree import Run

MODELS = {"torch": "model.pt", "onnx": "model.onnx", "openvino": "model_openvino"}
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
print(json.dumps(seen))
"""


class AnomaVision:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._python = peer_python("anomavision")
        self._home = bench.work / "anomavision"

    @cached_property
    def backend(self) -> str:
        """Which of its backends judges the shorter list fastest."""
        images = self._bench.to_judge(self._bench.sizes[0])
        seconds = {backend: self.detect(backend, images, "choose").wall_s for backend in MODELS}
        return min(seconds, key=lambda backend: seconds[backend])

    def detect(self, backend: str, images: Path, section: str = "predict") -> Run:
        batch = "8" if backend == "torch" else "1"
        run = self._run(
            section,
            f"AnomaVision, {backend}, {len(list(images.iterdir()))}",
            "detect",
            *("--model", MODELS[backend], "--img_path", str(images), "--batch_size", batch),
        )
        if "Inference failed" in run.complaints:  # it goes on to the next batch and ends well
            raise SystemExit(f"AnomaVision judged nothing with {backend}:\n{run.complaints[-2000:]}")
        return run

    def multiply_adds(self) -> int:
        """Of its backbone for an image, counted in the convolutions that run."""
        done = subprocess.run(
            [self._python, "-c", _COUNT.replace("{side}", str(SIDE))],
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return int(done.stdout.splitlines()[-1])

    @cached_property
    def _environment(self) -> dict[str, str]:
        checkpoints = self._home / "torch" / "hub" / "checkpoints"
        checkpoints.mkdir(parents=True)
        subprocess.run([self._python, "-c", _RANDOM, checkpoints / _WEIGHTS], check=True)
        return {"TORCH_HOME": str(self._home / "torch")}

    @cached_property
    def _config(self) -> Path:
        """Its settings, and with them its fitted and exported models."""
        file = self._home / "config.json"
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
        _ = self._environment
        file.write_text(json.dumps(settings), encoding="utf-8")
        for command in (["train"], ["export", "--format", "onnx"], ["export", "--format", "openvino"]):
            model = ["--model", MODELS["torch"]] if command[0] == "export" else []
            self._call("prepare", " ".join(["AnomaVision,", *command]), file, *command, *model)
        return file

    def _run(self, section: str, name: str, *arguments: str) -> Run:
        return self._call(section, name, self._config, *arguments)

    def _call(self, section: str, name: str, config: Path, command: str, *arguments: str) -> Run:
        called: list[str | Path] = [self._python, "-m", "anomavision.cli", command, "--config", config]
        called += ["--model_data_path", self._home / "models", *arguments]
        return self._bench.run(section, name, called, environment=self._environment, folder=self._home)
