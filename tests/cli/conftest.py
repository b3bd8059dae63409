"""A folder with a configuration, and what it runs."""

from __future__ import annotations

import sys
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


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of this process, with crons that no import of another folder can hide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "crons.py").write_text('crons = {"hourly": ("os:getpid", 3600), "daily": ("os:getpid", "@daily")}')
    return tmp_path
