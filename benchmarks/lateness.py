"""How much later than its slot a run begins: with steady visitors, and with the ticker and none."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.measuring import Row, p99, show
from benchmarks.serving import Server, steadily
from harness.uvicorn_server import Connection

GAP = 0.07
"""Seconds between requests; not a divisor of the interval, so that slots fall anywhere between them."""
EVERY, SECONDS = 0.25, 40.0
BEHIND_REQUESTS, TICKING = 20.0, 50.0
"""Milliseconds: the goals, the first one besides the gap."""
CRONS = f'crons = {{"often": ("job:note", {EVERY})}}'
JOB = """
import time
from pseudocron import current_run

late = open("late.txt", "a", buffering=1)

def note():
    print(time.time() - current_run().slot.timestamp(), file=late)
"""


def _late(*, ticker: bool) -> list[float]:
    """Milliseconds of each run but the first, whose slot was over when the server started."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.py").write_text(JOB, encoding="utf-8")
        with Server(folder, crons=CRONS, options=f", ticker={ticker}") as server:
            Connection(server.port).get()
            if ticker:
                time.sleep(SECONDS)
            else:
                steadily(server.port, gap=GAP, seconds=SECONDS)
        lines = (folder / "late.txt").read_text(encoding="utf-8").splitlines()
    return [float(line) * 1e3 for line in lines[1:]]


def _row(what: str, late: list[float], goal: float, words: str) -> Row:
    return Row(
        what=what,
        goal=f"p99 {words}",
        measured=f"p99 {p99(late):.1f} ms, median {median(late):.1f} ms, {len(late)} runs",
        met=p99(late) < goal,
    )


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    visitors, ticking = _late(ticker=False), _late(ticker=True)
    gap = GAP * 1e3
    return [
        _row(
            f"lateness of a run; a request every {gap:.0f} ms",
            visitors,
            gap + BEHIND_REQUESTS,
            f"under the gap + {BEHIND_REQUESTS:.0f} ms",
        ),
        _row("lateness of a run; ticker, idle machine", ticking, TICKING, f"under {TICKING:.0f} ms"),
    ]


if __name__ == "__main__":
    show(measure())
