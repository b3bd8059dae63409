"""A store for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from on_time.moments import SHARED, STORES, Where

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=STORES)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    return Where(request.param, tmp_path)


@pytest.fixture(params=SHARED)
def shared_by_many(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    return Where(request.param, tmp_path)
