"""The queue in a folder between processes: what was deferred is there, and what is there runs once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends.worlds import NOON
from pseudocron.backends.file import File
from pseudocron.backends.jobs import JobState, NewJob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pseudocron.backends.jobs import Job

DESK = Path(__file__).parent / "desk.py"


def desk(*args: object) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(DESK.parent.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "error", str(DESK), *map(str, args)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)


async def stored(folder: Path, states: Sequence[JobState]) -> Sequence[Job]:
    backend = File(folder)
    await backend.open()
    try:
        return await backend.jobs(states=states, limit=1_000_000)
    finally:
        await backend.close()


async def fill(folder: Path, jobs: int) -> None:
    backend = File(folder)
    await backend.open()
    many = [NewJob(job_id=f"job-{n}", task="mail", arguments="[]", due=NOON) for n in range(jobs)]
    await backend.defer(many, max_age=60)
    await backend.close()


def test_a_process_killed_amid_its_deferring_loses_none_that_it_was_told_of(tmp_path: Path) -> None:
    with desk("defer", tmp_path / "store") as deferring:
        assert deferring.stdout
        told = [deferring.stdout.readline() for _ in range(200)]
        deferring.kill()
        told += deferring.stdout.readlines()
    printed = {line.strip() for line in told if line.endswith("\n")}
    kept = {job.job_id for job in asyncio.run(stored(tmp_path / "store", [JobState.PENDING]))}
    assert len(printed) >= 200
    assert printed <= kept
    assert len(kept) <= len(printed) + 1


@pytest.mark.alone
def test_a_crowd_of_processes_drains_a_queue_and_each_job_succeeds_once(tmp_path: Path) -> None:
    jobs = 10_000
    asyncio.run(fill(tmp_path / "store", jobs))
    crowd = [desk("drain", tmp_path / "store", 10) for _ in range(8)]
    ended = [drainer.communicate(timeout=100)[0].split() for drainer in crowd]
    assert not any(drainer.returncode for drainer in crowd)
    succeeded = [job_id for by_one in ended for job_id in by_one]
    assert len(succeeded) == len(set(succeeded)) == jobs
    assert all(job.attempts == 1 for job in asyncio.run(stored(tmp_path / "store", [JobState.SUCCEEDED])))
    assert sum(1 for by_one in ended if by_one) > 1
