"""anomalib's fit, predict and OpenVINO inferencer as commands, and the models they need."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from peers import peer_python
from performing.bench import Bench, our_module

_CHILD = Path(__file__).with_name("anomalib_child.py")


class Anomalib:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    @cached_property
    def _python(self) -> Path:
        return peer_python("anomalib", exporting=True)

    @cached_property
    def _weights(self) -> Path:
        file = self._bench.work / "weights.safetensors"
        return self._bench.make(file, our_module("anomalib_weights", file))

    def fit(self, method: str, images: Path, out: Path) -> list[str | Path]:
        return self._command("fit", method, "--weights", self._weights, "--images", images, "--out", out)

    def predict(self, images: Path, pictures: bool = False) -> list[str | Path]:
        asked = ["--pictures"] if pictures else []
        known = ("--weights", self._weights, "--model", self._model, "--out", self._bench.new("anomalib"))
        return self._command("predict", "padim", *known, "--images", images, *asked)

    def infer(self, images: Path) -> list[str | Path]:
        return self._command("infer", "--model", self._exported, "--images", images)

    @property
    def _model(self) -> Path:
        out = self._bench.work / "anomalib-model"
        return self._bench.make(out / "model.ckpt", self.fit("padim", self._bench.to_learn(), out))

    @property
    def _exported(self) -> Path:
        out = self._bench.work / "anomalib-exported"
        known = ("--weights", self._weights, "--model", self._model)
        return self._bench.make(out / "model.xml", self._command("export", "padim", *known, "--out", out))

    def _command(self, *arguments: str | Path) -> list[str | Path]:
        return [self._python, _CHILD, *arguments]
