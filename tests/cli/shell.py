"""The commands in processes of their own, as a shell starts them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from pseudocron.backends.file.backend import File
from pseudocron.report import HistoryLine, history_of

if TYPE_CHECKING:
    from pathlib import Path

CRONS = """
crons = {
    "hourly": ("jobs:work", 3600),
    "digest": {"run": "jobs:work", "schedule": "0 7 * * mon-fri", "tz": "Asia/Shanghai"},
    "off": {"run": "jobs:work", "schedule": 60, "enabled": False},
}
"""
JOBS = """
import os, time
from pathlib import Path

def work(): print('at work')
def fail(): 1 / 0

def until_told():
    Path("begun").touch()
    while not Path("end").exists():
        time.sleep(0.005)
"""


def pseudocron(folder: Path, *argv: str, said: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """One command to its end; `said` is what a person types."""
    return subprocess.run(
        [sys.executable, "-m", "pseudocron", *argv],
        cwd=folder,
        env={**os.environ, "TZ": "UTC", **environ},
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def start(folder: Path, *argv: str, **environ: str) -> subprocess.Popen[str]:
    """One command that goes on."""
    return subprocess.Popen(
        [sys.executable, "-m", "pseudocron", *argv],
        cwd=folder,
        env={**os.environ, "TZ": "UTC", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def asked(folder: Path, *argv: str) -> list[dict[str, Any]]:
    """What a command with `--json` says."""
    done = pseudocron(folder, *argv, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def named(folder: Path) -> dict[str, str]:
    """The variable by which a command in this process finds the crons of a folder; `crons.py` may be another's here."""
    return {"PSEUDOCRON_CRONS": str(folder / "crons.py")}


def recorded(folder: Path, name: str | None = None) -> list[HistoryLine]:
    """What the store of a folder holds, newest first."""

    async def read() -> list[HistoryLine]:
        store = File(folder / ".pseudocron")
        await store.open()
        lines = await history_of(store, name, limit=1000)
        await store.close()
        return lines

    return asyncio.run(read())
