"""What all sections share: folders of the same images, our models of them, and every run, measured once."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from performing.measurements import Measurements
from performing.process_tree import Run, measured

BACKBONE = "efficientnet-lite0"
SIDE = 256
BENCHMARKS = Path(__file__).resolve().parents[1]
_OURS = [sys.executable, "-m", "anomalyvfm"]

Command = Callable[[], Sequence[str | Path]]
"""Asked for only where there is something to measure: what it names may have to be fitted first."""


def our_module(name: str, *arguments: str | Path) -> list[str | Path]:
    """The command that runs one of these modules."""
    return ["env", f"PYTHONPATH={BENCHMARKS}", sys.executable, "-m", f"performing.{name}", *arguments]


@dataclass
class Bench:
    data: Path
    """magnetic_tile."""
    work: Path
    measurements: Measurements
    rounds: int
    sizes: tuple[int, int]
    """Images of the shorter and of the longer list to judge."""
    learned: int
    _round: int | None = None

    def in_turn(self, section: str, of: int | None = None) -> Iterator[int]:
        """The numbers of the rounds, all or those ``of`` so many; what is run meanwhile is of that round."""
        for number in range(of or self.rounds):
            self._round = number
            yield number
            self._round = None
            self.measurements.close(section, number)
            shutil.rmtree(self._scratch, ignore_errors=True)

    def run(self, section: str, name: str, command: Command, **how: Any) -> Run:
        """What a command takes, measured now unless it was before; ``how`` goes to `measured`."""
        return self._run(section, name, command, **how)[0]

    def child(self, section: str, name: str, module: str, *arguments: Callable[[], str | Path]) -> Any:
        """What the last line of JSON says that one of our modules prints, run as a process of its own."""

        return self.run_for_json(section, name, lambda: our_module(module, *(one() for one in arguments)))

    def run_for_json(self, section: str, name: str, command: Command, **how: Any) -> Any:
        """The last line of JSON that a command prints."""
        return self._run(section, name, command, **how)[1]

    def make(self, out: Path, command: Sequence[str | Path]) -> Path:
        """``out``, by a command that is run only where it is missing; nothing of it is measured."""
        if not out.exists():
            started = time.perf_counter()
            measured(command)
            print(f"made {out.name}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
        return out

    def _run(self, section: str, name: str, command: Command, **how: Any) -> tuple[Run, Any]:
        if line := self.measurements.kept(section, self._round, name):
            return Run(line["wall_s"], line["cpu_s"], line["peak_mb"], "", line["finished"]), line["found"]
        run = measured(command(), **how)
        last = run.output.splitlines()[-1:]
        found = json.loads(last[0]) if last and last[0].startswith("{") else None
        figures = {"wall_s": run.wall_s, "cpu_s": run.cpu_s, "peak_mb": run.peak_mb, "finished": run.finished}
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.measurements.add(section, self._round, name, {**figures, "found": found, "when": when})
        print(
            f"{section}, {name}: {run.wall_s:.2f} s, CPU {run.cpu_s:.2f} s, {run.peak_mb:.0f} MB"
            + ("" if run.finished else ", cut off"),
            file=sys.stderr,
            flush=True,
        )
        return run, found

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
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for number, image in enumerate(islice(cycle(images), count)):
                (partial / f"{number:06}-{image.name}").symlink_to(image.resolve())
            partial.rename(folder)
        return folder

    @property
    def _scratch(self) -> Path:
        return self.work / "scratch"

    def new(self, name: str) -> Path:
        """A path that nothing has used, emptied at the end of a round."""
        self._scratch.mkdir(exist_ok=True)
        return self._scratch / f"{name}-{time.monotonic_ns()}"

    # ── ours ────────────────────────────────────────────────────────────────────────────────────────

    def help_command(self) -> list[str | Path]:
        return [*_OURS, "--help"]

    def fit_command(
        self, images: Path, out: Path, backbone: str = BACKBONE, side: int = SIDE
    ) -> list[str | Path]:
        return [*_OURS, "fit", images, "--out", out, "--backbone", backbone, "--image-size", str(side)]

    def predict_command(self, model: Path, images: Path, maps: str = "none") -> list[str | Path]:
        return [*_OURS, "predict", model, images, "--out", self.new("verdicts"), "--maps", maps]

    def model(self, side: int = SIDE) -> Path:
        out = self.work / f"model-{side}"
        return self.make(out, self.fit_command(self.to_learn(), out, side=side))

    def exported(self, target: str, side: int = SIDE) -> Path:
        out = self.work / f"exported-{target}-{side}"
        return self.make(out, [*_OURS, "export", self.model(side), "--to", target, "--out", out])

    def ways(self, side: int = SIDE) -> dict[str, Callable[[], Path]]:
        """What `predict` takes: the fitted model, and the same exported."""
        return {
            "fitted model": lambda: self.model(side),
            "exported, onnx": lambda: self.exported("onnx", side),
            "exported, openvino": lambda: self.exported("openvino", side),
        }
