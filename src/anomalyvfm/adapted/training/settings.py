"""What training can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from anomalyvfm.errors import InputError

Loss = Literal["weighted", "confidence-map"]


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the loop; the defaults are those of v1.1. Raises InputError for values out of bounds.

    epochs         passes over the larger of the two sets, normal or synthetic
    batch          vectors (or images, in dense training) a step, half normal and half synthetic: even
    learning_rate  of AdamW
    weight_decay   of AdamW
    loss           weighted: by the head's confidence in its own logit; confidence-map: the head predicts it
    temperature    T of the weighted loss
    parts          a batch is taken in that many parts, their gradients added up: less memory, same result
    precision      what the matrix products compute in: auto, fp32, bf16 or fp16; fp32 on a CPU with auto
    seed           of the batches and of dropout
    """

    epochs: int = 10
    batch: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    loss: Loss = "weighted"
    temperature: float = 0.1
    parts: int = 1
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InputError(f"training for {self.epochs} epochs: give at least 1")
        if self.batch < 2 or self.batch % 2:
            raise InputError(
                f"training batch of {self.batch}: give an even number from 2 on, half of it is normal and"
                " half synthetic"
            )
        if self.parts < 1 or self.parts > self.batch // 2:
            raise InputError(
                f"a training batch of {self.batch} in {self.parts} parts: give 1 to {self.batch // 2}"
            )
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"learning rate {self.learning_rate}: give a positive number, such as 1e-4")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"temperature {self.temperature}: give a positive number, such as 0.1")
