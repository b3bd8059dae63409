"""Results are recorded once the store takes them, whatever it refuses in between."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from support import until

from pseudocron.backends.file.backend import Memory
from pseudocron.backends.model import State
from pseudocron.crons import Crons
from pseudocron.errors import BackendError
from worker.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pseudocron.backends.questions import End, Finished, Take


class Stepped(Memory):
    """Answers each `finish` when the test lets it, and as the test says."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.answers: dict[str, list[asyncio.Event | None]] = defaultdict(list)
        """For each task when its next results are refused; None refuses them at once."""

    async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
        (name,) = {end.claim.name for end in ends}
        self.asked.append(name)
        answers = self.answers[name]
        if answers:
            event = answers.pop(0)
            if event is not None:
                await event.wait()
            self.answered.append(name)
            raise BackendError("away")
        return await super().finish(ends, take)


def test_a_result_that_is_refused_while_others_are_retried_is_retried_too() -> None:
    crons, end = Crons(), asyncio.Event()

    @crons.task
    async def first() -> None: ...

    @crons.task
    async def second() -> None:
        await end.wait()

    async def main() -> None:
        world = World(crons, store=Stepped)
        store, writer = world.backend, world.runs._writer
        assert isinstance(store, Stepped)
        retry, second_is_refused, first_is_refused = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def sleep(_: float) -> None:
            await retry.wait()
            await asyncio.sleep(0.001)

        writer._host = replace(world.clock.host, sleep=sleep)
        store.answers.update(first=[None, first_is_refused], second=[second_is_refused])
        await world.defer("first")
        await world.defer("second")
        await world.poll()
        await until(lambda: store.asked == ["first"])
        end.set()
        await until(lambda: store.asked == ["first", "second"])
        retry.set()
        await until(lambda: store.asked == ["first", "second", "first"])
        second_is_refused.set()
        await until(lambda: store.answered == ["first", "second"])
        first_is_refused.set()
        await asyncio.wait_for(world.runs.idle(), 5)
        assert (await world.states())[State.SUCCEEDED] == 2

    asyncio.run(main())
