"""A host whose clock is off goes by the clock of the store."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from pseudocron.backends.records import Reason
from pseudocron.runner import Runner
from pseudocron.scheduler import Scheduler
from redis_server import shared

from pseudocron import polling
from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.host import Host, utcnow

if TYPE_CHECKING:
    from pseudocron.backends.contract import Backend

OFF = [timedelta(seconds=-5), timedelta(seconds=5), timedelta(hours=-1), timedelta(days=1)]
CLOSE = timedelta(seconds=1)


def by(off: timedelta) -> Host:
    return Host(now=lambda: utcnow() + off)


def some_crons() -> Crons:
    return Crons(backend=shared().url, app=uuid4().hex, history=1000)


async def look(crons: Crons, backend: Backend, off: timedelta) -> None:
    """What is behind one request."""
    source, host = open_source(crons), by(off).by(lambda: backend.ahead)
    runner = Runner(backend, host=host, worker="me", concurrency=10, lease=30)
    await Scheduler(source, backend, runner, host=host).poll({polling.PollReason.REQUEST})
    while runner.runs:
        await asyncio.wait(runner.runs)


@pytest.mark.parametrize("off", OFF)
def test_from_its_opening_on_a_store_knows_how_far_its_clock_is_ahead(off: timedelta) -> None:
    backend = some_crons()._connect(by(off))

    async def main() -> None:
        await backend.open()
        assert abs(backend.ahead + off) < CLOSE
        await backend.close()

    asyncio.run(main())


@pytest.mark.parametrize("off", OFF)
def test_it_runs_what_is_due_by_the_store_and_skips_no_slot_that_has_not_come(off: timedelta) -> None:
    crons = some_crons()
    crons.add("mail", int, 1, last_run=utcnow() - timedelta(seconds=10))
    assert list(crons)
    backend = crons._connect(by(off))

    async def main() -> None:
        await backend.open()
        await look(crons, backend, off)
        (ran,) = [run for run in await backend.history("mail") if run.reason is None]
        assert ran.outcome is State.SUCCEEDED
        assert abs(utcnow() - ran.slot) < 2 * CLOSE
        assert {run.reason for run in await backend.history("mail")} <= {None, Reason.NO_TRAFFIC}
        assert (await backend.states({"mail": utcnow()}))["mail"].mark <= utcnow()
        await backend.close()

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no clock that goes on while they are suspended")
@pytest.mark.parametrize("step", OFF)
def test_a_step_of_its_clock_since_it_last_heard_of_the_stores_changes_nothing(step: timedelta) -> None:
    crons, steps = some_crons(), [timedelta()]

    @crons.task
    def work() -> None: ...

    backend = crons._connect(Host(now=lambda: utcnow() + steps[-1]))

    async def main() -> None:
        await backend.open()
        steps.append(step)
        handle = await work.options(delay=30).defer()
        job = await backend.job(handle.id)
        assert job
        assert abs(job.due - timedelta(seconds=30) - utcnow()) < CLOSE
        assert abs(backend.ahead + step) < CLOSE
        await backend.close()

    asyncio.run(main())


@pytest.mark.parametrize("off", OFF)
def test_who_defers_while_the_store_is_being_opened_waits_until_its_clock_is_known(off: timedelta) -> None:
    crons = some_crons()

    @crons.task
    def work() -> None: ...

    backend = crons._connect(by(off))

    async def main() -> None:
        _, handle = await asyncio.gather(backend.open(), work.options(delay=30).defer())
        job = await backend.job(handle.id)
        assert job
        assert abs(job.due - timedelta(seconds=30) - utcnow()) < CLOSE
        await backend.close()

    asyncio.run(main())


@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize("delay", [0, 30])
def test_the_first_job_that_a_process_defers_is_due_by_the_store(off: timedelta, delay: float) -> None:
    crons = some_crons()

    @crons.task
    def work() -> None: ...

    backend = crons._connect(by(off))
    crons._manager.settled = False  # as in a process that serves nothing

    async def main() -> None:
        handle = await work.options(delay=delay).defer()
        job = await backend.job(handle.id)
        assert job
        assert abs(job.due - timedelta(seconds=delay) - utcnow()) < CLOSE
        await backend.close()

    asyncio.run(main())
