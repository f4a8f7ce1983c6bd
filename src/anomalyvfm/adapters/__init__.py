"""Low-rank adaptation of features: the trained part of the pipelines v1.1 to v1.4."""

from anomalyvfm.adapters.adapter import Adapter
from anomalyvfm.adapters.building import Form, build, digest, load_tensors, to_tensors
from anomalyvfm.adapters.chain import ChainAdapter
from anomalyvfm.adapters.gated import GatedAdapter
from anomalyvfm.adapters.in_encoder import InEncoderAdapter, encoder_of
from anomalyvfm.adapters.low_rank import check_rank
from anomalyvfm.adapters.multiscale import MultiScaleAdapter

__all__ = [
    "Adapter",
    "ChainAdapter",
    "Form",
    "GatedAdapter",
    "InEncoderAdapter",
    "MultiScaleAdapter",
    "build",
    "check_rank",
    "digest",
    "encoder_of",
    "load_tensors",
    "to_tensors",
]
