"""Processes that die or fork with an open store: what they were told is stored, once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from support import LONG, environ_with

from backends import using
from backends.file.programs import TESTS, program
from pseudocron.backends.model import State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pseudocron.backends.model import Run


async def stored(folder: Path, *, jobs: bool = True) -> Sequence[Run]:
    async with using.opened(f"file:{folder}") as backend:
        return await (using.jobs(backend) if jobs else using.runs_of(backend))


def test_a_forked_child_loses_nothing_when_its_parent_closes_the_store(folder: Path) -> None:
    with program("fork", folder) as parent:
        told, _ = parent.communicate(timeout=60)
    assert parent.returncode == 0
    assert told.splitlines() == ["before", "while both have it open", "after the parent has closed it"]
    assert [job.run_id for job in reversed(asyncio.run(stored(folder)))] == told.splitlines()


@pytest.mark.parametrize(("what", "jobs"), [("claim", False), ("defer", True)])
def test_a_process_killed_amid_its_verbs_loses_nothing_that_it_was_told(folder: Path, what: str, jobs: Any) -> None:
    with program(what, folder) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(200)]
        process.kill()
        lines += process.stdout.readlines()
    told = {line.strip() for line in lines if line.endswith("\n")}
    kept = {run.run_id for run in asyncio.run(stored(folder, jobs=jobs))}
    assert len(told) >= 200
    assert told <= kept
    assert len(kept) <= len(told) + 1


@pytest.mark.alone
def test_a_crowd_of_processes_drains_a_queue_and_each_job_succeeds_once(folder: Path) -> None:
    size = 10_000

    async def fill() -> None:
        async with using.opened(f"file:{folder}") as backend:
            await using.defer(backend, *(using.job(run_id=f"job-{n}") for n in range(size)))

    asyncio.run(fill())
    with ExitStack() as crowd:
        drainers = [crowd.enter_context(program("drain", folder, 10)) for _ in range(8)]
        ended = [drainer.communicate(timeout=100)[0].split() for drainer in drainers]
    assert not any(drainer.returncode for drainer in drainers)
    succeeded = [job_id for by_one in ended for job_id in by_one]
    assert len(succeeded) == len(set(succeeded)) == size
    jobs = asyncio.run(stored(folder))
    assert {(job.state, job.attempts, job.fence) for job in jobs} == {(State.SUCCEEDED, 1, 1)}
    assert sum(1 for by_one in ended if by_one) > 1


@pytest.mark.alone
def test_a_crowd_on_busy_cores_polls_one_at_a_time_and_claims_each_slot_once(tmp_path: Path) -> None:
    slots = 300 if LONG else 100
    rush = [
        sys.executable,
        "-W",
        "error",
        str(TESTS / "backends" / "file" / "rush.py"),
        str(tmp_path),
        "16",
        str(slots),
    ]
    subprocess.run(rush, env=environ_with(TESTS), check=True, timeout=100)
    lines = [line.split() for line in (tmp_path / "history").read_text().splitlines()]
    claims = sorted((int(line[1]), int(line[2])) for line in lines if line[0] == "slot")
    polls = [line[0] for line in lines if line[0] != "slot"]
    assert len({slot for slot, _ in claims}) == len(claims) >= slots
    assert [fence for _, fence in claims] == list(range(1, len(claims) + 1))
    assert polls == ["enter", "leave"] * (len(polls) // 2)
