"""Visual anomaly detection for industrial inspection.

>>> from anomalyvfm import Detector
>>> detector = Detector("v2").fit("good_parts/")
>>> detector.predict("new_part.png")[0].anomalous
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from anomalyvfm.version import __version__

# The sums of a model fill a hundred megabytes and more, and are copied for each review. In pages of 2 MB that
# takes a fifth of the time it takes in pages of 4 KB. Torch reads this at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
# Threads that wait for one another sleep instead of spinning: spinning takes the cores from whoever else is
# at work, and where a core is busy each wait can cost a slice of the scheduler. OpenMP reads this when torch
# is loaded, OpenBLAS, whose threads would spin for some 25 ms after each product, when numpy is; a process
# that has imported them before keeps what it has.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

__all__ = ["PRESETS", "Detector", "InputError", "Verdict", "__version__", "load"]

if TYPE_CHECKING:
    from anomalyvfm.decision.verdict import Verdict
    from anomalyvfm.detector import Detector
    from anomalyvfm.errors import InputError
    from anomalyvfm.presets import PRESETS

# Imported on first use: torch alone takes seconds, and `anomalyvfm --help` must not.
_ROOMS = {"Detector": "detector", "InputError": "errors", "PRESETS": "presets", "Verdict": "decision.verdict"}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'anomalyvfm' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"anomalyvfm.{_ROOMS[name]}"), name)


def load(folder: str, *, device: str = "auto") -> Detector:
    """The detector kept in a model folder."""
    from anomalyvfm.detector import Detector

    return Detector.load(folder, device=device)
