"""What one poll costs over 1, 100 and 10,000 crons of which one is due."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from statistics import median
from time import process_time

from benchmarks.measuring import Row, show, spread
from pseudocron import Crons
from pseudocron.backends import connect
from pseudocron.config.source import Source
from pseudocron.host import Host
from pseudocron.worker.poll import Poller
from pseudocron.worker.runs import Runs

SIZES = (1, 100, 10_000)
POLLS = 20
EVERY = 0.2
"""Seconds: the interval of the cron that is due."""
GOAL = 20.0
"""Milliseconds of CPU that a poll over the most crons may take."""


async def _due() -> None:
    return


def _crons(number: int) -> Crons:
    crons = Crons()
    crons.add("due", _due, EVERY)
    for minute in range(number - 1):
        crons.add(f"cron {minute}", _due, f"{minute % 60} {minute // 60 % 24} {minute % 28 + 1} * *")
    assert len(list(crons)) == number  # parsed, as at start-up
    return crons


async def _polls(crons: Crons, folder: Path) -> tuple[float, list[float]]:
    """Milliseconds of CPU that the first poll takes, which asks about all, and each of the others."""
    backend = connect("file:store", folder=folder)
    await backend.open()
    host = Host()
    runs = Runs(backend, host=host, worker="bench", concurrency=10, lease=30.0)
    poller = Poller(Source("crons", lambda: crons), backend, host, runs)
    taken = []
    for _ in range(POLLS + 1):
        began = process_time()
        report = await poller.poll_now(crons, force=True)
        taken.append((process_time() - began) * 1e3)
        assert report is not None
        assert len(report.started) == 1
        await runs.idle()
        await asyncio.sleep(EVERY * 1.1)
    await runs.drain(1)
    await backend.close()
    return taken[0], taken[1:]


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    rows = []
    for number in SIZES:
        crons = _crons(number)
        assert crons.settings.cron_max_time > POLLS * EVERY * 1.1
        with tempfile.TemporaryDirectory() as folder:
            first, others = asyncio.run(_polls(crons, Path(folder)))
        rows.append(
            Row(
                what=f"a poll over {number:,} crons of which one is due",
                goal=f"{GOAL:.0f} ms of CPU",
                measured=f"{spread(others, ' ms', 1)}; the first one, which asks about all, {first:.0f} ms",
                met=median(others) <= GOAL,
            )
        )
    return rows


if __name__ == "__main__":
    show(measure())
