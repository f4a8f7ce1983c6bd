"""Training of adapters on features computed beforehand."""

from anomalyvfm.training.head import Head
from anomalyvfm.training.loop import Curve, TrainingData, train
from anomalyvfm.training.mapped import mapped_rows
from anomalyvfm.training.plans import PLANS, Plan
from anomalyvfm.training.settings import TrainingSettings

__all__ = ["PLANS", "Curve", "Head", "Plan", "TrainingData", "TrainingSettings", "mapped_rows", "train"]
