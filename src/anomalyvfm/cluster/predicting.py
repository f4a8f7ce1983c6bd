"""Predictions on a cluster: workers judge parts, and what they write is joined in the images' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomalyvfm.cluster.judging import JudgePart, Judging
from anomalyvfm.cluster.parts import parts_of
from anomalyvfm.cluster.progress import Progress
from anomalyvfm.cluster.workers import Cluster, Show, Workers, connected, unshown
from anomalyvfm.cluster.working_folder import RUN, working
from anomalyvfm.data.stores import ImageFile
from anomalyvfm.predictions.writing import (
    Judge,
    Output,
    Tally,
    join_predictions,
    state_of,
    write_predictions,
)
from anomalyvfm.tracking import Tracker, untracked


@dataclass
class ClusterPredict:
    """Judges images on a cluster; ``load`` gives a worker the ``model``, no other than the ``judge`` here.

    What is not yet whole lies in ``folder``, as with `ClusterFit`; so do ``resume``, ``show``, ``summary``.
    """

    cluster: Cluster
    folder: Path
    load: Callable[[], Judge]
    model: Path
    gpu: bool = False
    resume: bool = False
    show: Show = unshown
    summary: dict[str, Any] = field(default_factory=dict)

    def predict(
        self,
        judge: Judge,
        images: Sequence[ImageFile],
        out: Path,
        output: Output,
        track: Tracker = untracked,
    ) -> Tally:
        """As `write_predictions`, with the same lines and files but for the times. Raises InputError."""
        marker = output.marker(images)
        if self.resume and state_of(out, marker) == "finished":  # nothing is left to do but to count
            return write_predictions(judge, images, out, output, track, resume=True)
        place = self.folder.absolute()
        parts = [
            JudgePart(part.number, images[part.first : part.end])
            for part in parts_of(len(images), judge.together)
        ]
        with working(place, marker, self.resume):
            missing = [part for part in parts if not (place / part.name).is_dir()]
            left = sum(part.count for part in missing)
            progress = Progress(len(images), done=len(images) - left)
            if missing:
                probes = [str(place / RUN), str(self.model)]
                probes += [str(image.parent) for image in images[:1] if isinstance(image, Path)]
                job, count = Judging(self.load, place, output), len(missing)
                with (
                    self.show() as listen,
                    connected(self.cluster),
                    closing(Workers(self.cluster, job, probes, progress, listen, count, self.gpu)) as workers,
                ):
                    deque(workers.do(missing), maxlen=0)
            self.summary = {"parts": len(parts), **progress.as_dict()}
            folders = [place / part.name for part in parts]
            return join_predictions(folders, images, out, output, track)
