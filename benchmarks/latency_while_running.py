"""How long visitors wait while a CPU-bound script runs, against how long they wait otherwise."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime
from pathlib import Path
from statistics import median

from benchmarks.measuring import Row, p99, ratios, show, spread
from benchmarks.serving import Server, steadily
from harness.uvicorn_server import Connection

GAP = 1 / 500
"""Seconds between requests."""
EVERY, RUNS = 6, 7
"""Seconds from run to run, and how many are looked at."""
GOAL = 1.2
SCRIPT = """
import os, time
while time.process_time() < 2:
    pass
with open("runs.txt", "a") as runs:
    print(os.environ["PSEUDOCRON_SLOT"], time.time(), file=runs)
"""


def _measure(what: str, cores: set[int] | None) -> Row:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
        with Server(folder, crons=f'crons = {{"burn": ("script.py", {EVERY})}}', cores=cores) as server:
            Connection(server.port).get()
            latencies = steadily(server.port, gap=GAP, seconds=EVERY * (RUNS + 1))
        runs = folder / "runs.txt"
        if not runs.exists():
            raise TimeoutError("no run has ended: scripts yield to whatever else this machine does")
        lines = runs.read_text(encoding="utf-8").splitlines()
    busy, idle = [], []
    for slot, end in (line.split() for line in lines):
        start = datetime.fromisoformat(slot).timestamp()
        during = [waited for moment, waited in latencies if start <= moment < float(end)]
        after = [waited for moment, waited in latencies if float(end) <= moment < start + EVERY]
        if min(len(during), len(after)) * GAP > 1:  # at the ends of the measurement there is less of one of them
            busy.append(p99(during) * 1e3)
            idle.append(p99(after) * 1e3)
    against = ratios(busy, idle)
    return Row(
        what=f"p99 latency at 500 requests/s while a 2 s CPU-bound script runs, against idle; {what}",
        goal=f"{GOAL:.1f}",
        measured=f"{spread(against)}: {median(busy):.1f} ms of {median(idle):.1f} ms, {len(against)} runs",
        met=median(against) <= GOAL,
    )


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    last = max(os.sched_getaffinity(0))
    return [
        _measure(f"{os.cpu_count()} cores", None),
        _measure("server and script pinned to one core", {last}),
    ]


if __name__ == "__main__":
    show(measure())
