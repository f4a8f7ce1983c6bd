"""Speed, memory and exactness on a GPU: `make bench-gpu`, wherever there is one.

    python benchmarks/gpu.py [--rounds 3] [--markdown docs/gpu.md]

The preset v2 with EfficientNet-Lite0 at 256 px and DINOv2-base at 518 px (random weights where the hub's are
not at hand; they take as long), in float32 and in what `auto` picks for the device. Images are drawn, and are
read from files. The bare backbone sees as many images, already decoded, at both sizes that the model sees.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from anomalyvfm.data.generated import generate
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.backbone import resolve_device
from anomalyvfm.features.backbones.checkpoint import is_cached
from anomalyvfm.features.backbones.names import HUB_REPOSITORIES
from anomalyvfm.metrics.image import auroc
from anomalyvfm.predictions.writing import write_predictions
from anomalyvfm.presets import preset
from performing.dino import save_checkpoint
from performing.rows import Row, Spread, table

_CATEGORY = "gear"
_SHARE = 0.75
# Of the spread of good images' scores, which is 1.
_CHANGE = 0.05


@dataclass(frozen=True)
class Case:
    """A backbone at a side, in a precision; ``learned`` and ``judged`` are images."""

    backbone: str
    side: int
    precision: str
    device: str
    learned: Sequence[Path]
    judged: Sequence[Path]

    @property
    def name(self) -> str:
        return f"{Path(self.backbone).name} at {self.side} px, {self.precision}"

    def fitted(self) -> tuple[Detector, float]:
        """A detector, and the seconds that its fit took."""
        overrides = {"backbone": self.backbone, "image.size": self.side}
        detail = preset("v2").override(overrides).detail
        backbone = backbones.load(self.backbone, device=self.device, precision=self.precision, detail=detail)
        detector = Detector("v2", overrides, device=self.device, backbone=backbone)
        return detector, self._seconds(lambda: detector.fit(list(self.learned)))

    def predict(self, detector: Detector, folder: Path) -> float:
        """Seconds from files to verdicts."""
        return self._seconds(lambda: write_predictions(detector, self.judged, folder))

    def bare(self, detector: Detector) -> float:
        """Seconds of the backbone alone on as many images."""
        extractor = detector.pipeline_.extractor
        rng = np.random.default_rng(0)
        batches = [
            torch.from_numpy(rng.integers(0, 256, (extractor.batch, view.height, view.width, 3), np.uint8))
            for view in extractor.views
        ]

        def run() -> None:
            for first in range(0, len(self.judged), extractor.batch):
                for batch in batches:
                    extractor.backbone(batch[: len(self.judged) - first])

        return self._seconds(run)

    def _seconds(self, run: Callable[[], object]) -> float:
        self._finish()
        started = time.perf_counter()
        run()
        self._finish()
        return time.perf_counter() - started

    def _finish(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


def measured(case: Case, rounds: int, work: Path) -> tuple[list[Row], list[float]]:
    """Rows, and the scores of the judged images."""
    fits, shares, rates = [], [], []
    if case.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    detector, _ = case.fitted()  # the first calls of a device compile its kernels
    case.predict(detector, work / "warm")
    for number in range(rounds):
        fits.append(case.fitted()[1])
        before = case.bare(detector)
        seconds = case.predict(detector, work / f"round-{number}")
        shares.append((before + case.bare(detector)) / 2 / seconds)
        rates.append(len(case.judged) / seconds)
    rows = [
        Row(f"{case.name}, fit {len(case.learned)} images", Spread.of(fits), "s"),
        Row(f"{case.name}, predict, loaded and warm", Spread.of(rates), "images/s"),
        Row(f"{case.name}, predict, share of the bare backbone's speed", Spread.of(shares), "", _SHARE),
    ]
    if case.device.startswith("cuda"):
        megabytes = torch.cuda.max_memory_allocated() / 1e6
        rows.append(Row(f"{case.name}, peak memory of the device", Spread.of([megabytes]), "MB"))
    return rows, [verdict.score for verdict in detector.predict(list(case.judged))]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--learned", type=int, default=200)
    parser.add_argument("--judged", type=int, default=400)
    parser.add_argument("--sides", default="256,518", help="of EfficientNet-Lite0 and of DINOv2-base")
    parser.add_argument("--only", choices=("efficientnet-lite0", "dinov2-base"))
    parser.add_argument("--precisions", default="fp32,auto")
    parser.add_argument("--markdown", type=Path, help="write the page there, too")
    given = parser.parse_args(arguments)
    try:
        device = resolve_device(given.device)
    except InputError as error:
        sys.exit(f"gpu.py: {error}")
    with tempfile.TemporaryDirectory(prefix="anomalyvfm-gpu-") as temporary:
        page = _page(given, device, Path(temporary))
    print(page)
    if given.markdown:
        given.markdown.write_text(page, encoding="utf-8")


def _page(given: argparse.Namespace, device: torch.device, work: Path) -> str:
    sides = [int(side) for side in given.sides.split(",")]
    rows: list[Row] = []
    for name, side in zip(("efficientnet-lite0", "dinov2-base"), sides, strict=True):
        if given.only not in (None, name):
            continue
        generate(work / str(side), [_CATEGORY], images=2 * max(given.learned, given.judged), size=side)
        folder = work / str(side) / _CATEGORY
        learned = sorted((folder / "train" / "good").iterdir())[: given.learned]
        judged = sorted((folder / "test_public").glob("*/*.png"))[: given.judged]
        scores = {}
        for precision in given.precisions.split(","):
            case = Case(_weights(name, work), side, precision, given.device, learned, judged)
            found, scores[precision] = measured(case, given.rounds, work / f"{name}-{precision}")
            rows += found
        if len(scores) == 2:
            one, other = map(np.array, scores.values())
            labels = [path.parent.name == "bad" for path in judged]
            what = f"{name} at {side} px, between the precisions"
            change = float(np.abs(one - other).mean())
            areas = [float(auroc(values, labels).value or 0) for values in (one, other)]
            rows += [
                Row(
                    f"{what}, mean change of a score",
                    Spread.of([change]),
                    "",
                    _CHANGE,
                    least=False,
                    note="in spreads of good images",
                ),
                Row(f"{what}, change of image AUROC", Spread.of([areas[1] - areas[0]])),
            ]
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    described = f"{named}; torch {torch.__version__}; {given.rounds} rounds."
    return f"# On a GPU\n\n    make bench-gpu\n\n{described}\n\n{table(rows)}\n"


def _weights(name: str, work: Path) -> str:
    """What `backbones.load` takes: a folder of random weights where the true ones are not at hand."""
    if name == "efficientnet-lite0" or is_cached(HUB_REPOSITORIES[name]):
        return name
    if not (work / name).exists():
        save_checkpoint(work / name)
    return str(work / name)


if __name__ == "__main__":
    main()
