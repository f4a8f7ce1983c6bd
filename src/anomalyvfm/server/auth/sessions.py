"""Browser sessions: a signed cookie, and the word against forged requests that goes with it."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from anomalyvfm.errors import InputError
from anomalyvfm.server.auth.accounts import Account, Accounts
from anomalyvfm.server.store.files import write_whole

COOKIE = "anomalyvfm_session"


@dataclass(frozen=True)
class Session:
    account: Account
    csrf: str


class Sessions:
    """A cookie says whose it is and until when, signed by the station; kept is only which were ended.

    The token's hash is part of what is signed, so a session ends with its token. ``folder`` is the station's.
    """

    def __init__(self, folder: Path, accounts: Accounts, hours: float) -> None:
        self._key = _station_key(folder)
        self._ended_file = folder / "ended_sessions.json"
        self._lock = threading.Lock()
        self._ended = _ended(self._ended_file)  # by nonce, when the session would have ended by itself
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
        if nonce in self._ended:
            return None
        return Session(account, self._sign("csrf", account, expires, nonce))

    def end(self, cookie: str) -> None:
        """End a session for whoever has its cookie, also after a restart.

        Raises OSError where that cannot be kept; until the station stops it is ended even so.
        """
        if self.find(cookie) is None:
            return
        _, expires, nonce, _ = cookie.split(".")
        with self._lock:
            now = time.time()
            self._ended = {one: until for one, until in self._ended.items() if until > now}
            self._ended[nonce] = int(expires)
            write_whole(self._ended_file, json.dumps(self._ended).encode())

    def _sign(self, purpose: str, account: Account, expires: str, nonce: str) -> str:
        payload = "|".join((purpose, account.name, account.token_hash, expires, nonce))
        return hmac.new(self._key, payload.encode(), hashlib.sha256).hexdigest()


def _ended(path: Path) -> dict[str, int]:
    try:
        return {str(nonce): int(until) for nonce, until in json.loads(path.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"{path}: cannot be read; delete it together with session.key") from None


def _station_key(folder: Path) -> bytes:
    """The station's 32 random bytes, made at its first start and readable by its user alone."""
    path = folder / "session.key"
    if not path.exists():
        write_whole(path, secrets.token_bytes(32), mode=0o600)
    return path.read_bytes()
