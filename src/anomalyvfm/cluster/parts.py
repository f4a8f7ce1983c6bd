"""How images are cut into parts, and how what parts have learned is added up, in a tree."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

# What a part has learned, some ten or hundred MB, is written, read and added once: on so many images that
# costs under a hundredth of learning them. Of few images the parts are smaller, or most workers had none;
# of many they are larger, for each costs the driver a few milliseconds.
_LEAST, _USUAL, _PARTS, _MOST_PARTS = 64, 512, 8, 4096

FAN = 16
"""So many are added up at once: by the driver where there are no more, else by workers."""


@dataclass(frozen=True)
class Part:
    """Some of the images, one after the other: ``count`` of them from the ``first``."""

    number: int
    first: int
    count: int

    @property
    def end(self) -> int:
        return self.first + self.count


def parts_of(images: int, batch: int) -> list[Part]:
    """Parts of whole batches: each image is seen beside those it would be seen beside on one machine.

    They are as equal as batches allow: at the end nobody waits for one that has much more to do.
    """
    if not images:
        return []
    usual = max(_USUAL, math.ceil(images / _MOST_PARTS))
    batches, most = math.ceil(images / batch), math.ceil(min(usual, max(_LEAST, images / _PARTS)) / batch)
    parts = math.ceil(batches / most)
    cuts = [min(images, batch * (batches * number // parts)) for number in range(parts + 1)]
    return [Part(number, start, end - start) for number, (start, end) in enumerate(pairwise(cuts))]


@dataclass(frozen=True)
class Node:
    """What some parts have learned together: at ``level`` 0 one alone, above it `FAN` of the level below."""

    level: int
    number: int

    @property
    def name(self) -> str:
        """That of its folder."""
        return f"sums-{self.level}-{self.number:06d}"


class Tree:
    """Which nodes there are over so many parts, up to the few at the top that the driver adds up itself."""

    def __init__(self, parts: int) -> None:
        self._counts = [parts]
        while self._counts[-1] > FAN:
            self._counts.append(math.ceil(self._counts[-1] / FAN))

    @property
    def top(self) -> list[Node]:
        return [Node(len(self._counts) - 1, number) for number in range(self._counts[-1])]

    def nodes(self) -> Iterator[Node]:
        """All of them, those below first."""
        for level, count in enumerate(self._counts):
            for number in range(count):
                yield Node(level, number)

    def above(self, node: Node) -> Node | None:
        """The one that it is added to; None for those at the top."""
        return Node(node.level + 1, node.number // FAN) if node.level + 1 < len(self._counts) else None

    def below(self, node: Node) -> list[Node]:
        """Those that it adds up, in order; none for a part."""
        if node.level == 0:
            return []
        first = node.number * FAN
        return [
            Node(node.level - 1, number)
            for number in range(first, min(first + FAN, self._counts[node.level - 1]))
        ]
