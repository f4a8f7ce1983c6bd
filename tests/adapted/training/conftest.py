"""Tiny layers on one core: threads would wait for one another longer than they work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from anomalyvfm.features import core_threads


@pytest.fixture(autouse=True, scope="package")
def one_core() -> Iterator[None]:
    with core_threads.one_core():
        yield
