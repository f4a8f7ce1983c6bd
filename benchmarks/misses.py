"""The hardest misses, to look at: defective images with the lowest scores, good ones with the highest.

    python benchmarks/misses.py --data elpv-poly --out misses.jpg
    python benchmarks/misses.py --data magnetic_tile,fabric --out misses.jpg [--count 6]

Of each data set a row of either: the overlay that `predict` would give, with the defect's true border in
green where it is known. Captions give the p-value, and whether a threshold for 1 % false alarms finds the
image anomalous. v2 learns what `accuracy.py` lets it learn with the first seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.data import Category, read_image, read_mask
from anomalyvfm.data.generated import CATEGORIES
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.detector import Detector
from anomalyvfm.visual.overlay import border, draw
from anomalyvfm.visual.pictures import contact_sheet
from splits import REAL, SHARED, names, open_split

_TRUTH = np.array((60, 220, 60), np.uint8)

Picture = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="elpv-mono,elpv-poly", help=f"of {', '.join((*REAL, *CATEGORIES))}")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--count", type=int, default=6, help="pictures a row")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    pictures: list[tuple[Picture, str]] = []
    for name in names(options.data):
        rows = hardest(open_split(name, 0, options.shared), options.count)
        for row in rows:
            pictures += row
            pictures += [(np.full((1, 1, 3), 255, np.uint8), "")] * (options.count - len(row))
    Image.fromarray(contact_sheet(pictures, columns=options.count)).save(options.out, quality=85)


def hardest(category: Category, count: int) -> tuple[list[tuple[Picture, str]], list[tuple[Picture, str]]]:
    """Captioned overlays of the defective images that look best, and of the good ones that look worst."""
    detector = Detector("v2", {"backbone": "efficientnet-lite0"}).fit(category)
    verdicts = detector.predict([sample.path for sample in category.test])
    order = np.argsort([verdict.score for verdict in verdicts])
    bad = [int(i) for i in order if category.test[i].label]
    good = [int(i) for i in order[::-1] if not category.test[i].label]
    missed = [i for i in bad if not verdicts[i].anomalous]
    alarms = [i for i in good if verdicts[i].anomalous]
    print(
        f"{category.name}: {len(missed)} of {len(bad)} defective images missed,"
        f" {len(alarms)} of {len(good)} good ones called anomalous"
    )
    kinds = sorted({category.test[i].kind for i in bad})
    for kind in kinds if len(kinds) > 1 else ():
        of_kind = [i for i in bad if category.test[i].kind == kind]
        print(f"  {kind}: {sum(i in missed for i in of_kind)} of {len(of_kind)} missed")
    rows = [
        [(_shown(category, i, verdicts[i]), _caption(category, i, verdicts[i])) for i in chosen[:count]]
        for chosen in (bad, good)
    ]
    return rows[0], rows[1]


def _shown(category: Category, number: int, verdict: Verdict) -> Picture:
    sample = category.test[number]
    picture = draw(read_image(sample.path), verdict)
    if sample.mask is not None:
        truth = Image.fromarray(read_mask(sample.mask)).resize(picture.shape[1::-1])
        picture[border(np.asarray(truth), thickness=1)] = _TRUTH
    return picture


def _caption(category: Category, number: int, verdict: Verdict) -> str:
    sample = category.test[number]
    said = "found" if verdict.anomalous else "passed"
    return f"{sample.kind if sample.label else 'good'}, p {verdict.p_value:.2f}, {said}"


if __name__ == "__main__":
    main()
