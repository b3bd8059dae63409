"""A worker that is killed in a job: where its death can be seen, another takes over within two seconds."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import environ_with, until, wait_until

from on_time import killed
from on_time.moments import Moments, serving
from pseudocron import Crons
from pseudocron.backends.file.holders import this_process


@pytest.mark.alone
@pytest.mark.skipif(this_process() is None, reason="the system does not tell processes apart")
def test_a_job_whose_worker_is_killed_starts_again_within_two_seconds(tmp_path: Path) -> None:
    store, notes = tmp_path / "store", tmp_path / "notes"
    tests = Path(killed.__file__).parents[1]
    worker = subprocess.Popen([sys.executable, killed.__file__, store, notes], env=environ_with(tests))
    try:
        wait_until(notes.exists, 10)
        crons, starts = Crons(backend=f"file:{store}"), Moments()

        @crons.task
        async def job() -> None:
            starts.note()

        async def main() -> None:
            async with serving(crons, every=0.5):
                await asyncio.sleep(1.2)  # by now it has polled, and the gate is fresh
                assert not starts.at
                os.kill(worker.pid, 9)
                worker.wait()
                starts.began = time.monotonic()
                await until(lambda: starts.at, 6)

        asyncio.run(main())
    finally:
        worker.kill()
        worker.wait()
    assert starts.at[0] < 2 + 0.5 + 0.5, "a second for the children, the gaps between requests, and the polls"
