"""A store is open while anybody uses it, and who gives up before it is open is no user."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pseudocron.backends.file.backend import Memory
from pseudocron.backends.usage import usage
from pseudocron.errors import BackendError


class Slow(Memory):
    """Opens when it may, or not at all, and counts how often it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.may_open = asyncio.Event()
        self.closed = 0
        self.error: Exception | None = None

    async def open(self) -> None:
        await self.may_open.wait()
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        self.closed += 1


async def cancelled(task: asyncio.Task[Any]) -> None:
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_last_user_closes_it() -> None:
    async def main() -> None:
        store = Slow()
        store.may_open.set()
        for user in "ab":
            await usage(store).begin(user)
        await usage(store).end("a")
        assert store.closed == 0
        await usage(store).end("b")
        assert store.closed == 1

    asyncio.run(main())


@pytest.mark.parametrize("opening", [0, 1], ids=["opening", "waiting for who opens"])
def test_a_user_that_is_cancelled_before_it_is_open_keeps_it_open_for_nobody(opening: int) -> None:
    async def main() -> None:
        store = Slow()
        begun = [asyncio.create_task(usage(store).begin(number)) for number in range(opening)]
        await asyncio.sleep(0)
        await cancelled(asyncio.create_task(usage(store).begin("impatient")))
        store.may_open.set()
        await asyncio.gather(*begun)
        await usage(store).begin("last")
        for user in [*range(opening), "last"]:
            assert store.closed == 0
            await usage(store).end(user)
        assert store.closed == 1

    asyncio.run(main())


def test_a_user_that_finds_an_open_store_gone_is_none() -> None:
    async def main() -> None:
        store = Slow()
        store.may_open.set()
        await usage(store).begin("first")
        store.error = BackendError("gone")
        with pytest.raises(BackendError):
            await usage(store).begin("second")
        await usage(store).end("first")
        assert store.closed == 1

    asyncio.run(main())
