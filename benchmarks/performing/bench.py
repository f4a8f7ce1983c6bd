"""What all sections share: folders of the same images, our models of them, and a log of every run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from performing.process_tree import Run, measured

BACKBONE = "efficientnet-lite0"
SIDE = 256
BENCHMARKS = Path(__file__).resolve().parents[1]
_OURS = [sys.executable, "-m", "anomalyvfm"]


@dataclass
class Bench:
    data: Path
    """magnetic_tile."""
    work: Path
    rounds: int
    sizes: tuple[int, int]
    """Images of the shorter and of the longer list to judge."""
    learned: int
    log: list[dict[str, Any]] = field(default_factory=list)

    def run(self, section: str, name: str, command: Sequence[str | Path], **how: Any) -> Run:
        """Measure a command and keep its figures; ``how`` goes to `measured`."""
        run = measured(command, **how)
        figures = {"wall_s": run.wall_s, "cpu_s": run.cpu_s, "peak_mb": run.peak_mb, "finished": run.finished}
        self.log.append({"section": section, "name": name, **figures})
        print(
            f"{section}, {name}: {run.wall_s:.2f} s, CPU {run.cpu_s:.2f} s, {run.peak_mb:.0f} MB"
            + ("" if run.finished else ", cut off"),
            file=sys.stderr,
            flush=True,
        )
        return run

    def child(self, section: str, module: str, *arguments: str | Path) -> dict[str, Any]:
        """Run one of our modules as a process of its own; what its last line of JSON says."""
        command = [sys.executable, "-m", f"performing.{module}", *arguments]
        run = self.run(section, module, command, environment={"PYTHONPATH": str(BENCHMARKS)})
        found: dict[str, Any] = json.loads(run.output.splitlines()[-1])
        self.log[-1]["found"] = found
        return found

    # ── images ──────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def good(self) -> list[Path]:
        return sorted((self.data / "train" / "good").iterdir())

    @cached_property
    def tested(self) -> list[Path]:
        """Good and bad in turn, so that a short list has both."""
        good, bad = (sorted((self.data / "test_public" / label).iterdir()) for label in ("good", "bad"))
        pairs = [one for pair in zip(good, bad, strict=False) for one in pair]
        return pairs + good[len(bad) :] + bad[len(good) :]

    def to_learn(self, count: int | None = None) -> Path:
        """`train/good` of so many good images, as every system can read it."""
        return self._links(f"learn-{count or self.learned}/train/good", self.good, count or self.learned)

    def to_judge(self, count: int) -> Path:
        return self._links(f"judge-{count}", self.tested, count)

    def _links(self, name: str, images: Sequence[Path], count: int) -> Path:
        """A folder of links to the images, repeated as often as needed."""
        folder = self.work / name
        if not folder.exists():
            folder.mkdir(parents=True)
            for number, image in enumerate(islice(cycle(images), count)):
                (folder / f"{number:06}-{image.name}").symlink_to(image.resolve())
        return folder

    def new(self, name: str) -> Path:
        """A path under ``work`` that nothing has used."""
        return self.work / f"{name}-{len(self.log)}"

    # ── ours ────────────────────────────────────────────────────────────────────────────────────────

    def fit_command(
        self, images: Path, out: Path, backbone: str = BACKBONE, side: int = SIDE
    ) -> list[str | Path]:
        return [*_OURS, "fit", images, "--out", out, "--backbone", backbone, "--image-size", str(side)]

    def predict_command(self, model: Path, images: Path, out: Path) -> list[str | Path]:
        return [*_OURS, "predict", model, images, "--out", out]

    @cached_property
    def model(self) -> Path:
        out = self.work / "model"
        self.run("prepare", "ours, fit", self.fit_command(self.to_learn(), out))
        return out

    @cached_property
    def ways(self) -> dict[str, Path]:
        """What `predict` takes: the fitted model, and the same exported."""
        found = {"fitted model": self.model}
        told = subprocess.run([*_OURS, "--help"], capture_output=True, text=True, check=True)
        if "export" not in told.stdout.split():
            print("this version exports nothing: only the fitted model is measured", file=sys.stderr)
            return found
        for target in ("onnx", "openvino"):
            out = self.work / f"exported-{target}"
            self.run(
                "prepare",
                f"ours, export {target}",
                [*_OURS, "export", self.model, "--to", target, "--out", out],
            )
            found[f"exported, {target}"] = out
        return found

    @property
    def exported(self) -> dict[str, Path]:
        return {name: folder for name, folder in self.ways.items() if name.startswith("exported")}
