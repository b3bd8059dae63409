"""What a process logs at its start, and what it says of crons that depend on requests."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from support import START, Clock, Lifespan, hello

from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends.file.backend import Memory
from pseudocron.backends.questions import Capacity, Poll, Take
from pseudocron.worker.announcement import announce
from worker.world import read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

INFO, WARNING = logging.INFO, logging.WARNING
POLL = Poll(Take({}, {}, Capacity(1, 1, 1), worker="other:1", lease=30), force=True)
DEPENDS = (
    "crons.py: no poll within the last 120 s: these crons run only when requests come: {}; "
    "to run them on time set ticker=True, or let 'pseudocron work' or 'pseudocron tick' of a crontab poll"
)


def logged(
    caplog: pytest.LogCaptureFixture, crons: Crons, *, ticker: bool = False, polled: float | None = None
) -> Sequence[tuple[int, str]]:
    """What is logged at a start, with its levels; another process has polled so many seconds before."""
    caplog.set_level(INFO, logger="pseudocron")
    clock = Clock()
    read(crons)

    async def main() -> None:
        backend = Memory(host=clock.host)
        await backend.open()
        await backend.pause("paused", paused=True)
        if polled is not None:
            clock.forward(-polled)
            await backend.poll(POLL)
            clock.forward(polled)
        await announce("crons.py", crons, backend, clock.host, ticker=ticker)

    asyncio.run(main())
    return [(record.levelno, record.getMessage()) for record in caplog.records]


def school() -> Crons:
    crons = Crons(backend="memory:")
    crons.add("weekly", int, "0 0 * * sun")
    crons.add("nightly", int, "@daily")
    crons.add("paused", int, 60, next_run=START + timedelta(seconds=5))
    crons.add("off", int, 60, enabled=False)
    crons.task("restore")(int)
    return crons


def test_one_line_tells_the_store_what_there_is_and_what_is_due_next(caplog: pytest.LogCaptureFixture) -> None:
    line = "crons.py: store memory:, crons: 4, tasks: 1, next due: nightly at 2024-05-02T00:00:00+00:00"
    assert logged(caplog, school(), ticker=True) == [(INFO, line)]


@pytest.mark.parametrize(("name", "schedule", "following"), [("often", 60, "often now"), ("off", "@yearly", "nothing")])
def test_what_is_due_now_or_never_is_told(
    caplog: pytest.LogCaptureFixture, name: str, schedule: object, following: str
) -> None:
    crons = Crons(backend="memory:")
    crons.add(name, int, schedule, enabled=name != "off")
    ((_, line), *_) = logged(caplog, crons)
    assert line.endswith(f"crons: 1, tasks: 0, next due: {following}")


@pytest.mark.parametrize("polled", [None, 121])
def test_crons_that_depend_on_requests_are_named(caplog: pytest.LogCaptureFixture, polled: float | None) -> None:
    crons = school()
    assert logged(caplog, crons, polled=polled)[1:] == [(WARNING, DEPENDS.format("weekly, nightly, paused"))]


def test_of_many_crons_the_first_are_named(caplog: pytest.LogCaptureFixture) -> None:
    crons = Crons(backend="memory:")
    for number in range(7):
        crons.add(f"cron {number}", int, 60)
    names = ", ".join(f"cron {number}" for number in range(5))
    assert logged(caplog, crons)[1][1] == DEPENDS.format(f"{names} and 2 more")


@pytest.mark.parametrize(("ticker", "polled"), [(True, None), (False, 119)])
def test_where_a_process_polls_no_cron_depends_on_requests(
    caplog: pytest.LogCaptureFixture, *, ticker: bool, polled: float | None
) -> None:
    assert len(logged(caplog, school(), ticker=ticker, polled=polled)) == 1


def test_without_crons_nothing_depends_on_requests(caplog: pytest.LogCaptureFixture) -> None:
    crons = Crons(backend="memory:")
    crons.task("restore")(int)
    assert [level for level, _ in logged(caplog, crons)] == [INFO]


def test_a_lifespan_begins_with_it_and_names_a_folder_by_its_path(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(INFO, logger="pseudocron")
    monkeypatch.chdir(tmp_path)
    crons = Crons(backend=f"file:{tmp_path / 'store'}")
    crons.add("nightly", int, "@daily")

    async def main() -> None:
        for _ in range(2):
            async with Lifespan(PseudoCronMiddleware(hello, crons=crons)):
                pass

    asyncio.run(main())
    lines = [record.getMessage() for record in caplog.records if record.levelno == INFO]
    assert len(lines) == 2
    assert lines[0].startswith(f"crons: store file:{tmp_path / 'store'}, crons: 1, tasks: 0, next due: nightly at 2")
