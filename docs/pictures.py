"""Draw the pictures in these pages: `.venv/bin/python docs/pictures.py`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from anomalyvfm.data import read_image
from anomalyvfm.data.generated import draw_bad, draw_good, generate
from anomalyvfm.detector import Detector
from anomalyvfm.visual.overlay import draw
from anomalyvfm.visual.panels import draw_sheet
from anomalyvfm.visual.pictures import contact_sheet

SHOWN = (
    ("blister", "missing_tablet"),
    ("gear", "chipped_tooth"),
    ("can", "smeared_print"),
    ("sheet_metal", "dent"),
)


def overview(out: Path, size: int = 256, images: int = 80) -> None:
    """A good part, a defective one, and the verdict on it, for four products."""
    rows: list[list[tuple[np.ndarray, str]]] = [[], [], []]
    for category, kind in SHOWN:
        rng = np.random.default_rng(4)
        good = [draw_good(category, size, rng) for _ in range(images)]
        detector = Detector("v2", {"backbone": "efficientnet-lite0", "image.size": size}).fit(good)
        bad = draw_bad(category, size, rng, kind=kind)[0]
        verdict = detector.predict([bad])[0]
        rows[0].append((good[0], f"{category}: learned from {images} good"))
        rows[1].append((bad, f"never seen: {kind.replace('_', ' ')}"))
        rows[2].append((draw(bad, verdict), f"score {verdict.score:.1f}, p {verdict.p_value:.3f}"))
    sheet = contact_sheet([cell for row in rows for cell in row], columns=len(SHOWN))
    Image.fromarray(sheet).save(out, quality=88)


def why(out: Path) -> None:
    """The picture `predict` writes of the first defective blister in inspect.md."""
    with TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawn"
        generate(drawn, ["blister"], images=120)
        detector = Detector("v2", {"backbone": "efficientnet-lite0"}).fit(drawn / "blister")
        image = read_image(drawn / "blister/test_public/bad/000_regular.png")
        Image.fromarray(draw_sheet(image, detector.predict([image])[0])).save(out, quality=88)


if __name__ == "__main__":
    overview(Path(__file__).parent / "overview.jpg")
    why(Path(__file__).parent / "why.jpg")
