"""The three-minute tour: learn good solar cells, judge the others, look at the worst."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anomalyvfm.data import open_dataset, read_image
from anomalyvfm.detector import Detector
from anomalyvfm.evaluation.evaluate import evaluate
from anomalyvfm.evaluation.report import Report
from anomalyvfm.files import new_folder
from anomalyvfm.tracking import Tracker
from anomalyvfm.visual.overlay import draw
from anomalyvfm.visual.panels import draw_sheet
from anomalyvfm.visual.pictures import contact_sheet, save_picture

_SHOWN = 20


def run_demo(out: Path, overwrite: bool, device: str, seed: int, track: Tracker) -> dict[str, Any]:
    """Fit on functional monocrystalline cells of elpv-dataset, evaluate, and draw the worst twenty."""
    cells = open_dataset(Path("elpv-mono"), seed=seed)
    detector = Detector("v2", {"backbone": "efficientnet-lite0"}, device=device, seed=seed)
    detector.fit(cells, track=track)
    report = evaluate(detector, cells, track)
    worst = sorted(report.images, key=lambda image: -image.verdict.score)[:_SHOWN]
    with new_folder(out, overwrite) as folder:
        detector.save(folder / "model")
        (folder / "metrics.json").write_text(json.dumps(report.metrics, indent=2) + "\n", encoding="utf-8")
        (folder / "worst").mkdir()
        pictures = []
        for rank, (image, verdict) in enumerate(
            zip(worst, detector.predict([image.sample.path for image in worst]), strict=True), start=1
        ):
            pixels = read_image(image.sample.path)
            picture = draw(pixels, verdict)
            save_picture(
                draw_sheet(pixels, verdict),
                folder / "worst" / f"{rank:02d}_{image.sample.path.stem}.png",
            )
            truth = "defective" if image.sample.label else "good"
            pictures.append((picture, f"{rank}. score {image.verdict.score:.1f}  ({truth})"))
        save_picture(contact_sheet(pictures), folder / "contact_sheet.png")
    return {"out": str(out), "table": _table(report), "metrics": report.metrics}


def _table(report: Report) -> dict[str, dict[str, int]]:
    """How many good and defective cells were let pass and rejected."""
    table = {truth: {"judged good": 0, "judged anomalous": 0} for truth in ("good", "defective")}
    for image in report.images:
        truth = "defective" if image.sample.label else "good"
        table[truth]["judged anomalous" if image.verdict.anomalous else "judged good"] += 1
    return table
