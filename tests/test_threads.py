"""Threads of torch's own: they change no verdict, and do not spin where another process wants a core."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalyvfm.core_threads import one_core
from tests.test_detector import bad, fitted, good

_FIT = """
import resource, sys
from anomalyvfm.detector import Detector
Detector("v2", {"backbone": "efficientnet-lite0", "image.size": 128}, device="cpu").fit(sys.argv[1])
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


def test_the_number_of_threads_changes_no_more_than_last_bits() -> None:
    images, judged = good(12), [*good(4, seed=1), *bad(4, seed=1)]
    with one_core():
        alone = fitted(images, []).predict(judged)
        torch.set_num_threads(3)
        together = fitted(images, []).predict(judged)
    for one, other in zip(alone, together, strict=True):
        assert other.score == pytest.approx(one.score, abs=1e-4)
        np.testing.assert_allclose(other.grid, one.grid, atol=1e-3)


def test_threads_that_wait_sleep(drawn: Path) -> None:
    """Processor time, which spinning would multiply, beside a process that never rests on each core."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}

    def seconds(**others: str) -> float:
        done = subprocess.run(
            [sys.executable, "-c", _FIT, str(drawn / "sheet_metal" / "train" / "good")],
            env={**environment, **others},
            capture_output=True,
            text=True,
            check=True,
        )
        return float(done.stdout)

    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        one, several = seconds(OMP_NUM_THREADS="1"), seconds()
    finally:
        spinning.kill()
        spinning.wait()
    assert several < 1.5 * one, (several, one)
