"""What one look costs over 1, 100 and 10,000 crons of which one is due."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from statistics import median
from time import process_time

from benchmarks.measuring import Row, show, spread
from pseudocron import Crons
from pseudocron.backends import connect
from pseudocron.host import Host
from pseudocron.runner import Runner

SIZES = (1, 100, 10_000)
LOOKS = 20
EVERY = 0.2
"""Seconds: the interval of the cron that is due."""
GOAL = 20.0
"""Milliseconds of CPU that a look over the most crons may take."""


async def _due() -> None:
    return


def _crons(number: int) -> Crons:
    crons = Crons()
    crons.add("due", _due, EVERY)
    for minute in range(number - 1):
        crons.add(f"cron {minute}", _due, f"{minute % 60} {minute // 60 % 24} {minute % 28 + 1} * *")
    assert len(list(crons)) == number  # parsed, as at start-up
    return crons


async def _looks(crons: Crons, folder: Path) -> tuple[float, list[float]]:
    """Milliseconds of CPU that the first look takes, which asks about all, and each of the others."""
    backend = connect("file:store", folder=folder)
    await backend.open()
    runner = Runner(backend, host=Host(), worker="bench", concurrency=10, lease=30.0)
    taken = []
    for _ in range(LOOKS + 1):
        began = process_time()
        looked = await runner.look(crons)
        taken.append((process_time() - began) * 1e3)
        assert len(looked.started) == 1
        await asyncio.wait([started.task for started in looked.started])
        await asyncio.sleep(EVERY * 1.1)
    await backend.close()
    return taken[0], taken[1:]


def measure() -> list[Row]:
    """The rows of this benchmark."""
    rows = []
    for number in SIZES:
        crons = _crons(number)
        assert crons.settings.cron_max_time > LOOKS * EVERY * 1.1
        with tempfile.TemporaryDirectory() as folder:
            first, others = asyncio.run(_looks(crons, Path(folder)))
        rows.append(
            Row(
                what=f"a look over {number:,} crons of which one is due",
                goal=f"{GOAL:.0f} ms of CPU",
                measured=f"{spread(others, ' ms', 1)}; the first one, which asks about all, {first:.0f} ms",
                met=median(others) <= GOAL,
            )
        )
    return rows


if __name__ == "__main__":
    show(measure())
