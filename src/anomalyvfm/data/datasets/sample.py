"""What every layout is turned into: samples with what is known about them, by split."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

GOOD = 0
DEFECT = 1


@dataclass(frozen=True)
class Sample:
    """One image file and what is known about it.

    `label` is 0 for good, 1 for a defect, None where nobody has said. `mask` is None for a good image and
    where a defect has no mask; a folder holds several, which count together. `condition` is the lighting,
    where the file name tells it; `kind` the kind of defect, "good", or "unknown".
    """

    path: Path
    label: int | None
    mask: Path | None = None
    condition: str | None = None
    kind: str = "good"


@dataclass(frozen=True)
class Category:
    """The images of one kind of object: good ones to learn from, labelled ones to test on.

    `private` holds splits without labels, by name, whose maps are judged elsewhere.
    """

    name: str
    layout: str
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...] = ()
    test: tuple[Sample, ...] = ()
    private: dict[str, tuple[Sample, ...]] = field(default_factory=dict)
