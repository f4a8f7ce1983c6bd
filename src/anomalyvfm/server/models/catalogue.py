"""What people see of the models: descriptions, versions, and what another promise would reject."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from anomalyvfm.server.models.registry import ModelRegistry
from anomalyvfm.server.models.version_folders import VersionFolders
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store import inspections, versions
from anomalyvfm.server.store.database import Database


class Catalogue:
    """Looked up by name; Problem 404 for one that is not here."""

    def __init__(
        self,
        registry: ModelRegistry,
        folders: VersionFolders,
        database: Database,
        defect_scores: Callable[[str], list[float] | None],
    ) -> None:
        self._registry = registry
        self._folders = folders
        self._database = database
        self._defect_scores = defect_scores  # by a model's name, of reviewed defects

    def name(self, name: str | None) -> str:
        """The given model, or the default one. Raises Problem 404 for an unknown name."""
        return self._registry.get(name or self._registry.default()).name

    def white_level(self, model: str) -> int:
        if model not in self._registry.names():  # its inspections outlive a model
            return 65535
        return self._registry.get(model).active.detector.settings.image.white_level

    def all(self) -> list[dict[str, Any]]:
        return [self.get(name) for name in self._registry.names()]

    def get(self, name: str) -> dict[str, Any]:
        registered = self._registry.get(name)
        current, held_back = registered.active, registered.held_back
        with self._database.reading() as session:
            version = versions.find_version(session, name, current.number)
            return {
                "name": name,
                "default": versions.find_model(session, name).is_default,
                "loaded": True,
                "active": versions.as_dict(version, current.number),
                "versions": versions.next_number(session, name) - 1,
                "held_back": None if held_back is None else asdict(held_back),
                "description": _without_places(current.detector.describe()),
            }

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Newest first."""
        number = self._registry.get(name).active.number
        with self._database.reading() as session:
            return [versions.as_dict(row, number) for row in versions.of_model(session, name)]

    def as_zip(self, name: str, number: int) -> IO[bytes]:
        """A version as a model folder, which ``predict`` takes once it is unpacked: a file to be closed.

        Raises Problem 404 for an unknown version, 409 for one that is no longer kept.
        """
        with self._database.reading() as session:
            version = versions.find_version(session, name, number)
        if not version.folder:
            raise Problem(409, f"version {number} of {name} is no longer kept; choose a later one")
        with self._folders.whole(version) as folder:
            # Beside the versions, where there is room for one: in a container /tmp is memory.
            file = tempfile.TemporaryFile(dir=folder.parent)  # noqa: SIM115 - whoever reads it closes it
            try:
                with zipfile.ZipFile(file, "w") as archive:
                    for path in sorted(folder.iterdir()):
                        archive.write(path, f"{name}-{number}/{path.name}")
                file.seek(0)
            except BaseException:
                file.close()
                raise
        return file

    def what_if(self, name: str, rates: Sequence[float], last: int = 1000) -> dict[str, Any]:
        """How many of the last parts, and of the reviewed defects, each false-alarm promise would reject.

        The latter, by the version that judges, is null until they were judged by it.
        """
        calibration = self._registry.get(name).active.detector.calibration_
        with self._database.reading() as session:
            scores = inspections.last_scores(session, name, last)
        defects = self._defect_scores(name)
        curve = []
        for rate in (calibration.false_alarm_rate, *rates):
            promise = replace(calibration, false_alarm_rate=rate)
            rejected = sum(score > promise.threshold for score in scores)
            curve.append(
                {
                    "rate": rate,
                    "threshold": promise.threshold,
                    "promised": promise.promised,
                    "rejected": rejected,
                    "caught": None
                    if defects is None
                    else sum(score > promise.threshold for score in defects),
                }
            )
        known = None if defects is None else len(defects)
        return {"parts": len(scores), "defects": known, "now": curve[0], "curve": curve[1:]}


def _without_places(description: dict[str, Any]) -> dict[str, Any]:
    """Where a backbone lies on this machine is nobody's business; a name stays as it is."""
    shown = {key: dict(value) if isinstance(value, dict) else value for key, value in description.items()}
    for part, key in (("settings", "backbone"), ("backbone", "name")):
        if part in shown:
            shown[part][key] = Path(shown[part][key]).name
    return shown
