"""The station under load, and learning from review.

Images are posted as JPEGs of 640×640 pixels.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.station_process import Clients, Server, ask, jpegs, missing

CLIENTS = 16


def predict_rate(model: Path, images: list[bytes], times: int) -> float:
    """Images a second of `predict` over the same bytes, keeping rows and maps as the station does.

    Its start is not counted: what all images so many times take longer than once.
    """
    took = []
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "images"
        given.mkdir()
        for count in (1, 1 + times):
            for number in range(count * len(images)):
                (given / f"{number:06}.jpg").write_bytes(images[number % len(images)])
            out = str(Path(folder) / f"judged-{count}")
            run = [sys.executable, "-m", "anomalyvfm", "predict", str(model), str(given), "--out", out]
            started = time.perf_counter()
            subprocess.run([*run, "--maps", "raw"], check=True, capture_output=True)
            took.append(time.perf_counter() - started)
    return times * len(images) / (took[1] - took[0])


def detector_rate(model: Path, images: list[bytes], seconds: float) -> float:
    """Images a second of the detector alone, in a process of its own, over the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(images):
            (Path(folder) / f"{number:04}.jpg").write_bytes(content)
        code = (
            "import itertools, sys, time; from pathlib import Path\n"
            "from anomalyvfm.detector import Detector\n"
            "detector = Detector.load(sys.argv[1]); files = sorted(Path(sys.argv[2]).iterdir())\n"
            "list(detector.judge(files[:8])); started = time.perf_counter(); count = 0\n"
            "for _, verdict in detector.judge(itertools.cycle(files)):\n"
            "    verdict.regions; count += 1\n"
            "    if time.perf_counter() - started > float(sys.argv[3]): break\n"
            "print(count / (time.perf_counter() - started), flush=True)\n"
            "import os; os._exit(0)\n"  # reading runs ahead, endlessly
        )
        run = [sys.executable, "-c", code, str(model), folder, str(seconds)]
        return float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)


def load(model: Path, images: list[bytes], seconds: float) -> dict[str, Any]:
    predict = [predict_rate(model, images, max(1, int(seconds / 10)))]
    detector = detector_rate(model, images, seconds / 10)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "station", model)
        clients = Clients(server, images, CLIENTS)
        memory = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            time.sleep(min(1.0, seconds / 20))
            memory.append(server.memory_mb())
        clients.stop()
        lost = missing(server, clients.accepted)
        server.stop()
    predict.append(predict_rate(model, images, max(1, int(seconds / 10))))
    rate = clients.statuses[200] / seconds
    settled = memory[len(memory) // 3 :]
    ordered = sorted(clients.seconds)
    accepted = len(clients.accepted)
    errors = clients.broken + sum(
        count for status, count in clients.statuses.items() if status not in (200, 429)
    )
    ratio = rate / statistics.mean(predict)
    growth = settled[-1] / settled[0]
    return {
        "seconds": seconds,
        "clients": CLIENTS,
        "accepted": accepted,
        "found_in_store": accepted - lost,
        "told_to_wait": clients.statuses[429],
        "errors": errors,
        "images_per_s": round(rate, 2),
        "predict_images_per_s": [round(one, 2) for one in predict],
        "ratio_to_predict": round(ratio, 3),
        "detector_images_per_s": round(detector, 2),
        "ratio_to_detector": round(rate / detector, 3),
        "p50_ms": round(1000 * ordered[len(ordered) // 2]),
        "p95_ms": round(1000 * ordered[int(len(ordered) * 0.95)]),
        "memory_mb": {"start": round(memory[0]), "settled": round(settled[0]), "end": round(settled[-1])},
        "memory_end_over_settled": round(growth, 3),
        "kept": lost == 0 and errors == 0 and ratio >= 0.8 and abs(growth - 1) <= 0.1,
    }


def review(model: Path, images: list[bytes], count: int, pause: float) -> dict[str, Any]:
    """A review that changes the model, then a part, which that model must judge; ``count`` times."""
    seconds: list[float] = []
    late = 0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "station", model)
        client = server.client()
        parts = [ask(client, "POST", "/api/judge", content)[1] for content in images]
        odd = [part["id"] for part in parts if part["anomalous"]]
        if not odd:
            raise SystemExit("none of the images is anomalous: give some with defects")
        for number, label in ((one, said) for one in itertools.cycle(odd) for said in ("good", "unsure")):
            said = json.dumps({"label": label}).encode()
            started = time.perf_counter()
            _, answer = ask(client, "POST", f"/api/inspections/{number}/reviews", said)
            if answer["learning"]["action"] != "none":
                seconds.append(time.perf_counter() - started)
                judged = ask(client, "POST", "/api/judge", images[0])[1]
                late += judged["version"] != answer["learning"]["version"]
            if len(seconds) >= count:
                break
            time.sleep(pause)
        server.stop()
    ordered = sorted(seconds)
    return {
        "reviews": len(ordered),
        "next_part_judged_by_an_older_model": late,
        "p50_ms": round(1000 * ordered[len(ordered) // 2]),
        "p95_ms": round(1000 * ordered[int(0.95 * (len(ordered) - 1))]),
        "kept": late == 0 and ordered[int(0.95 * (len(ordered) - 1))] < 0.5,
    }


def test_under_load_every_accepted_part_is_kept_at_nearly_the_detectors_own_speed(
    usual: tuple[Path, Path], pytestconfig: pytest.Config, keeps: Callable[[dict[str, Any]], None]
) -> None:
    model, images = usual
    keeps(load(model, jpegs(images), pytestconfig.getoption("--seconds")))


def test_a_review_is_in_the_model_that_judges_the_next_part(
    usual: tuple[Path, Path], pytestconfig: pytest.Config, keeps: Callable[[dict[str, Any]], None]
) -> None:
    model, images = usual
    count, pause = int(pytestconfig.getoption("--reviews")), pytestconfig.getoption("--pause")
    keeps(review(model, jpegs(images), count, pause))
