"""Who asks, and whether they may: what every route but the open ones depends on."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request

from anomalyvfm.server.auth.accounts import ROLES, Accounts
from anomalyvfm.server.auth.sessions import COOKIE, Sessions
from anomalyvfm.server.auth.sign_in_limit import SignInLimit
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store.clock import iso_or_none

_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class User:
    name: str
    role: str
    csrf: str = ""
    """What a session's page sends in ``X-CSRF-Token`` with whatever changes something; empty without one."""

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Gate:
    """How users are known; without accounts, on a loopback address alone, everyone is the local admin."""

    accounts: Accounts | None
    sessions: Sessions | None
    sign_ins: SignInLimit = field(default_factory=lambda: SignInLimit(10, 60.0, "tokens or PINs"))
    """By address."""
    pins: SignInLimit = field(default_factory=lambda: SignInLimit(5, 900.0, "PINs of this name"))
    """By name: a PIN is short, and those who guess have many addresses."""

    def find(self, request: Request) -> User | None:
        """The user of a request. Raises Problem 401 for a token that is wrong or expired."""
        if self.accounts is None or self.sessions is None:
            return User("local", "admin")
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, token = header.partition(" ")
            account = self.accounts.of_token(token.strip()) if scheme.lower() == "bearer" else None
            if account is None:
                raise Problem(401, "the token is not known here; send Authorization: Bearer TOKEN")
            if account.expired:
                raise Problem(401, f"the token of {account.name} has expired; ask for a new one")
            return User(account.name, account.role)
        session = self.sessions.find(request.cookies.get(COOKIE, ""))
        return None if session is None else User(session.account.name, session.account.role, session.csrf)

    def users(self) -> list[dict[str, Any]]:
        """All accounts, expired ones too; none on a station without tokens."""
        return [
            {
                "name": account.name,
                "role": account.role,
                "signs_in_by": "PIN" if account.by_pin else "token",
                "expires": iso_or_none(account.expires),
                "expired": account.expired,
                "locked": account.by_pin and self.pins.is_locked(account.name),
            }
            for account in (self.accounts.all() if self.accounts else ())
        ]

    def check_origin(self, request: Request, user: User) -> None:
        """Raise Problem 403 where another site may have made a browser send a change."""
        if request.method in _SAFE or (self.accounts and "authorization" in request.headers):
            return
        self.check_site(request)
        sent = request.headers.get("x-csrf-token", "")
        if user.csrf and not hmac.compare_digest(sent.encode(), user.csrf.encode()):
            raise Problem(403, "X-CSRF-Token is missing or not this session's; load the page again")

    def check_site(self, request: Request) -> None:
        """Raise Problem 403 where a page of another site sent this."""
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Problem(403, "sent by a page of another site")
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise Problem(403, "sent by a page of another site")


def gate_of(request: Request) -> Gate:
    gate = request.app.state.gate
    assert isinstance(gate, Gate)
    return gate


def find_user(request: Request) -> User | None:
    """The user, or None where nobody is, or is any more: pages then lead to the sign-in, and streams end."""
    try:
        return gate_of(request).find(request)
    except Problem:
        return None


def require(role: str) -> Callable[[Request], User]:
    """A dependency: the user, who has at least this role. Problem 401 or 403 otherwise."""

    def check(request: Request) -> User:
        gate = gate_of(request)
        user = gate.find(request)
        if user is None:
            raise Problem(401, "nobody is signed in; send Authorization: Bearer TOKEN")
        gate.check_origin(request, user)
        if not user.may(role):
            raise Problem(403, f"this needs the role {role}; {user.name} is {user.role}")
        return user

    return check


Operator = Annotated[User, Depends(require("operator"))]
Engineer = Annotated[User, Depends(require("engineer"))]
Admin = Annotated[User, Depends(require("admin"))]
