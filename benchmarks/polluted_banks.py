"""Where defects among the images to learn from do their harm: in the memory banks.

    python benchmarks/polluted_banks.py [--sets pcb] [--draws 1]

Fits as `unlabelled.py` does, with none and 5 % of defects, and judges the test images with some images left
out of the memory banks alone, the Gaussians as they are: none, the defective ones, which nobody would know,
and the oddest by `rank`. What a fit gives is kept in runs/polluted_banks/,
and is not measured again.
"""

from __future__ import annotations

from pathlib import Path

from anomalyvfm.detector import Detector
from anomalyvfm.metrics.image import auroc
from anomalyvfm.presets import GaussianPreset, preset
from anomalyvfm.ranking.rank import rank
from anomalyvfm.statistical.scorer import StatisticalScorer
from kept_rows import Row, keep, kept, key, measured_sources
from labelled_sets import arguments
from unlabelled import Batch, drawn_batch

_KEPT = Path("runs/polluted_banks")
_ODD_SHARES = (0.05, 0.1, 0.2, 0.3)


def main() -> None:
    given = arguments(__doc__, draws=1)
    print("| set | defects learned from | left out of the banks | of the defective | image AUROC |")
    print("|---|---|---|---|---|", flush=True)
    for name in given.sets:
        for draw in range(given.draws):
            for polluted in (0.0, 0.05):
                batch = drawn_batch(name, draw, polluted)
                file = _KEPT / f"{key([draw, given.backbone], measured_sources(), batch.used)}.json"
                if not file.exists():
                    keep(file, _measure(batch, draw, given.backbone))
                for left_out, found, area in kept(file)["rows"]:
                    print(f"| {name} | {polluted:.0%} | {left_out} | {found} | {area:.3f} |", flush=True)


def _measure(batch: Batch, draw: int, backbone: str) -> Row:
    detector = Detector("v2", {"backbone": backbone}, seed=draw).fit(batch.learned)
    scorer = detector.pipeline_.scorer
    settings = preset("v2").override({"backbone": backbone})
    assert isinstance(scorer, StatisticalScorer) and isinstance(settings, GaussianPreset)
    keys = [image for _, image in detector.pipeline_.extractor.keys(batch.learned)]
    defective = set(keys[batch.good_learned :])
    order = [keys[number] for number in rank(batch.learned, settings, seed=draw).order]
    left_out = {"none": set[int](), "the defective": defective}
    left_out |= {f"the oddest {share:.0%}": set(order[: round(share * len(order))]) for share in _ODD_SHARES}
    labels = [0] * batch.good_tested + [1] * (len(batch.tested) - batch.good_tested)
    rows = []
    for said, images in left_out.items():
        scorer.leave_out(images)
        scores = [verdict.score for verdict in detector.predict(batch.tested)]
        area = float(auroc(scores, labels).value or 0.5)
        rows.append((said, f"{len(images & defective)} of {len(defective)}", area))
    return {"rows": rows}


if __name__ == "__main__":
    main()
