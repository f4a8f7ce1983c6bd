"""Long runs against a real station in a process of its own: what docs/reliability.md promises.

make acceptance                              all of them, half an hour
make acceptance PART=kills OPTIONS="--kills 5"
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.station_process import jpegs, small_model

_OPTIONS: dict[str, tuple[float, str]] = {
    "--kills": (200, "how many times the station is killed"),
    "--minutes": (10, "of broken and hostile uploads"),
    "--seed": (0, "of what is done to the uploads"),
    "--seconds": (300, "under load"),
    "--reviews": (50, "one after another"),
    "--rows": (900_000, "of a year"),
    "--pause": (1, "seconds between reviews, as people need them"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, (usual, about) in _OPTIONS.items():
        parser.addoption(name, type=float, default=usual, help=f"acceptance: {about}")
    parser.addoption("--shots", type=Path, default=Path("shots"), help="acceptance: where pictures go")
    parser.addoption(
        "--folder", type=Path, help="acceptance: of kills, which go on where an earlier run in it ended"
    )
    parser.addoption("--model", type=Path, help="acceptance: a model in place of that of drawn tins")
    parser.addoption("--images", type=Path, help="acceptance: a folder of images for it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("acceptance")


@pytest.fixture
def keeps(pytestconfig: pytest.Config) -> Callable[[dict[str, Any]], None]:
    """Prints what was measured, and fails where the station has not kept what it promises."""

    def check(result: dict[str, Any]) -> None:
        pytestconfig.get_terminal_writer().line("\n" + json.dumps(result, indent=2, ensure_ascii=False))
        assert result["kept"]

    return check


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A model at 96 px and images for it: a run with many versions writes each of them."""
    model, images = small_model(tmp_path_factory.mktemp("tiny"), 96)
    return model, jpegs(images)


@pytest.fixture(scope="session")
def usual(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> tuple[Path, Path]:
    """The model and the folder of images given, or a model at 256 px."""
    model, images = pytestconfig.getoption("--model"), pytestconfig.getoption("--images")
    if model is not None and images is not None:
        return model, images
    return small_model(tmp_path_factory.mktemp("usual"), 256)
