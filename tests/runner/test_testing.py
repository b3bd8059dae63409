"""The help for the tests of applications does what it says."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from pseudocron import Crons
from pseudocron.testing import START, Ran, World


def test_what_falls_due_is_run_in_order_each_at_its_time() -> None:
    crons, seen = Crons(backend="file:nowhere"), []

    @crons.cron("30 0 * * *")
    async def nightly() -> None:
        seen.append(("nightly", world.now))
        await remind.options(delay=600).defer("B-204")

    @crons.task
    def remind(classroom: str) -> None:
        seen.append((classroom, world.now))

    world = World(crons)

    async def main() -> None:
        assert await world.advance(minutes=29) == []
        half = START + timedelta(minutes=30)
        assert await world.advance(hours=1) == [
            Ran("nightly", half, "succeeded"),  # type: ignore[arg-type]
            Ran("remind", half + timedelta(minutes=10), "succeeded"),  # type: ignore[arg-type]
        ]
        assert seen == [("nightly", half), ("B-204", half + timedelta(minutes=10))]
        assert world.now == START + timedelta(minutes=89)

    asyncio.run(main())


def test_a_job_that_fails_is_seen_to_be_tried_again() -> None:
    crons = Crons()

    @crons.task(retries=1)
    async def broken() -> None:
        raise ValueError

    world = World(crons)

    async def main() -> list[object]:
        await broken.options().defer()
        return [ran.outcome for ran in await world.advance(minutes=1)]

    assert asyncio.run(main()) == ["pending", "failed"]
