"""A folder with a module and a script in it, for entries to name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHOP = """
class Mailer:
    async def send(self):
        pass

async def send():
    pass

def count():
    pass

def report(number, a=0):
    pass

mailer = Mailer()
price = 5
crons = {"count": (count, 60)}
"""
LATE = ("jobs", "jobs.later", "later", "twisted_")
"""Modules that tests add."""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that is worked in: the modules `shop` and `broken`, and the script `jobs/tidy.py`."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "leaver.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "tidy.py").write_text("")
    (tmp_path / "tidy").write_text("#!/bin/sh\n")
    (tmp_path / "tidy").chmod(0o755)
    for name, text, mode in (
        ("plain", "#!/bin/sh\n", 0o644),
        ("text", "echo\n", 0o755),
        ("lost", "#!/no/such/sh\n", 0o755),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in (
        *LATE,
        "shop",
        "broken",
        "leaver",
        "tasks_of_views",
        "round",
        "about",
        "twice",
        "store",
        "store.crons",
    ):
        sys.modules.pop(module, None)
