"""Browser sessions: a signed cookie, and the word against forged requests that goes with it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from anomalyvfm.server.auth.accounts import Account, Accounts

COOKIE = "anomalyvfm_session"


@dataclass(frozen=True)
class Session:
    account: Account
    csrf: str


class Sessions:
    """Nothing is kept of a session: the cookie says whose it is and until when, signed by the station.

    The token's hash is part of what is signed, so a session ends with its token.
    """

    def __init__(self, key: bytes, accounts: Accounts, hours: float) -> None:
        self._key = key
        self._accounts = accounts
        self.seconds = int(hours * 3600)

    def begin(self, account: Account) -> tuple[str, Session]:
        """A cookie's value and the session it stands for."""
        expires = str(int(time.time()) + self.seconds)
        nonce = secrets.token_urlsafe(16)
        value = ".".join((account.name, expires, nonce, self._sign("session", account, expires, nonce)))
        return value, Session(account, self._sign("csrf", account, expires, nonce))

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie, or None where it is forged, over, or its token is gone."""
        fields = cookie.split(".")
        if len(fields) != 4 or not fields[1].isdigit():
            return None
        name, expires, nonce, signature = fields
        account = self._accounts.named(name)
        if account is None or account.expired:
            return None
        expected = self._sign("session", account, expires, nonce)
        if not hmac.compare_digest(signature.encode(), expected.encode()) or int(expires) <= time.time():
            return None
        return Session(account, self._sign("csrf", account, expires, nonce))

    def _sign(self, purpose: str, account: Account, expires: str, nonce: str) -> str:
        payload = "|".join((purpose, account.name, account.token_hash, expires, nonce))
        return hmac.new(self._key, payload.encode(), hashlib.sha256).hexdigest()


def station_key(folder: Path) -> bytes:
    """The station's 32 random bytes, made at its first start and readable by its user alone."""
    path = folder / "session.key"
    if not path.exists():
        partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as stream:
                stream.write(secrets.token_bytes(32))
                os.fsync(stream.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
    return path.read_bytes()
