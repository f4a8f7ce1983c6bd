"""Threads of torch's own: they change no verdict, and do not spin where another process wants a core."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from anomalyvfm.features.core_threads import one_core
from tests.test_detector import bad, fitted, good

# A second of pauses after what all threads share; processor time that other threads use during the pauses.
_PAUSES = """
import time
import anomalyvfm
{shared}
def of_others():
    return time.process_time() - time.thread_time()
used = 0
for _ in range(200):
    share()
    before = of_others()
    time.sleep(0.005)
    used += of_others() - before
print(used)
"""
_SUMS = _PAUSES.format(
    shared="import torch; numbers = torch.ones(1 << 16); share = lambda: numbers + numbers"
)
_PRODUCTS = _PAUSES.format(
    shared="import numpy; numbers = numpy.ones((640, 32), 'f'); share = lambda: numbers @ numbers.T"
)


def test_the_number_of_threads_changes_no_more_than_last_bits() -> None:
    images, judged = good(12), [*good(4, seed=1), *bad(4, seed=1)]
    with one_core():
        alone = fitted(images, []).predict(judged)
        torch.set_num_threads(3)
        together = fitted(images, []).predict(judged)
    for one, other in zip(alone, together, strict=True):
        assert other.score == pytest.approx(one.score, abs=1e-4)
        np.testing.assert_allclose(other.anomaly_map, one.anomaly_map, atol=1e-3)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: no thread waits for another")
@pytest.mark.parametrize(
    ("pauses", "set_by_hand", "spins"),
    [
        (_SUMS, {}, False),
        (_SUMS, {"OMP_WAIT_POLICY": "ACTIVE"}, True),
        (_PRODUCTS, {}, False),
        (_PRODUCTS, {"OPENBLAS_THREAD_TIMEOUT": "26"}, True),
    ],
)
def test_threads_that_wait_sleep(pauses: str, set_by_hand: dict[str, str], spins: bool) -> None:
    """Beside other work, threads that spin take its cores. Set by hand: that the test would see it."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "OPENBLAS_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", pauses],
        env=environment | set_by_hand,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (float(done.stdout) > 0.3) == spins, done.stdout
