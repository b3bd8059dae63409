"""A worker that is killed in a job: another takes over as soon as its death can be seen, or at the end of its lease."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from support import environ_with, until, wait_until

from on_time import killed
from on_time.moments import Moments, Where, serving
from pseudocron import Crons

SECOND_START = {"file": (30.0, 2.0), "redis": (3.0, 3.0)}
"""By store: the lease, and after how many seconds a job starts again: the file store sees that its worker is gone."""


def test_a_job_whose_worker_is_killed_starts_again_in_time(shared_by_many: Where, tmp_path: Path) -> None:
    lease, promised = SECOND_START[shared_by_many.kind]
    crons, starts, notes = shared_by_many.crons(lease=lease), Moments(), tmp_path / "notes"
    crons.task(name="job")(starts.note)
    worker = a_worker(crons, lease, notes)

    async def main() -> None:
        async with serving(crons, every=0.5):
            await asyncio.sleep(1.2)  # by now it has polled, and the gate is fresh
            assert not starts.at
            os.kill(worker.pid, 9)
            worker.wait()
            starts.began = time.monotonic()
            await until(lambda: starts.at, 8)

    try:
        wait_until(notes.exists, 10)
        asyncio.run(main())
    finally:
        worker.kill()
        worker.wait()
    assert starts.at[0] < promised + 0.5 + 0.6, "the gap between requests, and the polls"


def a_worker(crons: Crons, lease: float, notes: Path) -> subprocess.Popen[bytes]:
    settings, tests = crons.settings, Path(killed.__file__).parents[1]
    command = [sys.executable, killed.__file__, str(settings.backend), settings.app, str(lease), str(notes)]
    return subprocess.Popen(command, env=environ_with(tests))
