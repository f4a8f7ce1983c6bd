"""Models sent over HTTP: what comes in, and what hostile bytes achieve."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

from anomalyvfm.detector import Detector
from anomalyvfm.server.auth.accounts import add_account
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.station import Station
from tests.server.conftest import client_of
from tests.server.fake_detector import picture

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, fitted_folder: Path) -> Iterator[Station]:
    """A station with a real model, for the reader of real models is what hostile bytes meet."""
    station = Station(Settings(tmp_path_factory.mktemp("real"), decoders=1), [fitted_folder], Detector.load)
    yield station
    station.close()


@pytest.fixture(scope="module")
def files(fitted_folder: Path) -> tuple[bytes, bytes]:
    return (fitted_folder / "model.json").read_bytes(), (fitted_folder / "model.safetensors").read_bytes()


def send(client: TestClient, name: str, description: bytes, tensors: bytes, **headers: str) -> Any:
    content = {"description": ("../../x", description), "tensors": ("/etc/passwd", tensors)}
    return client.post("/api/models", params={"name": name}, files=content, headers=headers)


def sealed(description: bytes, tensors: bytes, change: Change = lambda _: None) -> bytes:
    """A description that fits the tensors and itself, as one who means harm would make it."""
    body = json.loads(description)
    change(body)
    body["tensors_sha256"] = hashlib.sha256(tensors).hexdigest()
    body.pop("sha256", None)
    body["sha256"] = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps(body).encode()


def folders(station: Station) -> set[Path]:
    return set((station.settings.data / "models").glob("*/*"))


def test_a_model_sent_judges_at_once_and_once_more_as_the_next_version(
    real: Station, files: tuple[bytes, bytes]
) -> None:
    client = client_of(real)
    answer = send(client, "new", *files)
    assert answer.status_code == 201
    model = answer.json()
    assert (model["name"], model["active"]["number"], model["default"]) == ("new", 1, False)
    part = client.post("/api/judge?model=new", content=picture(100, side=96)).json()
    assert (part["model"], part["version"]) == ("new", 1)
    assert send(client, "new", *files).status_code == 409

    other = sealed(*files, lambda body: body["fitted_on"].update(category="another"))
    answer = send(client, "new", other, files[1])

    assert answer.status_code == 201 and answer.json()["active"]["number"] == 2
    assert client.post("/api/judge?model=new", content=picture(100, side=96)).json()["version"] == 2
    assert any(entry["object"] == "new 2" and entry["by"] == "local" for entry in real.audit(None, 20))


@pytest.mark.parametrize("name", ["../x", "..", ".hidden", "a/b", "", "x" * 101, "a\0b", "\u202e"])
def test_a_name_is_never_a_path(real: Station, files: tuple[bytes, bytes], name: str) -> None:
    before = folders(real)
    assert send(client_of(real), name, *files).status_code == 422
    assert folders(real) == before


def _backbone(body: dict[str, Any]) -> None:
    body["settings"]["backbone"] = "/etc"


def _frame(body: dict[str, Any]) -> None:
    body["input_frame"].update(height=10**6, width=10**6)


def _no_frame(body: dict[str, Any]) -> None:
    del body["input_frame"]


def _other_frame(body: dict[str, Any]) -> None:
    body["input_frame"].update(height=32, width=32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_backbone, "backbone"),
        (_frame, "frame"),
        (_no_frame, "KeyError"),
        (_other_frame, "not a model"),
        (lambda body: body.update(settings={"backbone": 7}), "backbone"),
        (lambda body: body["settings"].update(name="v9"), "preset"),
        (lambda body: body.update(calibration=None, fitted_on=None), "not a model"),
    ],
)
def test_a_description_of_harm_is_refused_and_leaves_nothing(
    real: Station, files: tuple[bytes, bytes], change: Change, said: str
) -> None:
    before = folders(real)
    answer = send(client_of(real), "harm", sealed(*files, change), files[1])
    assert answer.status_code == 422 and said in answer.json()["detail"], answer.json()
    assert str(real.settings.data) not in answer.json()["detail"]
    assert folders(real) == before and "harm" not in real.registry.names()


def test_sums_that_claim_more_than_they_hold_are_refused_before_memory_is_taken(
    real: Station, files: tuple[bytes, bytes], fitted_folder: Path
) -> None:
    tensors = load_file(fitted_folder / "model.safetensors")
    tensors["patches.total"] = np.zeros((1, 300_000))  # squared: 720 GB
    tensors["patches.outer"] = np.zeros((1, 1))
    content = save(tensors)
    answer = send(client_of(real), "harm", sealed(files[0], content), content)
    assert answer.status_code == 422 and "do not belong together" in answer.json()["detail"]


def test_sums_without_a_number_in_them_are_refused(
    real: Station, files: tuple[bytes, bytes], fitted_folder: Path
) -> None:
    tensors = load_file(fitted_folder / "model.safetensors")
    tensors["patches.total"][:] = np.nan
    content = save(tensors)
    assert send(client_of(real), "harm", sealed(files[0], content), content).status_code == 422


@pytest.mark.parametrize("description", [b"", b"[]", b"[" * 100_000, b"\xff", b'{"schema_version": 1e999}'])
def test_what_is_no_description_is_refused(
    real: Station, files: tuple[bytes, bytes], description: bytes
) -> None:
    assert send(client_of(real), "harm", description, files[1]).status_code == 422


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_as_tensors_are_refused(real: Station, files: tuple[bytes, bytes], content: bytes) -> None:
    answer = send(client_of(real), "harm", sealed(files[0], content), content)
    assert answer.status_code == 422


def test_too_large_and_missing_files_are_refused(real: Station, files: tuple[bytes, bytes]) -> None:
    client = client_of(real)
    assert send(client, "harm", b" " * (1 << 21), files[1]).status_code == 413
    assert client.post("/api/models?name=x", files={"description": ("x", files[0])}).status_code == 422
    assert client.post("/api/models?name=x", content=b"x").status_code == 422


def test_only_an_admin_brings_models_in(tmp_path: Path, real: Station, files: tuple[bytes, bytes]) -> None:
    from dataclasses import replace

    token_file = tmp_path / "tokens"
    token = add_account(token_file, "eve", "engineer", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(real, "settings", replace(real.settings, token_file=token_file))
        client = client_of(real)
        assert send(client, "x", *files, Authorization=f"Bearer {token}").status_code == 403
        assert send(client, "x", *files).status_code == 401
