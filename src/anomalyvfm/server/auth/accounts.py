"""Who may come in: a file with a line for each token, of which only the hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from anomalyvfm.errors import InputError

ROLES = ("operator", "engineer", "admin")
"""Each may do what those before it may."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Account:
    name: str
    role: str
    expires: float | None
    """Seconds since 1970; none: never."""
    token_hash: str

    @property
    def expired(self) -> bool:
        return self.expires is not None and time.time() >= self.expires


class Accounts:
    """The accounts of a token file, ``name:role:expires:sha256`` a line; read again whenever it changes.

    SHA-256 suffices, because tokens are 32 random bytes: there is nothing to guess that a slow hash would
    have to protect. Raises InputError for a file that is missing, malformed or writable by others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._accounts = _parse(path)

    def of_token(self, token: str) -> Account | None:
        """The account of a token, expired or not; takes as long whichever it is."""
        wanted = hash_token(token)
        found = None
        for account in self.all():
            if hmac.compare_digest(account.token_hash, wanted):
                found = account
        return found

    def named(self, name: str) -> Account | None:
        return next((account for account in self.all() if account.name == name), None)

    def all(self) -> tuple[Account, ...]:
        with self._lock:
            try:
                if (stamp := self._stamp()) != self._seen:
                    self._accounts, self._seen = _parse(self._path), stamp
            except InputError:
                # Half-written by an editor, or gone: whoever was let in by it must not stay in unseen.
                self._accounts = ()
                self._seen = (0, 0, 0)
            return self._accounts

    def _stamp(self) -> tuple[int, int, int]:
        try:
            state = self._path.stat()
        except OSError as error:
            raise InputError(
                f"{self._path}: cannot be read ({error.strerror}); make it by"
                " `anomalyvfm serve --token-file FILE --new-token NAME:ROLE`"
            ) from None
        if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise InputError(f"{self._path}: others may write it; chmod 600 {self._path}")
        return state.st_mtime_ns, state.st_size, state.st_ino


def add_account(path: Path, name: str, role: str, days: float | None) -> str:
    """Append an account to a token file and return its token, which is kept nowhere else."""
    if not _NAME.match(name):
        raise InputError(f"'{name}': a token's name has 1 to 64 letters, digits, - and _")
    if role not in ROLES:
        raise InputError(f"'{role}': roles are {', '.join(ROLES)}")
    if path.exists() and any(account.name == name for account in _parse(path)):
        raise InputError(f"{path}: '{name}' has a token already; delete its line first")
    token = secrets.token_urlsafe(32)
    expires = "" if days is None else str(int(time.time() + days * 86400))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="ascii") as stream:
            stream.write(f"{name}:{role}:{expires}:{hash_token(token)}\n")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another --token-file"
        ) from None
    return token


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _parse(path: Path) -> tuple[Account, ...]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no readable token file ({error}); make a new one") from None
    accounts: list[Account] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.strip().split(":")
        if len(fields) != 4 or not _NAME.match(fields[0]) or fields[1] not in ROLES:
            raise InputError(f"{path}, line {number}: write it as name:role:expires:sha256")
        name, role, expires, token_hash = fields
        if not _HASH.match(token_hash) or not (expires == "" or expires.isdigit()):
            raise InputError(f"{path}, line {number}: write it as name:role:expires:sha256")
        if any(account.name == name for account in accounts):
            raise InputError(f"{path}, line {number}: '{name}' is there twice; delete one")
        accounts.append(Account(name, role, float(expires) if expires else None, token_hash))
    return tuple(accounts)
