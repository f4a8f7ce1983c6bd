"""What every scene offers: a good surface to photograph, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from anomalyvfm.data.generated.canvas import Canvas

Defects = Mapping[str, Callable[[Any, np.random.Generator], None]]
"""Kinds of defect and the methods that paint them."""


class Scene:
    """One product. The constructor paints a good one; each entry of `defects` then paints damage on it.

    Subclasses set `canvas` in `__init__(size, rng)`. What they draw from `rng` must not depend on `size`.
    """

    defects: ClassVar[Defects]
    canvas: Canvas

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        raise NotImplementedError
