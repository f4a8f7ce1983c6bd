"""Bounds on size and memory at the largest usual setting: DINOv2-base at 518 px. `make test-slow`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_CHILD = """
import json, sys
from pathlib import Path
import numpy as np
import torch, transformers
from anomalyvfm.data.generated import draw_good
from anomalyvfm.detector import Detector
from anomalyvfm.evaluation.evaluate import peak_megabytes
folder = Path(sys.argv[1])
config = transformers.Dinov2Config(image_size=518, patch_size=14)
transformers.Dinov2Model(config).save_pretrained(folder / "base")
rng = np.random.default_rng(0)
images = [draw_good("fabric", 518, rng) for _ in range(6)]
detector = Detector("v2", {"backbone": str(folder / "base"), "batch": 2}, device="cpu").fit(images[:5])
detector.save(folder / "model")
grid = detector.pipeline_.scorer.grid
verdict = Detector.load(folder / "model", device="cpu").predict(images[5:])[0]
same = verdict.score == detector.predict(images[5:])[0].score
print(json.dumps({"mb": peak_megabytes(), "grid": [grid.height, grid.width, grid.channels], "same": same}))
"""


@pytest.mark.slow
def test_dinov2_base_at_518_px_fits_in_memory_and_on_disk(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["grid"] == [37, 37, 768]
    assert found["same"]
    assert found["mb"] < 4000
    assert sum(f.stat().st_size for f in (tmp_path / "model").iterdir()) < 150e6
