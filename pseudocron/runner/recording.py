"""How results get into the store: again and again while it is away, those of jobs as many at once as have gathered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pseudocron.errors import PseudoCronError
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pseudocron.backends.base import Backend
    from pseudocron.backends.jobs import JobClaim, JobEnd, JobState
    from pseudocron.host import Host
    from pseudocron.runner.pool import Pool

T = TypeVar("T")

RECORD_AGAIN = 1.0
"""Seconds between attempts to record a result while the store is away."""


async def at_last(record: Callable[[], Awaitable[T]], host: Host, *, whose: str) -> T:
    """Record a result, again and again while the store is away; what outlasts its lease is refused there.

    Args:
        record: Makes one attempt.
        host: Where sleep comes from.
        whose: What it is the result of, for people to read.
    """
    told = False
    while True:
        try:
            return await record()
        except PseudoCronError as error:
            if not told:
                logger.warning("%s: the result could not be recorded yet: %s", whose, error)
            told = True
        await host.sleep(RECORD_AGAIN)


class _Ended(NamedTuple):
    """An attempt whose run waits until its end is recorded."""

    claim: JobClaim
    end: JobEnd
    run: asyncio.Task[Any]
    state: asyncio.Future[JobState | None]


class Clerk:
    """Records how the attempts of jobs ended: all that have gathered by one transaction, the next gather meanwhile.

    Args:
        backend: Where that is recorded.
        host: Where sleep comes from.
        pool: Where each run has its place until then.
        refill: Called each time when places have become free.
    """

    def __init__(self, backend: Backend, *, host: Host, pool: Pool, refill: Callable[[], Awaitable[None]]) -> None:
        self._backend = backend
        self._host = host
        self._pool = pool
        self._refill = refill
        self._gathered: list[_Ended] = []
        self._writing = False

    async def record(self, run: asyncio.Task[Any], claim: JobClaim, end: JobEnd) -> JobState | None:
        """The state that the job of a run is in when its end is recorded; None if it was no longer the claim's own."""
        state: asyncio.Future[JobState | None] = asyncio.get_running_loop().create_future()
        self._gathered.append(_Ended(claim, end, run, state))
        if not self._writing:
            self._writing = True
            self._pool.attend(self._write())
        return await state

    async def _write(self) -> None:
        try:
            while self._gathered:
                ended, self._gathered = self._gathered, []
                await self._write_down(ended)
                await self._refill()
        finally:
            self._writing = False

    async def _write_down(self, ended: Sequence[_Ended]) -> None:
        ends = [(one.claim, one.end) for one in ended]
        whose = ", ".join(sorted({claim.task for claim, _ in ends}))
        try:
            states = await at_last(lambda: self._backend.finish_jobs(ends), self._host, whose=whose)
        except Exception:
            logger.exception("%s: the result could not be recorded", whose)
            states = [None] * len(ended)
        for one, state in zip(ended, states, strict=True):
            self._pool.leave(one.run)  # now, and not when it has ended: the next takes its place
            if not one.state.done():  # a shutdown waits for a record only so long
                one.state.set_result(state)
