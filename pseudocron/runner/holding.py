"""Holds a claim from the start of its run until the result is recorded and the code has ended, whatever happens."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pseudocron.backends.records import Outcome, Result
from pseudocron.errors import PseudoCronError
from pseudocron.executors import CutOff, Ended
from pseudocron.log import logger
from pseudocron.runner.leases import Keeper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence

    from pseudocron.executors import Lingering
    from pseudocron.runner.worker import Worker

C = TypeVar("C")
T = TypeVar("T")


class Holding(Generic[C]):
    """The claims of one kind that a process holds.

    Args:
        worker: The process that holds them.
        renew: Renews leases, see `Keeper`; blocks.
        release: Ends a lease that has outlasted its run.
        identity: The field of a claim that identifies it.
        name: The field of a claim that names its cron or task.

    Attributes:
        keeper: Renews the leases.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        renew: Callable[[Sequence[C], float], Collection[str]],
        release: Callable[[C], Awaitable[None]],
        identity: str,
        name: str,
    ) -> None:
        self.keeper = Keeper(renew, worker.lease, attrgetter(identity), pulse=worker.host.pulse)
        self._name = attrgetter(name)
        self._pool = worker.pool
        self._release = release

    def hold(self, claim: C, asked: float) -> Exception | None:
        """Renew the lease of a claim from now on.

        Args:
            claim: The claim.
            asked: When it was asked for, by the keeper's clock.

        Returns:
            Why it can't be renewed, for `run`: such as no further thread to be had.
        """
        try:
            self.keeper.hold(claim, asked, is_gone=asyncio.get_running_loop().is_closed)
        except Exception as error:  # noqa: BLE001 - the failure of this run, and of no other one of its batch
            return error
        return None

    async def run(
        self,
        claim: C,
        not_held: Exception | None,
        execution: Coroutine[Any, Any, Ended],
        record: Callable[[Ended | CutOff], Awaitable[T]],
    ) -> T:
        """Run what was claimed, and record how it ended.

        Args:
            claim: The claim, whose lease is renewed meanwhile.
            not_held: What `hold` has returned.
            execution: The part that a drain may cut off. What it raises is the failure of this run.
            record: Records the end. The place is free behind it at the latest.
        """
        ended: Ended | CutOff
        if not_held is None:
            ended = await self._execute(execution)
        else:
            execution.close()
            ended = _failed(not_held)
        if ended.lingering is not None:
            self._outlast(claim, ended.lingering)
            return await record(ended)
        self.keeper.end(claim)
        try:
            return await record(ended)
        finally:
            self.keeper.drop(claim)

    async def _execute(self, execution: Coroutine[Any, Any, Ended]) -> Ended | CutOff:
        try:
            ended = await self._pool.execute(execution)
            return ended.ended or ended if isinstance(ended, CutOff) else ended
        except Exception as error:  # noqa: BLE001 - a bug of ours, or of what is told of the run
            return _failed(error)

    def _outlast(self, claim: C, lingering: Lingering) -> None:
        """Let others have the place of the current run, but not its lease before its code has ended."""
        run = asyncio.current_task()
        assert run is not None  # noqa: S101 - a coroutine of a pool's
        logger.warning("%s: still running after its end; a thread can't be stopped", self._name(claim))
        self.keeper.outlast(claim, lingering.is_over)
        self._pool.leave_behind(self._linger(claim, lingering, run))
        self._pool.leave(run)

    async def _linger(self, claim: C, lingering: Lingering, run: asyncio.Task[Any]) -> None:
        await asyncio.wait([lingering.future, run])  # both: what is recorded after the release would keep the lease
        self.keeper.drop(claim)
        with suppress(PseudoCronError):  # then the lease ends by itself
            await self._release(claim)


def _failed(error: Exception) -> Ended:
    return Ended(result=Result(outcome=Outcome.FAILED, error=f"can't be run: {error!r}"))
