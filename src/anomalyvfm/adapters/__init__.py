"""Low-rank adaptation of features: the trained part of the pipelines v1.1 to v1.4."""

from anomalyvfm.adapters.adapter import Adapter
from anomalyvfm.adapters.building import Form, build, load_tensors, to_tensors
from anomalyvfm.adapters.chain import ChainAdapter
from anomalyvfm.adapters.gated import GatedAdapter
from anomalyvfm.adapters.in_encoder import InEncoderAdapter
from anomalyvfm.adapters.multiscale import MultiScaleAdapter

__all__ = [
    "Adapter",
    "ChainAdapter",
    "Form",
    "GatedAdapter",
    "InEncoderAdapter",
    "MultiScaleAdapter",
    "build",
    "load_tensors",
    "to_tensors",
]
