"""Visual anomaly detection for industrial inspection.

>>> from anomalyvfm import Detector
>>> detector = Detector("v2", {"backbone": "efficientnet-lite0"}).fit("good_parts/")
>>> detector.predict(["new_part.png"])[0].anomalous
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["PRESETS", "Detector", "InputError", "Verdict", "load"]

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector
    from anomalyvfm.errors import InputError
    from anomalyvfm.presets import PRESETS
    from anomalyvfm.verdict import Verdict

# Imported on first use: torch alone takes seconds, and `anomalyvfm --help` must not.
_ROOMS = {"Detector": "detector", "InputError": "errors", "PRESETS": "presets", "Verdict": "verdict"}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'anomalyvfm' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"anomalyvfm.{_ROOMS[name]}"), name)


def load(folder: str, *, device: str = "auto") -> Detector:
    """The detector kept in a model folder."""
    from anomalyvfm.detector import Detector

    return Detector.load(folder, device=device)
