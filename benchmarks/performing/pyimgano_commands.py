"""pyimgano's PatchCore as commands.

Its fit on all images is stopped at a time limit; what `predict` runs has learned few images, so that its bank
is smaller, and its search faster, than a whole one's.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from peers import peer_python
from performing.bench import Bench

FEW = 25
_CHILD = Path(__file__).with_name("pyimgano_child.py")


class Pyimgano:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    @cached_property
    def _python(self) -> Path:
        return peer_python("pyimgano")

    def fit(self, images: Path, out: Path) -> list[str | Path]:
        return [self._python, _CHILD, "fit", "--images", images, "--out", out]

    def predict(self, images: Path) -> list[str | Path]:
        return [self._python, _CHILD, "predict", "--model", self._model, "--images", images]

    @property
    def _model(self) -> Path:
        out = self._bench.work / "pyimgano.pt"
        return self._bench.make(out, self.fit(self._bench.to_learn(FEW), out))
