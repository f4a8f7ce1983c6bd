"""Verdicts to an address of HTTP, signed so that the receiver knows the sender.

As https://www.standardwebhooks.com says, for which receivers have libraries: the headers ``webhook-id``
(the message's, the same however often it is sent), ``webhook-timestamp``, and ``webhook-signature``, which
is ``v1,`` and the HMAC-SHA256 of id, time and body in Base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anomalyvfm.errors import InputError
from anomalyvfm.line.messages import Message
from anomalyvfm.line.secrets import trusting
from anomalyvfm.line.sinks.sink import Refusal, SinkDownError
from anomalyvfm.version import __version__

if TYPE_CHECKING:
    import httpx

    from anomalyvfm.line.settings import WebhookSettings

_PREFIX = "whsec_"
_LEAST_SECRET = 16

# The receiver is there, and it is the sender that is wrong: nothing else would be taken either.
_NOBODYS_MESSAGE = (401, 403, 404, 405, 407, 410)
# Sent again, these may be taken.
_FOR_NOW = (408, 409, 421, 423, 425, 429)


def read_secret(path: Path) -> bytes:
    """The key in a file: ``whsec_`` and Base64, or any text. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no secret can be read there ({error})") from None
    try:
        key = (
            base64.b64decode(text[len(_PREFIX) :], validate=True)
            if text.startswith(_PREFIX)
            else text.encode()
        )
    except binascii.Error:
        raise InputError(f"{path}: what follows {_PREFIX} is no Base64") from None
    if len(key) < _LEAST_SECRET:
        raise InputError(f"{path}: the secret has {len(key)} bytes; give it {_LEAST_SECRET} or more")
    return key


def signature(key: bytes, message_id: str, at: int, body: bytes) -> str:
    """The header ``webhook-signature``; ``at`` in whole seconds since 1970."""
    signed = f"{message_id}.{at}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Webhook:
    """A POST for each message, over a connection that is kept open."""

    def __init__(self, settings: WebhookSettings, client: httpx.Client | None = None) -> None:
        import httpx

        self._settings = settings
        self._key = None if settings.secret_file is None else read_secret(settings.secret_file)
        verify = True if settings.ca_file is None else trusting(settings.ca_file)
        self._client = client or httpx.Client(timeout=settings.timeout, verify=verify, follow_redirects=False)

    def send(self, messages: Sequence[Message]) -> Iterator[Refusal | None]:
        for message in messages:
            yield self._post(message)

    def beat(self) -> None:
        """Nothing is known of a receiver that is sent nothing."""

    def close(self) -> None:
        self._client.close()

    def _post(self, message: Message) -> Refusal | None:
        import httpx

        body = message.body.encode()
        at = int(time.time())
        headers = {
            "content-type": "application/json",
            "user-agent": f"anomalyvfm/{__version__}",
            "webhook-id": message.id,
            "webhook-timestamp": str(at),
        }
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, message.id, at, body)
        try:
            # What the receiver has to say beside its status is not read: it could be without end.
            with self._client.stream("POST", self._settings.url, content=body, headers=headers) as answer:
                status = answer.status_code
        except httpx.ReadTimeout:
            return Refusal(f"no answer within {self._settings.timeout:g} s", final=False)
        except httpx.HTTPError as error:
            raise SinkDownError(f"{self._settings.where}: {str(error) or type(error).__name__}") from error
        if status < 300:
            return None
        if status in _NOBODYS_MESSAGE or 300 <= status < 400:
            raise SinkDownError(f"{self._settings.where}: answers {status}; check its address and secret")
        return Refusal(f"answered {status}", final=400 <= status < 500 and status not in _FOR_NOW)
