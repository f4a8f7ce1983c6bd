"""The pages alone, over a station of plain lists."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from anomalyvfm.server import problems
from anomalyvfm.server.auth.guard import User
from anomalyvfm.server.pages import router, routes
from tests.server.pages.fake_station import FakeStation

Open = Callable[..., TestClient]
OPERATOR = User("ada", "operator", "token-of-this-session")
ENGINEER = User("grace", "engineer", "token-of-this-session")


@pytest.fixture
def open_pages(monkeypatch: pytest.MonkeyPatch) -> Open:
    """A client of the pages of a station, as a user; None: nobody is signed in."""

    def opened(station: FakeStation, user: User | None = ENGINEER) -> TestClient:
        app = FastAPI(openapi_url=None)
        problems.install(app)
        app.include_router(router(station))  # type: ignore[arg-type]  # a stand-in with the same methods
        monkeypatch.setattr(routes, "find_user", lambda request: user)
        return TestClient(app, follow_redirects=False, raise_server_exceptions=False)

    return opened
