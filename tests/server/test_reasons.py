"""A real model's reasons, from the verdict to the page."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.detector import Detector
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.station import Station
from tests.server.conftest import client_of


@pytest.fixture
def station(tmp_path: Path, fitted_folder: Path) -> Iterator[Station]:
    opened = Station(Settings(tmp_path / "station", decoders=1), [fitted_folder], Detector.load)
    yield opened
    opened.close()


def test_odd_places_are_shown_beside_what_the_model_has_learned_and_keep_it(
    station: Station, drawn: Path
) -> None:
    bad = next((drawn / "sheet_metal" / "test_public" / "bad").glob("*.png"))
    pixels = np.array(Image.open(bad).convert("RGB"))
    pixels[30:50, 20:60] = (255, 0, 255)  # odd beyond doubt
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    client = client_of(station)
    part = client.post("/api/judge?name=cam7.png", content=stream.getvalue()).json()
    assert part["anomalous"]
    region = part["regions"][0]
    gallery = station.registry.get("sheet_metal").active.detector.pipeline_.gallery
    assert region["nearest"]["image"] in {one.name for one in gallery.images.values()}
    assert abs(sum(region["layers"].values()) - 1) < 1e-3 and region["sees"].keys() == region["layers"].keys()

    answer = client.get(f"/api/inspections/{part['id']}/regions/1.jpg")
    shown = np.asarray(Image.open(BytesIO(answer.content)).convert("RGB")).astype(int)
    magenta = (shown[..., 0] > 200) & (shown[..., 1] < 80) & (shown[..., 2] > 200)
    own, good = magenta[:, :240], magenta[:, -240:]
    assert own.mean() > 0.1 and not good.any()
    page = client.get(f"/inspections/{part['id']}").text
    assert region["nearest"]["image"] in page and "What is odd:" in page

    said = client.post(f"/api/inspections/{part['id']}/reviews", json={"label": "good"}).json()
    assert said["learning"]["action"] == "learned"
    learned = station.registry.get("sheet_metal").active.detector.pipeline_.gallery
    new = [one.name for key, one in learned.images.items() if key not in gallery.images]
    assert new == [f"part {part['id']}, cam7.png"]
    again = client.post("/api/judge", content=stream.getvalue()).json()
    assert all(one["nearest"]["image"] == new[0] for one in again["regions"])
    assert client.get(f"/api/inspections/{part['id']}/regions/1.jpg").content == answer.content
