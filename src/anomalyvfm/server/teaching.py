"""What a person's label asks of a model: a copy of it that has learned from the label, if anything is new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anomalyvfm.errors import InputError, NotLearnedError
from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.models.changing import ImageChange
from anomalyvfm.server.models.registry import RegisteredModel
from anomalyvfm.server.models.version_folders import gallery_name
from anomalyvfm.server.store import reviews, versions
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.tables import InspectionRow

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector

# A model knows at most so many defects from review: what they have in common is known by then.
_MOST_DEFECTS = 100
_LEFT = "the model stays as it is"


@dataclass(frozen=True)
class Taught:
    """The changed copy, with what changed in it; None where nothing does. A line for people."""

    message: str
    detector: Detector | None = None
    change: ImageChange | None = None

    @property
    def action(self) -> str:
        return "none" if self.change is None else self.change.action


class Teaching:
    """Good parts that raised an alarm are learned, and defects confirmed, as long as people call them so.

    Both are taken back exactly. Presets that learn from good images alone only forget parts with a defect.
    """

    def __init__(self, database: Database, files: Files, decoders: Decoders) -> None:
        self._database = database
        self._files = files
        self._decoders = decoders

    def taught(
        self,
        registered: RegisteredModel,
        row: InspectionRow,
        label: str | None,
        outline: list[Any] | None,
    ) -> Taught:
        """What a label, with a defect's outline if somebody drew it, asks of the model that judges now."""
        number = registered.active.number
        with self._database.reading() as session:
            learned = versions.taught(session, registered.name, number)[row.image]
            confirmed = versions.confirmed(session, registered.name, number)
            anomalous = reviews.was_anomalous(session, row)
        known = row.image in confirmed
        if label == "defect":
            if known and confirmed[row.image] == outline:
                return Taught(_LEFT)
            return self._with_defect(registered, row, outline, known or len(confirmed) < _MOST_DEFECTS)
        learns = learned < 0 or (learned == 0 and label == "good" and anomalous)
        if known:
            message = f"the model no longer looks for what part {row.id} shows"
            return self._changed(registered, row, ImageChange("take_back", learns, True), message)
        if learned > 0 and label != "good":
            return self._changed(
                registered, row, ImageChange("forget", False, True), f"the model has forgotten part {row.id}"
            )
        if learns:
            return self._changed(
                registered, row, ImageChange("learn", True, False), f"the model has learned part {row.id}"
            )
        return Taught(_LEFT)

    def _with_defect(
        self, registered: RegisteredModel, row: InspectionRow, outline: list[Any] | None, room: bool
    ) -> Taught:
        """A copy that has forgotten the image as a good one, and looks for more while there is room."""
        forgotten = self._changed(
            registered, row, ImageChange("forget", False, True), f"the model has forgotten part {row.id}"
        )
        removed = forgotten.change is not None
        if not room:
            known = Taught(f"the model has learned {_MOST_DEFECTS} defects from review; {_LEFT}")
            return forgotten if removed else known
        change = ImageChange("confirm", True, removed, outline)
        confirmed = self._changed(registered, row, change, f"the model looks for more like part {row.id}")
        if confirmed.change is None and removed:
            return forgotten
        return confirmed

    def _changed(
        self, registered: RegisteredModel, row: InspectionRow, change: ImageChange, message: str
    ) -> Taught:
        detector = registered.active.detector.clone()
        try:
            change.apply(detector, self._pixels(row, detector), gallery_name(row.id, row.name))
        except FileNotFoundError:
            return Taught(f"the image is no longer kept; {_LEFT}")
        except NotLearnedError:
            return Taught(f"the model never learned it; {_LEFT}")
        except InputError as error:
            return Taught(f"{error}; {_LEFT}")
        return Taught(message, detector, change)

    def _pixels(self, row: InspectionRow, detector: Detector) -> Any:
        content = self._files.read(row.image)
        return self._decoders.pixels(content, detector.settings.image.white_level).pixels
