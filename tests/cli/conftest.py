"""A folder with a configuration, and what it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cli.shell import CRONS, JOBS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "crons.py").write_text(CRONS)
    (tmp_path / "jobs.py").write_text(JOBS)
    return tmp_path
