"""How results get into the store: again and again while it is away, those of jobs as many at once as have gathered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pseudocron.errors import PseudoCronError
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pseudocron.backends.jobs import JobClaim, JobEnd, JobState
    from pseudocron.host import Host
    from pseudocron.runner.worker import Worker

T = TypeVar("T")

RECORD_AGAIN = 1.0
"""Seconds between two attempts to record a result while the store is away, or refuses it."""

AWAY = 2
"""After how many failures one by one the store counts as away, so that the others need not be tried."""


async def at_last(
    record: Callable[[], Awaitable[T]], host: Host, *, whose: str, failed: Callable[[], None] = lambda: None
) -> T:
    """Record a result, again and again while the store is away; what outlasts its lease is refused there.

    Args:
        record: Makes one attempt.
        host: Where sleep comes from.
        whose: What it is the result of, for people to read.
        failed: Called after each attempt that has failed.
    """
    told = False
    while True:
        try:
            return await record()
        except Exception as error:  # noqa: BLE001 - logged, a bug with its traceback
            if not told:
                _warn(whose, error)
            told = True
            failed()
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
        worker: The process, whose runs keep their places until then.
        trusts: Whether the lease of a claim is still trusted.
        refill: Called each time when places have become free.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        trusts: Callable[[JobClaim], bool],
        refill: Callable[[], Awaitable[None]],
    ) -> None:
        self._worker = worker
        self._trusts = trusts
        self._refill = refill
        self._gathered: list[_Ended] = []
        self._refused: list[_Ended] = []
        self._writing = self._insisting = False

    @property
    def writes(self) -> bool:
        """Whether it is recording, and has free places refilled afterwards."""
        return self._writing or self._insisting

    async def record(self, run: asyncio.Task[Any], claim: JobClaim, end: JobEnd) -> JobState | None:
        """The state that the job of a run is in when its end is recorded; None if it was no longer the claim's own."""
        state: asyncio.Future[JobState | None] = asyncio.get_running_loop().create_future()
        self._gathered.append(_Ended(claim, end, run, state))
        if not self._writing:
            self._writing = True
            self._worker.pool.attend(self._write())
        return await state

    async def _write(self) -> None:
        try:
            while self._gathered:
                ended, self._gathered = self._gathered, []
                self._refused += await self._write_down(ended)
                if self._refused and not self._insisting:
                    self._insisting = True
                    self._worker.pool.attend(self._insist())
                await self._refill()
        finally:
            self._writing = False

    async def _insist(self) -> None:
        """Try again what the store has refused, or could not take; a place is held for it as long as its lease is."""
        try:
            while self._refused:
                for one in self._refused:
                    if not self._trusts(one.claim):
                        self._worker.pool.leave(one.run)
                await self._worker.host.sleep(RECORD_AGAIN)
                ended, self._refused = self._refused, []
                self._refused += await self._write_down(ended)
                await self._refill()
        finally:
            self._insisting = False

    async def _write_down(self, ended: Sequence[_Ended]) -> list[_Ended]:
        """Record all together, or else one by one; which could not be, those that were not tried first."""
        try:
            await self._finish(ended)
        except Exception as error:  # noqa: BLE001 - as above
            if not self._insisting:
                whose = ", ".join(sorted({one.claim.task for one in ended}))
                _warn(whose, error)
            return await self._write_singly(ended) if len(ended) > 1 else list(ended)
        return []

    async def _write_singly(self, ended: Sequence[_Ended]) -> list[_Ended]:
        refused: list[_Ended] = []
        for number, one in enumerate(ended):
            try:
                await self._finish([one])
            except Exception:  # noqa: BLE001 - as above
                refused.append(one)
            if len(refused) == AWAY == number + 1:
                return [*ended[AWAY:], *refused]
        return refused

    async def _finish(self, ended: Sequence[_Ended]) -> None:
        states = await self._worker.backend.finish_jobs([(one.claim, one.end) for one in ended])
        for one, state in zip(ended, states, strict=True):
            self._worker.pool.leave(one.run)  # now, and not when it has ended: the next takes its place
            if not one.state.done():  # a shutdown waits for a record only so long
                one.state.set_result(state)


def _warn(whose: str, error: Exception) -> None:
    is_a_bug = not isinstance(error, PseudoCronError)
    logger.warning("%s: the result could not be recorded yet: %s", whose, error, exc_info=is_a_bug)
