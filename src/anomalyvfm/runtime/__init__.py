"""Exported models judged by onnxruntime or OpenVINO alone: no torch, and for arrays nothing but numpy beside.

>>> from anomalyvfm import runtime
>>> verdict = runtime.load("exported/").predict([image])[0]  # (H, W, 3) uint8 RGB
"""

from anomalyvfm.runtime.judge import Runtime, load

__all__ = ["Runtime", "load"]
