"""A host whose clock is off goes by the clock of the store."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from backends import using
from redis_server import shared

from pseudocron import polling
from pseudocron.backends.model import Reason, State
from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.host import Host, utcnow
from pseudocron.worker.poll import Poller
from pseudocron.worker.runs import Runs

if TYPE_CHECKING:
    from pseudocron.backends.contract import Backend

OFF = [timedelta(seconds=-5), timedelta(seconds=5), timedelta(hours=-1), timedelta(days=1)]
CLOSE = timedelta(seconds=1)


def by(off: timedelta) -> Host:
    return Host(now=lambda: utcnow() + off)


def some_crons() -> Crons:
    return Crons(backend=shared().url, app=uuid4().hex, history=1000)


async def poll(crons: Crons, backend: Backend, off: timedelta) -> None:
    """What is behind one request."""
    host = by(off).by(lambda: backend.ahead)
    runs = Runs(backend, host=host, worker="me", concurrency=10, lease=30)
    await Poller(open_source(crons), backend, host, runs).poll({polling.PollReason.REQUEST})
    await runs.idle()


@pytest.mark.parametrize("off", OFF)
def test_from_its_opening_on_a_store_knows_how_far_its_clock_is_ahead(off: timedelta) -> None:
    backend = some_crons()._connect(by(off))

    async def main() -> None:
        await backend.open()
        assert abs(backend.ahead + off) < CLOSE
        await backend.close()

    asyncio.run(main())


@pytest.mark.parametrize("off", OFF)
def test_what_is_due_by_the_clock_of_the_store_runs_and_no_more(off: timedelta) -> None:
    crons = some_crons()
    crons.add("mail", int, 1, last_run=utcnow() - timedelta(seconds=10))
    assert list(crons)
    backend = crons._connect(by(off))

    async def main() -> None:
        await backend.open()
        await poll(crons, backend, off)
        (ran,) = await using.runs_of(backend)
        assert ran.state is State.SUCCEEDED
        assert ran.slot
        assert abs(utcnow() - ran.slot) < 2 * CLOSE
        assert {skip.reason for skip in await using.skips_of(backend)} <= {Reason.NO_TRAFFIC}
        mark = (await backend.states(["mail"])).crons["mail"].mark
        assert mark
        assert mark <= utcnow()
        await backend.close()

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no clock that goes on while they are suspended")
@pytest.mark.parametrize("step", OFF)
def test_a_step_of_the_clock_between_two_answers_changes_nothing(step: timedelta) -> None:
    crons, steps = some_crons(), [timedelta()]

    @crons.task
    def work() -> None: ...

    backend = crons._connect(Host(now=lambda: utcnow() + steps[-1]))

    async def main() -> None:
        await backend.open()
        steps.append(step)
        handle = await work.options(delay=30).defer()
        job = await backend.run(handle.id)
        assert job
        assert abs(job.due - timedelta(seconds=30) - utcnow()) < CLOSE
        assert abs(backend.ahead + step) < CLOSE
        await backend.close()

    asyncio.run(main())


@pytest.mark.parametrize("off", OFF)
def test_defer_waits_until_the_clock_of_the_store_is_known(off: timedelta) -> None:
    crons = some_crons()

    @crons.task
    def work() -> None: ...

    backend = crons._connect(by(off))

    async def main() -> None:
        _, handle = await asyncio.gather(backend.open(), work.options(delay=30).defer())
        job = await backend.run(handle.id)
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
        job = await backend.run(handle.id)
        assert job
        assert abs(job.due - timedelta(seconds=delay) - utcnow()) < CLOSE
        await backend.close()

    asyncio.run(main())
