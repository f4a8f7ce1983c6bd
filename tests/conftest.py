"""What several rooms' tests stand on: drawn parts on disk, and a detector fitted to them once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from anomalyvfm.data.generated import generate
from anomalyvfm.detector import Detector

# The first call into torch takes seconds on a busy machine, which is no fault of the code under test.
settings.register_profile("anomalyvfm", deadline=None)
settings.load_profile("anomalyvfm")

# These take a minute and more: left to the end, they would have one core wait for the other.
_LONGEST = ("export/", "test_detector.py", "test_defects.py", "test_roi.py", "statistical/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest first."""
    folder = Path(__file__).parent
    items.sort(key=lambda item: not item.path.relative_to(folder).as_posix().startswith(_LONGEST))


SMALL_IMAGES: dict[str, object] = {"backbone": "efficientnet-lite0", "image.size": 96}
"""Settings of any detector that is quick to fit."""

SMALL = {**SMALL_IMAGES, "gaussian.scales": "1", "gaussian.dimensions": 64}
"""Settings of one of v2 that sees each image once, in few dimensions: a third of the usual time."""


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set's root in the layout of MVTec AD 2: fabric and sheet_metal, 96 px."""
    root = tmp_path_factory.mktemp("drawn") / "data"
    generate(root, ("fabric", "sheet_metal"), images=20, size=96, seed=3)
    return root


@pytest.fixture(scope="session")
def fitted_folder(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder fitted on the drawn sheet metal. Not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "sheet_metal"
    Detector("v2", SMALL, device="cpu").fit(drawn / "sheet_metal").save(folder)
    return folder


@pytest.fixture(scope="session")
def exported_folder(fitted_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fitted model as an exported one for onnxruntime. Not to be changed."""
    from anomalyvfm.export.exporting import export

    folder = tmp_path_factory.mktemp("exported") / "onnx"
    source = {"sha256": "0" * 64, "preset": "v2", "category": "sheet_metal", "images": 20}
    export(
        Detector.load(fitted_folder, device="cpu"),
        folder,
        "onnx",
        source={**source, "backbone": {"name": "efficientnet-lite0", "layers": [4, 5]}},
    )
    return folder
