"""Signing in and out, for browsers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from anomalyvfm.server.api.shapes import SignedIn, SignInRequest
from anomalyvfm.server.auth.guard import Operator, gate_of
from anomalyvfm.server.auth.sessions import COOKIE
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.station import Station


def router(station: Station) -> APIRouter:
    routes = APIRouter(prefix="/api/session", tags=["session"])

    @routes.post("", response_model=SignedIn)
    def sign_in(body: SignInRequest, request: Request, response: Response) -> dict[str, Any]:
        """Exchange a token, or a name and a PIN, for a session cookie.

        What changes anything needs `csrf` in X-CSRF-Token. Five wrong PINs of a name lock it for a quarter
        of an hour.
        """
        gate = gate_of(request)
        if gate.accounts is None or gate.sessions is None:
            raise Problem(409, "this station asks for no tokens")
        gate.check_site(request)  # or another site could sign a browser in as somebody else
        address = request.client.host if request.client else "?"
        gate.sign_ins.check(address)
        if body.name:
            gate.pins.check(body.name)
            account, what = gate.accounts.of_pin(body.name, body.pin.strip()), "PIN"
        else:
            account, what = gate.accounts.of_token(body.token.strip()), "token"
        if account is None or account.expired:
            gate.sign_ins.failed(address)
            if body.name:
                gate.pins.failed(body.name)
            station.note("?", "sign-in refused", address, "expired" if account else f"unknown {what}")
            raise Problem(401, f"the {what} has expired" if account else f"the {what} is not known here")
        if body.name:
            gate.pins.succeeded(body.name)
        value, session = gate.sessions.begin(account)
        station.note(account.name, "sign in", account.role)
        response.set_cookie(
            COOKIE,
            value,
            max_age=gate.sessions.seconds,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return {"name": account.name, "role": account.role, "csrf": session.csrf}

    @routes.get("", response_model=SignedIn)
    def who(user: Operator) -> dict[str, Any]:
        """Who is signed in."""
        return {"name": user.name, "role": user.role, "csrf": user.csrf}

    @routes.delete("", status_code=204)
    def sign_out(user: Operator, request: Request, response: Response) -> None:
        """End the session, wherever its cookie is."""
        sessions = gate_of(request).sessions
        if sessions is not None:
            sessions.end(request.cookies.get(COOKIE, ""))
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")

    return routes
