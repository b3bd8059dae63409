"""What is gone or harmed in a file stops nothing else: it is dropped or set aside, and told."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backends.using import claim, claim_jobs, defer, finish, job, now, opened, poll
from pseudocron.backends.model import Run, State

if TYPE_CHECKING:
    from pathlib import Path

GONE, ODD = "is no longer in it: dropped", "can't be read: set aside as failed"
COLUMNS = ("due", "created", "expires", "attempts", "fence", "kind", "state", "arguments", "earlier", "unfit_since")
VALUES = ("soon", b"\0\xff", 2**62, 1.5)


def harm(folder: Path, statement: str, *values: object, column: str = "") -> None:
    """Change what is stored, as no process of ours does."""
    statement = statement.replace("COLUMN", column)
    with sqlite3.connect(folder / "store" / "crons.db") as db:
        assert db.execute(statement, values).rowcount > 0
    db.close()


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_pending_job_that_is_harmed_stops_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str, value: object
) -> None:
    async def main() -> None:
        async with opened(f"file:{tmp_path}/store") as backend:
            before, bad, after = await defer(backend, job(), job(), job())
            harm(tmp_path, "UPDATE runs SET COLUMN = ? WHERE run_id = ?", value, bad, column=column)
            claimed = {one.run_id for one in await claim_jobs(backend)}
            assert {before, after} <= claimed
            if bad in claimed:  # SQLite has taken it for what it is, or no claim needs it
                return
            run = await backend.run(bad)
            assert run is not None
            assert (run.state, run.name, run.reason) == (State.FAILED, "send", "its record could not be read")
            assert f"run {bad} of send {ODD}" in caplog.text
            caplog.clear()
            await poll(backend)
            assert not caplog.messages
            assert await backend.stale_in() > 0

    asyncio.run(main())


def test_a_job_that_is_gone_stops_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with opened(f"file:{tmp_path}/store") as backend:
            before, bad, after = await defer(backend, job(), job(), job())
            harm(tmp_path, "DELETE FROM runs WHERE run_id = ?", bad)
            assert [one.run_id for one in await claim_jobs(backend)] == [before, after]
            assert GONE in caplog.text
            assert await backend.stale_in() > 0

    asyncio.run(main())


@pytest.mark.parametrize("column", ["due", "created", None])
def test_a_living_run_that_is_harmed_is_no_longer_in_the_way(tmp_path: Path, column: str | None) -> None:
    async def main() -> None:
        async with opened(f"file:{tmp_path}/store") as backend:
            await defer(backend, job(key="k"))
            (bad,) = await claim_jobs(backend)
            harm(tmp_path, "UPDATE living SET lease = 1 WHERE run_id = ?", bad.run_id)
            if column is None:
                harm(tmp_path, "DELETE FROM runs WHERE run_id = ?", bad.run_id)
            else:
                harm(tmp_path, "UPDATE runs SET COLUMN = 'soon' WHERE run_id = ?", bad.run_id, column=column)
            await poll(backend)
            (next_one,) = await defer(backend, job(key="k"))
            assert [one.run_id for one in await claim_jobs(backend)] == [next_one]
            run = await backend.run(bad.run_id)
            assert run is None if column is None else run is not None and run.state is State.FAILED

    asyncio.run(main())


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("column", ["mark", "since", "back", "next", "claims", "failures", "missed", "replaced"])
def test_a_harmed_cron_goes_on(tmp_path: Path, column: str, value: object) -> None:
    async def main() -> None:
        async with opened(f"file:{tmp_path}/store") as backend:
            first = await claim(backend, now() - timedelta(minutes=1))
            await finish(backend, first)
            harm(tmp_path, "UPDATE crons SET COLUMN = ?", value, column=column)
            second = await claim(backend, now() - timedelta(seconds=1))
            assert await finish(backend, second) is State.SUCCEEDED
            lines = (await backend.timelines(["mail"]))["mail"]
            assert [line.state for line in lines if isinstance(line, Run)] == [State.SUCCEEDED] * 2

    asyncio.run(main())
