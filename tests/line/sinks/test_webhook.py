"""A webhook, against a real server: what is sent, how it is signed, and what each answer means."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anomalyvfm.errors import InputError
from anomalyvfm.line.messages import Message
from anomalyvfm.line.settings import WebhookSettings
from anomalyvfm.line.sinks.sink import Refusal, SinkDownError
from anomalyvfm.line.sinks.webhook import Webhook, read_secret, signature
from tests.line.sinks.receiver import Receiver, receiving

pytest.importorskip("httpx")

MESSAGE = Message(1, "part-1", "good", '{"id": "part-1"}', None)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def webhook(url: str, **settings: Any) -> Webhook:
    return Webhook(WebhookSettings.model_validate({"kind": "webhook", "url": url, **settings}))


def test_a_signature_is_that_of_the_standard() -> None:
    """The example of https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_message_arrives_signed(receiver: Receiver, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + base64.b64encode(b"k" * 24).decode() + "\n")
    sink = webhook(receiver.url, **{"secret-file": str(secret)})
    assert list(sink.send([MESSAGE, MESSAGE])) == [None, None]
    sink.close()
    assert len(receiver.got) == 2
    headers, body = receiver.got[0]
    assert body == MESSAGE.body.encode()
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == "part-1"
    expected = signature(b"k" * 24, "part-1", int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == expected


def test_without_a_secret_nothing_is_signed(receiver: Receiver) -> None:
    assert list(webhook(receiver.url).send([MESSAGE])) == [None]
    assert "webhook-signature" not in receiver.got[0][0]


@pytest.mark.parametrize(
    ("status", "final"), [(500, False), (503, False), (429, False), (400, True), (422, True)]
)
def test_a_refusal_is_for_good_where_the_message_is_at_fault(
    receiver: Receiver, status: int, final: bool
) -> None:
    receiver.status = status
    assert list(webhook(receiver.url).send([MESSAGE])) == [Refusal(f"answered {status}", final)]


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_an_answer_that_is_about_the_sender_stops_it(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(SinkDownError, match=f"answers {status}"):
        list(webhook(receiver.url).send([MESSAGE]))
    assert len(receiver.got) == 1  # a redirection is not followed


def test_silence_is_a_refusal_for_now(receiver: Receiver) -> None:
    receiver.silent = True
    (answer,) = webhook(receiver.url, timeout=0.1).send([MESSAGE])
    assert answer == Refusal("no answer within 0.1 s", final=False)


def test_nobody_there_is_down() -> None:
    with pytest.raises(SinkDownError, match=r"127\.0\.0\.1:1/"):
        list(webhook("http://127.0.0.1:1/").send([MESSAGE]))


@pytest.mark.parametrize(
    ("text", "says"), [("short", "5 bytes"), ("whsec_!", "no Base64"), (None, "no secret can be read")]
)
def test_a_secret_that_is_none_is_refused(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "secret").write_text(text)
    with pytest.raises(InputError, match=says):
        read_secret(tmp_path / "secret")


def test_a_secret_may_be_any_text(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("sixteen letters!\n")
    assert read_secret(tmp_path / "secret") == b"sixteen letters!"
