"""A process that always comes second polls all the same, before what it alone has is in use no longer."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from support import START, Clock

from clocks.test_steps import Process
from pseudocron.backends.file.backend import Memory
from pseudocron.crons import Crons


def test_a_cron_that_only_the_second_process_has_runs_in_each_hour() -> None:
    clock, first, second = Clock(), Crons(), Crons()
    first.add("mail", int, 60)
    second.add("report", int, "30 * * * *")

    async def main() -> None:
        backend = Memory(keep=1000, host=clock.host)
        await backend.open()
        others, own = Process(first, clock, backend), Process(second, clock, backend)
        while clock.now < START + timedelta(hours=3):
            await others.visit()
            await own.visit()
            clock.forward(20)
        runs = await own.slots("report")
        assert runs == [START + timedelta(minutes=minutes) for minutes in (30, 90, 150)]
        await backend.close()

    asyncio.run(main())
