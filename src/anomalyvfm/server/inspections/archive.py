"""The inspections that are kept, with their images, maps and pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.inspections.thumbnails import Thumbnails
from anomalyvfm.server.inspections.verdicts import exhibit, restore
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store import inspections, reviews
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.inspections import InspectionFilter
from anomalyvfm.server.store.tables import InspectionRow


class Archive:
    """Looked up by number; Problem 404 for one that is not here, or whose file is no longer kept."""

    def __init__(
        self,
        database: Database,
        files: Files,
        decoders: Decoders,
        thumbnails: Thumbnails,
        white_level: Callable[[str], int],
    ) -> None:
        self._database = database
        self._files = files
        self._decoders = decoders
        self._thumbnails = thumbnails
        self._white_level = white_level

    def newest(
        self,
        wanted: InspectionFilter | None = None,
        before: int | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """Newest first; with ``after`` alone, the closest above it."""
        with self._database.reading() as session:
            rows = inspections.newest(session, wanted or InspectionFilter(), before, after, limit)
            return [inspections.as_dict(row) for row in rows]

    def get(self, number: int) -> dict[str, Any]:
        """One of them."""
        return inspections.as_dict(self.row(number))

    def row(self, number: int) -> InspectionRow:
        with self._database.reading() as session:
            return inspections.find(session, number)

    def verdict(self, number: int) -> Verdict:
        row = self.row(number)
        return restore(row, self._read(row.map))

    def original(self, number: int) -> bytes:
        return self._read(self.row(number).image)

    def preview(self, number: int) -> bytes:
        row = self.row(number)
        return self._decoders.picture(self._read(row.image), white_level=self._white_level(row.model))

    def thumbnail(self, number: int) -> bytes:
        row = self.row(number)
        return self._thumbnails.get(row.image, self._white_level(row.model))

    def exhibit(self, number: int, region: int) -> bytes:
        """A region, from 1, beside its good patch. Raises Problem 404 where it has none."""
        with self._database.reading() as session:
            row = inspections.find(session, number)
            patch = inspections.good_patch(session, number, region)
        image = self._decoders.pixels(self._read(row.image), self._white_level(row.model)).pixels
        return exhibit(image, row, self._read(row.map), patch, self._read(patch.picture))

    def outline(self, number: int) -> list[Any] | None:
        """Polygons of corners [x, y] round a part's defect, in pixels of its image, if somebody drew them."""
        with self._database.reading() as session:
            review = reviews.in_force(session, number)
            return None if review is None else review.outline

    def kinds(self, model: str | None = None) -> list[str]:
        """Kinds of defect that people have named, the most frequent first."""
        with self._database.reading() as session:
            return reviews.kinds(session, model)

    def review_queue(self, model: str | None = None, limit: int = 20) -> dict[str, Any]:
        with self._database.reading() as session:
            rows, waiting = inspections.to_review(session, model, limit)
            return {"items": [inspections.as_dict(row) for row in rows], "waiting": waiting}

    def _read(self, digest: str) -> bytes:
        try:
            return self._files.read(digest)
        except FileNotFoundError:
            raise Problem(404, "the file is no longer kept") from None
