"""The same on Ray itself: workers die, images end processes, and the model is that of one machine."""

from __future__ import annotations

import os
import random
import socket
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from anomalyvfm.cluster import parts
from anomalyvfm.cluster.fitting import ClusterFit
from anomalyvfm.cluster.progress import Progress
from anomalyvfm.cluster.workers import Cluster
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError

from ..conftest import SMALL
from ..quick_detectors import good, save_images
from .killing import kill_one
from .test_careful import Deadly
from .test_fitting import require_equal

SETTINGS = {**SMALL, "image.size": 64, "batch": 2, "calibration.images": 40}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = save_images(good(60, side=64), tmp_path_factory.mktemp("images") / "good")
    return sorted(folder.iterdir())


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_LEAST", 6)
    monkeypatch.setattr(parts, "_PARTS", 10)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def detector() -> Detector:
    return Detector("v2", SETTINGS, device="cpu")


def test_workers_that_die_and_an_image_that_ends_its_reader_change_nothing(
    images: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(1)
    killed: list[float] = []

    def kill_now_and_then(progress: Progress) -> None:
        if len(killed) < 2 and len(progress.finished) > 2 * len(killed) and kill_one(rng):
            killed.append(time.monotonic())

    given = [*images[:20], Deadly(), *images[20:]]
    two = Cluster(workers=2)
    engine = ClusterFit(two, tmp_path / "parts", show=lambda: nullcontext(kill_now_and_then))
    there = detector().fit(given, engine=engine)
    assert len(killed) == 2
    assert any("part" in one["task"] for one in engine.summary["workers_lost"])
    assert capfd.readouterr().out == ""  # where a command's result goes
    assert there.pipeline_.skipped == [
        "an image of Deadly: reading it brings the process down; look at the file, or leave it out"
    ]
    there.pipeline_.skipped = []
    plain = detector().fit([*images[:20], images[0].with_name("gone.png"), *images[20:]])
    plain.pipeline_.skipped = []
    require_equal(there, plain, 1e-9)


def test_what_a_worker_refuses_is_one_line(images: list[Path], tmp_path: Path) -> None:
    engine = ClusterFit(Cluster(workers=1), tmp_path / "parts")
    with pytest.raises(InputError, match=r"gone\.png: not there on .*; every machine of the cluster"):
        detector().fit([tmp_path / "gone.png", *images], engine=engine)


def test_no_cluster_at_the_address_is_one_line_within_seconds(images: list[Path], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "no.such.host.invalid:6379"):
        started = time.monotonic()
        engine = ClusterFit(Cluster(address), tmp_path / "models.parts" / "gear")
        with pytest.raises(InputError, match=r"--address .*: no cluster there .*ray start --head"):
            detector().fit(images, engine=engine)
        assert time.monotonic() - started < 20
        assert not list(tmp_path.iterdir())
    assert not os.environ.get("RAY_ADDRESS")
