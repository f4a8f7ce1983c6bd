"""A request sent again with its key is not done again."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from anomalyvfm.server.api.once import _Fingerprint
from anomalyvfm.server.app import create_app, create_gate
from anomalyvfm.server.auth.accounts import add_account
from anomalyvfm.server.station import Station
from anomalyvfm.server.store import clock
from tests.server.conftest import Open, client_of
from tests.server.fake_detector import picture
from tests.server.test_bad_input import assert_problem

KEY = {"Idempotency-Key": "part-17"}


def parts(station: Station) -> int:
    return len(station.inspections.newest(limit=100))


def test_the_first_answer_comes_again_also_after_a_restart(open_station: Open, database_url: str) -> None:
    station = open_station(database=database_url)
    first = client_of(station).post("/api/judge?name=a", content=picture(100), headers=KEY)
    again = client_of(station).post("/api/judge?name=a", content=picture(100), headers=KEY)
    assert first.status_code == again.status_code == 200 and first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true" and "idempotent-replayed" not in first.headers
    assert parts(station) == 1
    station.close()
    station = open_station(models=[], database=database_url)
    last = client_of(station).post("/api/judge?name=a", content=picture(100), headers=KEY)
    assert last.json() == first.json() and parts(station) == 1


def test_jobs_reviews_and_what_is_done_to_models_take_the_key(station: Station, client: TestClient) -> None:
    number = client.post("/api/judge", content=picture(180)).json()["id"]
    files = [("image", ("x.png", picture(101)))]
    # A client draws another boundary for the form each time it sends it.
    jobs = [client.post("/api/jobs", files=files, headers=KEY) for _ in range(2)]
    assert [job.status_code for job in jobs] == [202, 202] and jobs[0].json() == jobs[1].json()
    assert jobs[0].request.headers["content-type"] != jobs[1].request.headers["content-type"]
    assert len(station.jobs.newest(100)) == 1
    said = [
        client.post(
            f"/api/inspections/{number}/reviews",
            json={"label": "good"},
            headers={"Idempotency-Key": "review"},
        ).json()
        for _ in range(2)
    ]
    assert said[0] == said[1] and said[0]["learning"]["version"] == 2
    key = {"Idempotency-Key": "undo"}
    path = f"/api/reviews/{said[0]['review']['id']}/undo"
    undone = [client.post(path, headers=key) for _ in range(2)]
    assert [one.status_code for one in undone] == [200, 200]
    assert client.post(path).status_code == 409
    reset = [
        client.post("/api/models/part/drift/reset", json={}, headers={"Idempotency-Key": "r"})
        for _ in range(2)
    ]
    assert [one.status_code for one in reset] == [204, 204]


def test_a_key_of_another_request_is_refused(station: Station, client: TestClient) -> None:
    assert client.post("/api/judge", content=picture(100), headers=KEY).status_code == 200
    for path, content in (("/api/judge", picture(100, 1)), ("/api/judge?name=b", picture(100))):
        answer = client.post(path, content=content, headers=KEY)
        assert_problem(answer, 422)
        assert "draw a new one" in answer.json()["detail"]
    form = [("image", ("x.png", picture(101)))]
    assert_problem(client.post("/api/judge", files=form, headers=KEY), 422)
    for key in ("", "x" * 201, "tab\there"):
        assert_problem(client.post("/api/judge", content=picture(1), headers={"Idempotency-Key": key}), 422)
    assert parts(station) == 1


def test_what_failed_is_done_anew(station: Station, client: TestClient) -> None:
    assert_problem(client.post("/api/judge", content=b"no image", headers=KEY), 415)
    assert client.post("/api/judge", content=picture(100), headers=KEY).status_code == 200


def test_a_key_is_of_one_user_and_known_for_a_day(
    open_station: Open, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [add_account(tmp_path / "tokens", name, "operator", None) for name in ("ann", "bob")]
    station = open_station(token_file=tmp_path / "tokens")
    client = TestClient(create_app(station, create_gate(station.settings)), base_url="http://localhost")

    def send(token: str) -> Any:
        headers = {**KEY, "Authorization": f"Bearer {token}"}
        return client.post("/api/judge", content=picture(100), headers=headers)

    numbers = [send(token).json()["id"] for token in (*tokens, *tokens)]
    assert numbers == [1, 2, 1, 2]
    assert_problem(send("wrong"), 401)
    assert_problem(client.post("/api/judge", content=picture(100), headers=KEY), 401)
    later = clock.now() + 24 * 3600 + 1
    monkeypatch.setattr("anomalyvfm.server.store.answers.now", lambda: later)
    station.tidy()
    assert send(tokens[0]).json()["id"] == 3


def test_the_same_key_twice_at_once_is_done_once(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(station)
    submit, judging, go_on = station.submit, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        judging.set()
        assert go_on.wait(20)
        return submit(*arguments)

    monkeypatch.setattr(station, "submit", slow)
    with client, ThreadPoolExecutor(1) as others:
        first = others.submit(client.post, "/api/judge", content=picture(100), headers=KEY)
        assert judging.wait(20)
        second = client.post("/api/judge", content=picture(100), headers=KEY)
        go_on.set()
        assert first.result().status_code == 200
    assert_problem(second, 409)
    assert second.headers["retry-after"] == "1"
    assert parts(station) == 1


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_a_body_has_one_fingerprint_however_it_comes_in_pieces_and_whatever_the_boundary(
    content: bytes, cuts: list[int]
) -> None:
    def fingerprint(boundary: bytes, cuts: list[int]) -> str:
        body = b"--" + boundary + b"\r\n" + content + b"\r\n--" + boundary + b"--"
        header = (b"content-type", b'multipart/form-data; boundary="' + boundary + b'"')
        scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "headers": [header]}
        found = _Fingerprint(Request({**scope, "scheme": "http", "server": ("localhost", 80)}))
        ends = [0, *sorted(cuts), len(body)]
        for start, end in itertools.pairwise(ends):
            found.update(body[start:end])
        return found.hexdigest()

    assert fingerprint(b"abcQz0", cuts) == fingerprint(b"another-One", [])
