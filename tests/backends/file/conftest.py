"""A store in a folder, and an event loop on which to use it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pseudocron.backends.file.backend import File

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def backend(folder: Path, runner: asyncio.Runner) -> Iterator[File]:
    made = File(folder)
    runner.run(made.open())
    yield made
    runner.run(made.close())
