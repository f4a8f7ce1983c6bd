"""A model of real size, fitted and exported with several threads, as on any machine of a user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_CHILD = """
import sys
from pathlib import Path
import numpy as np, torch
from anomalyvfm.data.generated import draw_good
from anomalyvfm.detector import Detector
from anomalyvfm.runtime import load
from tests.export.exports import in_both_kinds
torch.set_num_threads(2)
rng = np.random.default_rng(0)
good = [draw_good("sheet_metal", 256, rng) for _ in range(15)]
detector = Detector("v2", {"backbone": "efficientnet-lite0"}, device="cpu").fit(good[:12])
assert (detector.frame_.height, detector.pipeline_.scorer.grid.height) == (512, 32)
expected = detector.predict(good)
for kind, manifest in in_both_kinds(detector, Path(sys.argv[1])).items():
    assert manifest["parity"]["score"] < 0.02, manifest["parity"]
    exported = load(Path(sys.argv[1]) / kind).predict(good)
    for ours, theirs in zip(expected, exported, strict=True):
        assert abs(ours.score - theirs.score) < 0.02, (ours.score, theirs.score)
assert torch.get_num_threads() == 2
"""


def test_a_model_of_real_size_is_exported_with_two_threads(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("OMP_")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
