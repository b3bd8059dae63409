"""For some seconds real processes are killed, stopped and cut off on both stores; `make chaos` does it for minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support import environ_with

ROOT = Path(__file__).parents[2]


def test_whatever_is_done_to_processes_and_stores_the_promises_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "verification.chaos", "--short", "--out", str(out)],
        env=environ_with(ROOT) | {"PYTHONDONTWRITEBYTECODE": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for store in json.loads(out.read_text())["stores"]:
        assert all(store[what] for what in ("killed", "stopped", "jobs", "slots"))
