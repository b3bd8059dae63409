"""How often each slot runs while several worker processes have no CPU to spare."""

from __future__ import annotations

import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.measuring import Row, show
from benchmarks.serving import Server, load

WORKERS, CLIENTS = 4, 2
SLOTS = 500
WITHIN = 150.0
"""Seconds after which what has run by then must do."""
JOB = """
import os
from pseudocron import current_run

def note():
    file = os.open("slots.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{os.getpid()} {current_run().slot.isoformat()}\\n".encode())
    os.close(file)
"""


def _lines(folder: Path) -> list[tuple[str, str]]:
    """Return the process and the slot of each run."""
    with suppress(FileNotFoundError):
        lines = (folder / "slots.txt").read_text(encoding="utf-8").splitlines()
        return [(process, slot) for process, slot in (line.split() for line in lines)]
    return []


def measure() -> list[Row]:
    """Measure, and return the row of this benchmark."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.py").write_text(JOB, encoding="utf-8")
        with Server(folder, crons='crons = {"often": ("job:note", 0.1)}', workers=WORKERS) as server:
            began = time.monotonic()
            with load(server.port, CLIENTS):
                while len(_lines(folder)) < SLOTS and time.monotonic() - began < WITHIN:
                    time.sleep(0.5)
            taken = time.monotonic() - began
        lines = _lines(folder)
    slots = {slot for _, slot in lines}
    rate = len(lines) / len(slots)
    workers = len({process for process, _ in lines})
    return [
        Row(
            what=f"runs per slot of a 0.1 s cron; {WORKERS} uvicorn workers, all cores saturated",
            goal=f"1.00 of {SLOTS} slots",
            measured=f"{rate:.3f} of {len(slots)} slots in {taken:.0f} s, run by {workers} workers",
            met=len(slots) >= SLOTS and len(lines) == len(slots),
        )
    ]


if __name__ == "__main__":
    show(measure())
