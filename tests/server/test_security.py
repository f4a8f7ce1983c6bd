"""Who comes in, and what a browser can be made to do."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from anomalyvfm.cli.serve import serve
from anomalyvfm.errors import InputError
from anomalyvfm.server.app import create_app, create_gate
from anomalyvfm.server.auth.accounts import Accounts, add_account, add_pin, hash_token
from anomalyvfm.server.auth.sessions import COOKIE
from anomalyvfm.server.auth.sign_in_limit import SignInLimit
from anomalyvfm.server.serving import is_loopback
from anomalyvfm.server.settings import Limits
from anomalyvfm.server.station import Station
from tests.server.conftest import Open, client_of
from tests.server.fake_detector import picture
from tests.server.piecewise import Message, ask


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def tokens(token_file: Path) -> dict[str, str]:
    return {role: add_account(token_file, role, role, None) for role in ("operator", "engineer", "admin")}


@pytest.fixture
def guarded(open_station: Open, token_file: Path, tokens: dict[str, str]) -> Station:
    return open_station(token_file=token_file)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", "/api/inspections", "operator"),
        ("GET", "/metrics", "operator"),
        ("GET", "/api/export?format=csv", "engineer"),
        ("POST", "/api/models/part/load", "engineer"),
        ("GET", "/api/audit", "admin"),
    ],
)
def test_each_role_may_do_its_own_and_what_is_below(
    guarded: Station, tokens: dict[str, str], method: str, path: str, least: str
) -> None:
    client = client_of(guarded)
    roles = list(tokens)
    for role, token in tokens.items():
        allowed = roles.index(role) >= roles.index(least)
        assert client.request(method, path, headers=bearer(token)).status_code == (200 if allowed else 403)
    assert client.request(method, path).status_code == 401
    assert client.request(method, path, headers=bearer("x" * 43)).status_code == 401


def test_every_route_but_the_open_ones_asks_who_it_is(guarded: Station) -> None:
    client = client_of(guarded)
    token = add_account(guarded.settings.token_file or Path(), "reader", "operator", None)
    document = client.get("/api/openapi.json", headers=bearer(token)).json()
    for path, operations in document["paths"].items():
        for method in operations:
            address = path.replace("{number}", "1").replace("{name}", "part")
            status = client.request(method, address, json={"token": "guessed"}).status_code
            assert (status == 200) == (path in ("/health", "/ready")), (method, path, status)
            assert status in (200, 401), (method, path, status)


def test_only_hashes_are_kept_and_the_file_is_read_again_when_it_changes(
    guarded: Station, token_file: Path, tokens: dict[str, str]
) -> None:
    text = token_file.read_text()
    assert not any(token in text for token in tokens.values())
    assert hash_token(tokens["admin"]) in text
    assert token_file.stat().st_mode & 0o077 == 0
    client = client_of(guarded)
    assert client.get("/api/inspections", headers=bearer(tokens["operator"])).status_code == 200
    token_file.write_text("".join(line for line in text.splitlines(True) if not line.startswith("operator")))
    assert client.get("/api/inspections", headers=bearer(tokens["operator"])).status_code == 401
    token_file.unlink()
    assert client.get("/api/inspections", headers=bearer(tokens["admin"])).status_code == 401


def test_a_token_ends_with_its_time(open_station: Open, token_file: Path) -> None:
    token = add_account(token_file, "guest", "operator", days=-1)
    answer = client_of(open_station(token_file=token_file)).get("/api/inspections", headers=bearer(token))
    assert answer.status_code == 401 and "expired" in answer.json()["detail"]


_MALFORMED = ["nobody", "a:king::" + "0" * 64, "a:admin::short", "a:admin:soon:" + "0" * 64, "\u00e4:admin::"]


@pytest.mark.parametrize("line", _MALFORMED)
def test_a_token_file_of_nothing_but_a_malformed_line_is_refused_with_its_number(
    token_file: Path, line: str
) -> None:
    token_file.write_text(f"# tokens\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        Accounts(token_file)
    token_file.write_text("# tokens\n")
    with pytest.raises(InputError, match="holds no token; make one by"):
        Accounts(token_file)


@pytest.mark.parametrize("line", _MALFORMED)
def test_a_malformed_line_is_named_and_keeps_nobody_else_out(
    guarded: Station,
    token_file: Path,
    tokens: dict[str, str],
    line: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = client_of(guarded)
    assert client.get("/ready").json() == {"status": "ready", "warnings": []}
    lines = token_file.read_text().splitlines()
    token_file.write_text("\n".join([lines[0], line, *lines[1:]]), encoding="utf-8")
    for _ in range(2):
        for token in tokens.values():
            assert client.get("/api/inspections", headers=bearer(token)).status_code == 200
    (warning,) = client.get("/ready").json()["warnings"]
    assert warning == "the token file: line 2: write it as name:role:expires:hash; only operators have PINs"
    assert len([one for one in caplog.messages if "line 2" in one]) == 1

    token = add_account(token_file, "late", "operator", None)  # the file does not end with its line
    assert client.get("/api/inspections", headers=bearer(token)).status_code == 200
    assert client.get("/api/inspections", headers=bearer(tokens["admin"])).status_code == 200


def test_a_name_that_is_there_twice_lets_the_first_in(token_file: Path, tokens: dict[str, str]) -> None:
    token_file.write_text(token_file.read_text() + f"admin:operator::{'0' * 64}\n")
    accounts = Accounts(token_file)
    account = accounts.named("admin")
    assert account is not None and account.role == "admin"
    assert accounts.faults == ("line 4: its name is there twice, and the first counts; delete one",)


def test_a_token_file_is_read_again_by_its_content(
    guarded: Station, token_file: Path, tokens: dict[str, str]
) -> None:
    """A file put in place of another may have its size and its time."""
    client = client_of(guarded)
    assert client.get("/api/audit", headers=bearer(tokens["admin"])).status_code == 200
    state = token_file.stat()
    changed = token_file.read_text().replace(hash_token(tokens["admin"]), "0" * 64)
    token_file.write_text(changed)
    os.utime(token_file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert token_file.stat().st_size == state.st_size
    assert client.get("/api/audit", headers=bearer(tokens["admin"])).status_code == 401


def test_whoever_guesses_tokens_is_slowed_down_and_does_not_fill_the_log(
    guarded: Station, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(guarded)
    answers = [client.post("/api/session", json={"token": f"guess {n}"}) for n in range(100)]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [401] * 10 + [429] * 90
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
    assert client.post("/api/session", json={"token": tokens["admin"]}).status_code == 429
    assert len(guesses(guarded)) == 10
    later = time.monotonic() + 61
    monkeypatch.setattr("anomalyvfm.server.auth.sign_in_limit.time.monotonic", lambda: later)
    assert client.post("/api/session", json={"token": tokens["admin"]}).status_code == 200


def test_the_limit_forgets_addresses_it_has_not_heard_of_for_long() -> None:
    limit = SignInLimit(10, 60.0, "tokens")
    for number in range(11_000):
        limit.failed(f"10.0.{number // 256}.{number % 256}")
    assert len(limit._failures) == 10_000


@pytest.mark.parametrize("restarted", [False, True])
def test_signing_out_ends_the_session_wherever_its_cookie_is(
    open_station: Open, token_file: Path, tokens: dict[str, str], restarted: bool
) -> None:
    station = open_station(token_file=token_file)
    client = client_of(station)
    word = sign_in(client, tokens["engineer"])
    stolen = client.cookies[COOKIE]
    other = client_of(station)
    sign_in(other, tokens["engineer"])
    headers = {"X-CSRF-Token": word, "Origin": "http://localhost"}
    assert client.delete("/api/session", headers=headers).status_code == 204

    if restarted:
        kept = other.cookies[COOKIE]
        station.close()
        station = open_station(models=[], token_file=token_file)
        other = client_of(station)
        other.cookies.set(COOKIE, kept)
    thief = client_of(station)
    thief.cookies.set(COOKIE, stolen)
    assert thief.get("/api/inspections").status_code == 401
    assert other.get("/api/inspections").status_code == 200, "another session of the same person goes on"


@pytest.mark.parametrize("named", [False, True])
def test_what_a_proxy_says_is_believed_where_it_was_named(
    open_station: Open, token_file: Path, tokens: dict[str, str], named: bool
) -> None:
    proxies = ("10.0.0.0/24",) if named else ()
    station = open_station(token_file=token_file, proxies=proxies)
    app = create_app(station, create_gate(station.settings))
    client = TestClient(app, base_url="http://station", client=("10.0.0.7", 5000))
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.5"}
    answer = client.post("/api/session", json={"token": tokens["engineer"]}, headers=said)
    assert answer.status_code == 200
    assert ("secure" in answer.headers["set-cookie"].lower()) == named
    assert ("strict-transport-security" in answer.headers) == named
    client.post("/api/session", json={"token": "guessed"}, headers=said)
    assert guesses(station) == ["203.0.113.5" if named else "10.0.0.7"]


def guesses(station: Station) -> list[str]:
    """Where refused sign-ins came from, the newest first."""
    return [entry["object"] for entry in station.audit(None, 500) if entry["action"] == "sign-in refused"]


def test_a_proxy_is_an_address_or_a_network(tmp_path: Path) -> None:
    answer = CliRunner().invoke(serve, ["--proxy", "my-proxy", "--data", str(tmp_path)])
    assert answer.exit_code == 2 and "give an address or a network" in answer.output


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": null}', b"\xff"])
def test_ended_sessions_that_cannot_be_read_are_said(
    guarded: Station, token_file: Path, content: bytes
) -> None:
    (guarded.settings.data / "ended_sessions.json").write_bytes(content)
    with pytest.raises(InputError, match=r"ended_sessions\.json: cannot be read; delete it"):
        create_gate(guarded.settings)


@pytest.mark.parametrize("way", ["the token is taken away", "signed out"])
def test_a_stream_ends_with_its_token_and_its_session(
    guarded: Station, token_file: Path, tokens: dict[str, str], way: str
) -> None:
    client = client_of(guarded)
    word = sign_in(client, tokens["engineer"])
    headers = bearer(tokens["operator"])
    if way == "signed out":
        headers = {"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
    text = b""

    def end_it() -> None:
        if way == "signed out":
            sent = {"X-CSRF-Token": word, "Origin": "http://localhost"}
            assert client.delete("/api/session", headers=sent).status_code == 204
        else:
            lines = token_file.read_text().splitlines(keepends=True)
            token_file.write_text("".join(line for line in lines if not line.startswith("operator")))
        guarded.submit(picture(180), None, "secret", "me").result(10)

    async def heard(message: Message) -> None:
        nonlocal text
        text += message.get("body", b"")
        if text.endswith(b"welcome\n\n") and message.get("body"):
            await asyncio.to_thread(end_it)

    asyncio.run(ask(client.app, "GET", "/api/events", heard, headers))
    assert text == b": welcome\n\n"


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/api/inspections", "/api/events", "/nowhere"])
def test_what_can_be_had_can_be_asked_after(client: TestClient, path: str) -> None:
    asked = client.head(path)
    assert asked.content == b""
    if path == "/api/events":  # which never ends
        assert asked.status_code == 200 and asked.headers["content-type"].startswith("text/event-stream")
        return
    had = client.get(path)
    assert asked.status_code == had.status_code
    assert asked.headers["content-type"] == had.headers["content-type"]
    assert asked.headers["content-length"] == had.headers["content-length"]


def test_a_token_file_that_others_may_write_is_refused(token_file: Path, tokens: dict[str, str]) -> None:
    token_file.chmod(0o666)
    with pytest.raises(InputError, match="others may write it"):
        Accounts(token_file)


def sign_in(client: TestClient, token: str) -> str:
    answer = client.post("/api/session", json={"token": token})
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    return str(answer.json()["csrf"])


def test_a_session_changes_things_only_with_its_word(guarded: Station, tokens: dict[str, str]) -> None:
    client = client_of(guarded)
    csrf = sign_in(client, tokens["operator"])
    assert client.get("/api/session").json() == {"name": "operator", "role": "operator", "csrf": csrf}
    assert client.post("/api/judge", content=picture(100)).status_code == 403
    other = sign_in(client_of(guarded), tokens["operator"])
    assert client.post("/api/judge", content=picture(100), headers={"X-CSRF-Token": other}).status_code == 403
    mine = {"X-CSRF-Token": csrf}
    assert client.post("/api/judge", content=picture(100), headers=mine).status_code == 200
    elsewhere = {**mine, "Origin": "https://evil.example"}
    assert client.post("/api/judge", content=picture(100), headers=elsewhere).status_code == 403
    assert client.delete("/api/session", headers=mine).status_code == 204
    assert client.get("/api/session").status_code == 401


def test_forged_changed_and_old_cookies_are_nobody(
    guarded: Station, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(guarded)
    sign_in(client, tokens["operator"])
    value = client.cookies[COOKIE]
    client.cookies.clear()
    name, expires, nonce, signature = value.split(".")
    for forged in (
        f"admin.{expires}.{nonce}.{signature}",
        f"{name}.{int(expires) + 1}.{nonce}.{signature}",
        "...",
        "operator",
        value[:-1] + ("0" if value[-1] != "0" else "1"),
    ):
        client.cookies.set(COOKIE, forged)
        assert client.get("/api/session").status_code == 401
    later = time.time() + 13 * 3600
    monkeypatch.setattr("anomalyvfm.server.auth.sessions.time.time", lambda: later)
    client.cookies.set(COOKIE, value)
    assert client.get("/api/session").status_code == 401


def test_without_tokens_other_names_and_other_sites_get_nothing(client: TestClient) -> None:
    assert client.get("/api/inspections", headers={"Host": "evil.example"}).status_code == 403
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post("/api/judge", content=picture(100), headers=headers).status_code == 403
        assert (
            client.post(
                "/api/judge", content=picture(100), headers={**headers, "Authorization": "x"}
            ).status_code
            == 403
        )


def test_every_answer_has_the_headers_that_bind_a_browser(client: TestClient) -> None:
    for path in ("/health", "/nothing", "/api/inspections"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_bodies_are_counted_whatever_they_announce(open_station: Open) -> None:
    station = open_station(limits=Limits(image_bytes=1000, request_bytes=3000, pixels=2000))
    client = client_of(station)
    assert client.post("/api/judge", content=b"x" * 4000).status_code == 413
    assert client.post("/api/judge", content=iter([b"x" * 500] * 8)).status_code == 413
    assert client.post("/api/judge", content=b"\x89PNG\r\n\x1a\n" + b"x" * 1000).status_code == 413
    many = [("image", ("a.png", picture(100, side=8)))] * 3
    assert client.post("/api/judge", files=many).status_code == 200


@pytest.mark.parametrize("raised", [False, True])
def test_larger_images_are_taken_where_the_limits_are_raised(open_station: Open, raised: bool) -> None:
    content = picture(100, side=60)
    limits = Limits(pixels=2000, image_bytes=1000, request_bytes=2000, decode_bytes=1 << 30)
    limits = limits.for_images(3600 if raised else 2000, len(content))
    answer = client_of(open_station(limits=limits)).post("/api/judge", content=content)
    assert answer.status_code == (200 if raised else 413)
    said = answer.json().get("detail", "")
    assert raised or said.startswith("image data: 60×60 pixels is over the limit of 2000;")
    assert raised or "start the station with --max-pixels" in said
    assert Limits().for_images(400_000_000, 1).decode_bytes > Limits().decode_bytes


def test_what_changed_something_is_in_the_audit_log(guarded: Station, tokens: dict[str, str]) -> None:
    client = client_of(guarded)
    assert client.post("/api/session", json={"token": "guess"}).status_code == 401
    csrf = sign_in(client, tokens["engineer"])
    client.put("/api/models/part/false-alarm-rate", json={"rate": 0.2}, headers={"X-CSRF-Token": csrf})
    entries = client_of(guarded).get("/api/audit", headers=bearer(tokens["admin"])).json()["items"]
    said = [(entry["by"], entry["action"]) for entry in entries]
    assert said[:3] == [("engineer", "rate"), ("engineer", "sign in"), ("?", "sign-in refused")]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.7", False),
        ("x", False),
    ],
)
def test_only_loopback_addresses_do_without_tokens(host: str, loopback: bool, tmp_path: Path) -> None:
    assert is_loopback(host) == loopback
    if not loopback:
        answer = CliRunner().invoke(serve, ["--host", host, "--data", str(tmp_path / "s")])
        assert isinstance(answer.exception, InputError) and "tokens are needed" in str(answer.exception)


def test_the_command_makes_tokens(token_file: Path) -> None:
    made = CliRunner().invoke(serve, ["--token-file", str(token_file), "--new-token", "ann:engineer:30"])
    assert made.exit_code == 0
    account = Accounts(token_file).of_token(made.output.strip())
    assert account is not None and (account.name, account.role) == ("ann", "engineer")
    assert account.expires is not None and 29 * 86400 < account.expires - time.time() <= 30 * 86400
    again = CliRunner().invoke(serve, ["--token-file", str(token_file), "--new-token", "ann:admin"])
    assert isinstance(again.exception, InputError) and "has a token already" in str(again.exception)


def test_the_stations_key_is_for_its_user_alone(guarded: Station) -> None:
    client_of(guarded)
    assert (guarded.settings.data / "session.key").stat().st_mode & 0o077 == 0


def test_an_operator_signs_in_by_name_and_pin_and_five_wrong_ones_lock_the_name(
    open_station: Open, token_file: Path, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = add_pin(token_file, "kim", None)
    assert len(pin) == 6 and pin.isdigit() and pin not in token_file.read_text()
    station = open_station(token_file=token_file)
    client = client_of(station)
    wrong = f"{(int(pin) + 1) % 10**6:06d}"

    def sign_in(name: str, pin: str) -> int:
        status: int = client.post("/api/session", json={"name": name, "pin": pin}).status_code
        return status

    assert sign_in("kim", pin) == 200
    assert client.get("/api/session").json()["role"] == "operator"
    assert client.post("/api/session", json={"token": pin}).status_code == 401, "a PIN is no token"
    assert [sign_in("kim", wrong) for _ in range(3)] == [401] * 3
    assert sign_in("kim", pin) == 200, "which counts as none wrong"
    assert [sign_in("kim", wrong) for _ in range(5)] == [401] * 5
    # Locked whoever asks, from wherever, and the right PIN too.
    monkeypatch.setattr("anomalyvfm.server.auth.guard.SignInLimit.failed", lambda *_: None)
    assert sign_in("kim", pin) == 429
    assert "wait 15 min" in client.post("/api/session", json={"name": "kim", "pin": pin}).json()["detail"]
    admin = {"Authorization": f"Bearer {tokens['admin']}"}
    users = client.get("/api/users", headers=admin).json()["items"]
    kim = next(one for one in users if one["name"] == "kim")
    assert (kim["signs_in_by"], kim["locked"], kim["expires"]) == ("PIN", True, None)
    assert all(one["signs_in_by"] == "token" and not one["locked"] for one in users if one["name"] != "kim")
    later = time.monotonic() + 901
    monkeypatch.setattr("anomalyvfm.server.auth.sign_in_limit.time.monotonic", lambda: later)
    assert sign_in("kim", pin) == 200
    assert sign_in("nobody", pin) == 401


def test_only_operators_have_pins(token_file: Path, tokens: dict[str, str]) -> None:
    add_pin(token_file, "kim", None)
    lines = token_file.read_text().splitlines()
    token_file.write_text("\n".join([*lines[:-1], lines[-1].replace("kim:operator", "kim:admin")]) + "\n")
    assert "only operators have PINs" in Accounts(token_file).faults[0]
    assert Accounts(token_file).named("kim") is None


def test_users_and_log_are_for_admins(open_station: Open, token_file: Path, tokens: dict[str, str]) -> None:
    station = open_station(token_file=token_file)
    client = client_of(station)
    for role, status in (("operator", 403), ("engineer", 403), ("admin", 200)):
        headers = {"Authorization": f"Bearer {tokens[role]}"}
        for path in ("/users", "/users.json", "/audit", "/audit.json", "/api/users"):
            assert client.get(path, headers=headers).status_code == status, (role, path)
    page = client.get("/users", headers=headers).text
    assert all(role in page for role in tokens) and not any(token in page for token in tokens.values())
