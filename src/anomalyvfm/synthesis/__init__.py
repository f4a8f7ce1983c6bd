"""Synthetic defects, made from good images alone: what the pipelines v1.1 to v1.4 are trained against."""

from anomalyvfm.synthesis.contextual import contextual
from anomalyvfm.synthesis.groups import KNOWN, group_of
from anomalyvfm.synthesis.mixes import MIXES, SCALES, STAGES, TOTAL, Group, Mix, Stage, mixes
from anomalyvfm.synthesis.pairs import write_pairs
from anomalyvfm.synthesis.structural import structural
from anomalyvfm.synthesis.synthesize import Order, Synthetic, orders, synthesize
from anomalyvfm.synthesis.texture import texture

__all__ = [
    "KNOWN",
    "MIXES",
    "SCALES",
    "STAGES",
    "TOTAL",
    "Group",
    "Mix",
    "Order",
    "Stage",
    "Synthetic",
    "contextual",
    "group_of",
    "mixes",
    "orders",
    "structural",
    "synthesize",
    "texture",
    "write_pairs",
]
