"""A process that takes up one job, says so, and never ends: `python killed.py BACKEND APP LEASE NOTES`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from on_time.moments import serving
from pseudocron import Crons


async def main(backend: str, app: str, lease: str, notes: str) -> None:
    crons = Crons(backend=backend, app=app, lease=float(lease))

    @crons.task
    async def job() -> None:
        await asyncio.to_thread(Path(notes).write_text, "started")
        await asyncio.sleep(3600)

    async with serving(crons):
        await job.defer()
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
