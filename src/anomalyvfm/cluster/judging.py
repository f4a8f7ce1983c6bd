"""What a worker does in a prediction: judge the images of a part, and write down what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from anomalyvfm.cluster.careful import unreadable_left_out
from anomalyvfm.cluster.working_folder import write_whole
from anomalyvfm.data import ImageError, ImageSource
from anomalyvfm.data.freed_memory import give_back
from anomalyvfm.data.stores import ImageFile
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.predictions.writing import Judge, JudgeSettings, Output, write_predictions

T = TypeVar("T")


@dataclass(frozen=True)
class JudgePart:
    """The images of a part."""

    number: int
    images: Sequence[ImageFile]
    careful: bool = False
    """Look first which images can be read at all, each where it costs no more than itself."""

    @property
    def count(self) -> int:
        return len(self.images)

    @property
    def name(self) -> str:
        """That of its folder."""
        return f"part-{self.number:06d}"

    def carefully(self) -> JudgePart:
        return replace(self, careful=True)

    def __str__(self) -> str:
        return f"part {self.number}"


class Judging:
    """Judges parts by what ``load`` gives; what is written of each goes to one of its own in ``folder``."""

    def __init__(self, load: Callable[[], Judge], folder: Path, output: Output) -> None:
        self._load = load
        self._folder = folder
        self._output = Output(maps=output.maps, masks=output.masks)  # what is made of all lines is not theirs
        self._judge: Judge | None = None

    def prepare(self) -> None:
        """Load the model. Raises InputError where this machine cannot."""
        self._judge = self._load()

    def do(self, task: JudgePart, seen: Callable[[int], None]) -> None:
        """Leave what is written of a part in its folder; ``seen`` is told how many images have gone by."""
        assert self._judge is not None
        judge: Judge = _Careful(self._judge) if task.careful else self._judge

        def counted(items: Iterable[T], total: int, description: str) -> Iterator[T]:
            for number, item in enumerate(items, start=1):
                yield item
                seen(number)

        def judged(folder: Path) -> None:
            write_predictions(judge, task.images, folder, self._output, counted)

        write_whole(self._folder / task.name, judged)
        give_back()


class _Careful:
    """A judge of images some of which end the process that reads them."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.together = judge.together

    @property
    def settings(self) -> JudgeSettings:
        return self._judge.settings

    def judge(self, images: Iterable[ImageSource]) -> Iterator[tuple[ImageSource, Verdict | ImageError]]:
        return self._judge.judge(unreadable_left_out(list(images), self.settings.image))
