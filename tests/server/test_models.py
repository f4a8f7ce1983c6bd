"""Models that leave: as a file, or for good."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from anomalyvfm.server.app import create_app, create_gate
from anomalyvfm.server.auth.accounts import add_account
from anomalyvfm.server.station import Station
from tests.server.conftest import Open, client_of
from tests.server.fake_detector import FakeDetector, learned, picture
from tests.server.test_bad_input import assert_problem


def unpacked(content: bytes, folder: Path) -> FakeDetector:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
    (model,) = folder.iterdir()
    return FakeDetector.load(model)  # type: ignore[return-value]


def test_a_version_leaves_as_a_model_folder_whole_on_the_disk_or_not(
    open_station: Open, tmp_path: Path
) -> None:
    station = open_station()
    client = client_of(station)
    for number in range(3):
        part = station.submit(picture(180, number), None, "", "me").result(20)["id"]
        station.learning.review(part, "good", "ann")
    station.version_folders.settle()
    for number in (1, 3, 4):
        answer = client.get(f"/api/models/part/versions/{number}/export")
        assert answer.status_code == 200
        assert answer.headers["content-disposition"] == f'attachment; filename="part-{number}.zip"'
        found = unpacked(answer.content, tmp_path / str(number))
        assert learned(found).total() == number  # type: ignore[arg-type]
    assert not list((station.settings.data / "models").rglob("*.partial"))
    assert_problem(client.get("/api/models/part/versions/9/export"), 404)
    assert_problem(client.get("/api/models/none/versions/1/export"), 404)
    assert any(one["action"] == "export" and one["object"] == "part 3" for one in station.audit(None, 50))


@pytest.fixture
def two(open_station: Open, tmp_path: Path, model_folder: Path) -> Station:
    FakeDetector(("other",)).save(tmp_path / "given" / "lid")
    return open_station([model_folder, tmp_path / "given" / "lid"])


def test_a_deleted_model_judges_no_more_and_its_parts_stay(two: Station, open_station: Open) -> None:
    client = client_of(two)
    part = two.submit(picture(180), "lid", "a.png", "me").result(20)["id"]
    two.learning.review(part, "good", "ann")
    assert_problem(client.delete("/api/models/lid?expected=1"), 409)
    assert client.delete("/api/models/lid?expected=2").status_code == 204
    assert [one["name"] for one in client.get("/api/models").json()["items"]] == ["part"]
    for answer in (
        client.post("/api/judge?model=lid", content=picture(100)),
        client.get("/api/models/lid"),
        client.delete("/api/models/lid?expected=2"),
        client.post(f"/api/inspections/{part}/reviews", json={"label": "defect"}),
    ):
        assert_problem(answer, 404)
    assert client.get(f"/api/inspections/{part}").json()["model"] == "lid"
    assert client.get(f"/api/inspections/{part}/original").content == picture(180)
    trash = list((two.settings.data / "trash").glob("*/models/lid/*"))
    assert trash and not (two.settings.data / "models" / "lid").exists()
    two.tidy()
    two.close()

    # The unit that starts the station still names its folder.
    again = open_station([two.settings.data.parent / "given" / name for name in ("part", "lid")])
    assert again.registry.names() == ["part"]
    # Sent again, it is a model anew, and numbers go on.
    files = {
        "description": (two.settings.data.parent / "given" / "lid" / "model.json").read_bytes(),
    }
    assert files
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "anomalyvfm.server.models.importing.check",
            lambda folder, *_: json.loads((folder / "model.json").read_text()),
        )
        contents = {"model.json": io.BytesIO(files["description"])}
        assert again.registry.receive("lid", contents, 10**6, "eve") == 3
    assert again.registry.names() == ["lid", "part"]
    assert again.submit(picture(100), "lid", "", "me").result(20)["version"] == 3


def test_the_default_and_what_jobs_wait_for_are_not_deleted(two: Station) -> None:
    client = client_of(two)
    default = two.registry.default()
    other = ({"lid", "part"} - {default}).pop()
    assert_problem(client.delete(f"/api/models/{default}?expected=1"), 409)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anomalyvfm.server.store.jobs.count_waiting", lambda session, model: 3)
        answer = client.delete(f"/api/models/{other}?expected=1")
    assert_problem(answer, 409)
    assert "3 images of jobs" in answer.json()["detail"]
    assert_problem(client.delete(f"/api/models/{other}"), 422)
    assert two.registry.names() == ["lid", "part"]


def test_only_an_admin_deletes_and_an_engineer_exports(open_station: Open, tmp_path: Path) -> None:
    tokens: dict[str, str] = {}
    for role in ("operator", "engineer"):
        tokens[role] = add_account(tmp_path / "tokens", role, role, None)
    station = open_station(token_file=tmp_path / "tokens")
    client = TestClient(create_app(station, create_gate(station.settings)), base_url="http://localhost")

    def ask(role: str, method: str, path: str) -> Any:
        return client.request(method, path, headers={"Authorization": f"Bearer {tokens[role]}"})

    assert_problem(ask("operator", "GET", "/api/models/part/versions/1/export"), 403)
    assert ask("engineer", "GET", "/api/models/part/versions/1/export").status_code == 200
    assert_problem(ask("engineer", "DELETE", "/api/models/part?expected=1"), 403)


def test_originals_are_saved_under_the_ending_of_what_they_are(station: Station, client: TestClient) -> None:

    for kind, ending in (("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp"), ("TIFF", "tif"), ("WEBP", "webp")):
        stream = io.BytesIO()
        Image.new("RGB", (32, 32), (100, 100, 100)).save(stream, kind)
        part = station.submit(stream.getvalue(), None, "", "me").result(20)["id"]
        header = client.get(f"/api/inspections/{part}/original").headers["content-disposition"]
        assert header == f'attachment; filename="part-{part}.{ending}"'
