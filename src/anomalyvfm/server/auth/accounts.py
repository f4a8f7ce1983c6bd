"""Who may come in: a file with a line for each token, of which only the hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import logging
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
_HASH = re.compile(r"(?:[0-9a-f]{64}|scrypt\.[0-9a-f]{32}\.[0-9a-f]{64})\Z")
_EXPIRES = re.compile(r"[0-9]{0,12}\Z")
_PIN_DIGITS = 6
_HOW_TO_ADD = "make one by `anomalyvfm serve --token-file FILE --new-token NAME:ROLE`"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Account:
    name: str
    role: str
    expires: float | None
    """Seconds since 1970; none: never."""
    token_hash: str
    """Of a token its SHA-256, of a PIN its salt and what scrypt makes of both."""

    @property
    def by_pin(self) -> bool:
        return self.token_hash.startswith("scrypt.")

    @property
    def expired(self) -> bool:
        return self.expires is not None and time.time() >= self.expires


class Accounts:
    """The accounts of a token file, ``name:role:expires:hash`` a line; read again for each question.

    For tokens SHA-256 suffices, because they are 32 random bytes: there is nothing to guess that a slow hash
    would have to protect. PINs are short: scrypt makes guessing from a file that was lost slow, and only
    operators have them. A malformed line lets nobody in and keeps nobody else out. Raises InputError for a
    file that is missing, writable by others or without a single account.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._content: bytes | None = None
        self._accounts: tuple[Account, ...] = ()
        self._faults: tuple[str, ...] = ()
        self._read_again()
        if not self._accounts:
            raise InputError(
                f"{path}, {self._faults[0]}" if self._faults else f"{path}: holds no token; {_HOW_TO_ADD}"
            )

    def of_token(self, token: str) -> Account | None:
        """The account of a token, expired or not; takes as long whichever it is."""
        wanted = hash_token(token)
        found = None
        for account in self.all():
            if hmac.compare_digest(account.token_hash, wanted):
                found = account
        return found

    def of_pin(self, name: str, pin: str) -> Account | None:
        """The account of that name, if it has this PIN; takes as long whether it is there or not."""
        account = self.named(name)
        known = account if account is not None and account.by_pin else None
        salt = known.token_hash.split(".")[1] if known else "0" * 32
        matches = hmac.compare_digest(_hash_pin(pin, salt), known.token_hash if known else "")
        return known if matches else None

    def named(self, name: str) -> Account | None:
        return next((account for account in self.all() if account.name == name), None)

    def all(self) -> tuple[Account, ...]:
        with self._lock:
            try:
                self._read_again()
            except InputError as error:
                # Gone, or others may write it: whoever was let in by it must not stay in unseen.
                if self._content is not None:
                    _log.error("nobody is let in: %s", error)
                self._content, self._accounts, self._faults = None, (), ("it cannot be used; see the log",)
            return self._accounts

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the file now, by line."""
        self.all()
        return self._faults

    def _read_again(self) -> None:
        # By its content: a file put in place of another may have the size, the time and the number of that.
        content = _content(self._path)
        if content == self._content:
            return
        self._accounts, self._faults = _parse(content)
        for fault in self._faults:
            _log.error("%s, %s", self._path, fault)
        self._content = content


def add_account(path: Path, name: str, role: str, days: float | None) -> str:
    """Append an account to a token file and return its token, which is kept nowhere else."""
    token = secrets.token_urlsafe(32)
    _append(path, name, role, days, hash_token(token))
    return token


def add_pin(path: Path, name: str, days: float | None) -> str:
    """Append an operator to a token file and return the PIN, which is kept nowhere else."""
    pin = f"{secrets.randbelow(10**_PIN_DIGITS):0{_PIN_DIGITS}d}"
    _append(path, name, "operator", days, _hash_pin(pin, secrets.token_hex(16)))
    return pin


def _append(path: Path, name: str, role: str, days: float | None, kept: str) -> None:
    if not _NAME.match(name):
        raise InputError(f"'{name}': a token's name has 1 to 64 letters, digits, - and _")
    if role not in ROLES:
        raise InputError(f"'{role}': roles are {', '.join(ROLES)}")
    content = _content(path) if path.exists() else b""
    if any(account.name == name for account in _parse(content)[0]):
        raise InputError(f"{path}: '{name}' has a token already; delete its line first")
    expires = "" if days is None else str(int(time.time() + days * 86400))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="ascii") as stream:
            stream.write("\n" if content and not content.endswith(b"\n") else "")
            stream.write(f"{name}:{role}:{expires}:{kept}\n")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another --token-file"
        ) from None


def _hash_pin(pin: str, salt: str) -> str:
    made = hashlib.scrypt(pin.encode("utf-8", "surrogatepass"), salt=bytes.fromhex(salt), n=1 << 14, r=8, p=1)
    return f"scrypt.{salt}.{made[:32].hex()}"


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {_HOW_TO_ADD}") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(f"{path}: others may write it; chmod 600 {path}")
    return content


def _parse(content: bytes) -> tuple[tuple[Account, ...], tuple[str, ...]]:
    """The accounts of a token file, and what is wrong with which of its lines."""
    accounts: dict[str, Account] = {}
    faults: list[str] = []
    for number, line in enumerate(content.decode("ascii", "replace").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        account = _account(line.strip().split(":"))
        if account is None:
            faults.append(f"line {number}: write it as name:role:expires:hash; only operators have PINs")
        elif account.name in accounts:
            faults.append(f"line {number}: its name is there twice, and the first counts; delete one")
        else:
            accounts[account.name] = account
    return tuple(accounts.values()), tuple(faults)


def _account(fields: list[str]) -> Account | None:
    if len(fields) != 4:
        return None
    name, role, expires, token_hash = fields
    if not (_NAME.match(name) and role in ROLES and _EXPIRES.match(expires) and _HASH.match(token_hash)):
        return None
    account = Account(name, role, float(expires) if expires else None, token_hash)
    return None if account.by_pin and role != "operator" else account
