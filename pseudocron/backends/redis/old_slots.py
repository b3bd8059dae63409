"""The verbs of the gate and of the slots, each one call of `lua/slots.lua`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

from pseudocron.backends.base import Backend
from pseudocron.backends.records import Claim, Reaped, Refusal
from pseudocron.backends.redis.records import BRIEF, instant, lingering_of, micros, micros_of, run_of, state_of
from pseudocron.backends.slot_rules import claim_of, grows, text_of
from pseudocron.truncation import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.records import Lingering, Proposal, Result, Run, Skip, State
    from pseudocron.backends.redis.wire import Wire

SECOND = 1_000_000
"""Microseconds."""

TOLD_AT_ONCE = 50
"""How many crons' histories are read in one call."""

AT_ONCE = 1000
"""How many crons are asked about in one call: while a script runs, the server does nothing else."""


class Slots(Backend):
    """The verbs of the gate and of the slots.

    Args:
        wire: The way to the server.
        keep: How many runs, and how many skips, are kept of each cron.
        now: This host's clock.
        elapsed: Seconds from any moment on, if possible by what no step of that clock touches.
    """

    durable: ClassVar[bool] = True

    def __init__(self, wire: Wire, *, keep: int, now: Callable[[], datetime], elapsed: Callable[[], float]) -> None:
        self._wire = wire
        self._keep = keep
        self._now = now
        self._elapsed = elapsed
        self._told: tuple[datetime, float] | None = None

    @property
    def ahead(self) -> timedelta:
        """See `Queue.ahead`; a step of this host's clock changes it by as much, at once."""
        if self._told is None:
            return timedelta()
        time, at = self._told
        return time + timedelta(seconds=self._elapsed() - at) - self._now()

    def _hear(self, time: str) -> None:
        """What the server's clock says. It is a little past that by now, so that nothing is proposed too early."""
        self._told = instant(time), self._elapsed()

    async def _ask(self, verb: str, **arguments: object) -> Any:
        return await self._wire.ask("slots", verb, **self._given(), **arguments)

    def _given(self) -> dict[str, object]:
        """What each verb may need to know."""
        return {"keep": self._keep, "cron_max_time": micros_of(self.cron_max_time)}

    async def fresh_for(self, max_age: float) -> float:
        """See `Backend.fresh_for`."""
        return int(await self._ask("fresh_for", max_age=micros_of(max_age))) / SECOND

    async def enter(self, max_age: float) -> bool:
        """See `Backend.enter`."""
        return bool(await self._ask("enter", max_age=micros_of(max_age)))

    async def lower(self, due: datetime, max_age: float) -> float:
        """See `Backend.lower`."""
        return int(await self._ask("lower", due=micros(due), max_age=micros_of(max_age))) / SECOND

    async def states(self, marks: Mapping[str, datetime]) -> Mapping[str, State]:
        """See `Backend.states`; of many crons some at a time, as they don't concern each other."""
        known = [{"name": name, "mark": micros(mark)} for name, mark in marks.items()]
        parts = [known[start : start + AT_ONCE] for start in range(0, len(known), AT_ONCE)]
        told = [await self._ask("states", marks=part) for part in parts]
        states = [state for part in told for state in part["states"]]
        if told:
            self._hear(told[-1]["now"])
        return {name: state_of(name, state) for name, state in zip(marks, states, strict=True)}

    async def claim(self, proposal: Proposal) -> Claim | Refusal:
        """See `Backend.claim`."""
        answer = await self._ask(
            "claim",
            name=proposal.name,
            slot=micros(proposal.slot),
            worker=proposal.worker,
            lease=micros_of(proposal.lease),
            max_instances=proposal.max_instances,
            recover=proposal.recover,
            recovers=proposal.recovers,
            manual=proposal.manual,
            waited=text_of(proposal.waited),
        )
        return Refusal(answer) if isinstance(answer, str) else claim_of(run_of(answer))

    async def skip(self, skips: Sequence[Skip]) -> None:
        """See `Backend.skip`."""
        lines = [_line(skip) for skip in skips]
        if lines:
            await self._ask("skip", skips=lines)

    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        """See `Backend.renew`."""
        if not claims:
            return set()
        own = [{"run_id": claim.run_id, "fence": claim.fence} for claim in claims]
        return set(self._wire.ask_blocking("slots", "renew", **self._given(), claims=own, lease=micros_of(lease)))

    async def finish(self, claim: Claim, result: Result, *, keep_lease: bool = False) -> bool:
        """See `Backend.finish`."""
        return bool(
            await self._ask(
                "finish",
                run_id=claim.run_id,
                fence=claim.fence,
                outcome=result.outcome,
                error=kept(result.error),
                output=kept(result.output),
                keep_lease=keep_lease,
            )
        )

    async def release(self, claim: Claim) -> None:
        """See `Backend.release`."""
        await self._ask("release", run_id=claim.run_id, fence=claim.fence)

    async def reap(self) -> Reaped:
        """See `Backend.reap`."""
        lost, orphans, reset, now = await self._ask("reap")
        self._hear(now)
        return Reaped(
            lost=[run_of(line) for line in lost], orphans=[run_of(line) for line in orphans], reset=list(reset)
        )

    async def pause(self, name: str) -> None:
        """See `Backend.pause`."""
        await self._ask("pause", name=name)

    async def resume(self, name: str) -> None:
        """See `Backend.resume`."""
        await self._ask("resume", name=name)

    async def history(self, name: str | None = None, *, limit: int = 20) -> Sequence[Run]:
        """See `Backend.history`."""
        return [run_of(line) for line in await self._ask("history", name=name, limit=limit)]

    async def timelines(self, names: Collection[str], *, limit: int = 20) -> Mapping[str, Sequence[Run]]:
        """See `Backend.timelines`; of many crons some at a time."""
        every = list(names)
        parts = [every[start : start + TOLD_AT_ONCE] for start in range(0, len(every), TOLD_AT_ONCE)]
        told = [lines for part in parts for lines in await self._ask("timelines", names=part, limit=limit, told=BRIEF)]
        return {name: [run_of(line) for line in lines] for name, lines in zip(every, told, strict=True)}

    async def reset(self, name: str, mark: datetime) -> None:
        """See `Backend.reset`."""
        await self._ask("reset", name=name, mark=micros(mark))

    async def lingering(self) -> Sequence[Lingering]:
        """See `Backend.lingering`; runs and jobs are two calls, between which others may come."""
        runs, jobs = await self._ask("lingering"), await self._wire.ask("queue", "lingering")
        return [*(lingering_of(run, is_job=False) for run in runs), *(lingering_of(job, is_job=True) for job in jobs)]


def _line(skip: Skip) -> dict[str, object]:
    """Slots that are skipped, as the script takes them."""
    line = {
        "run_id": uuid4().hex,
        "name": skip.name,
        "slot": micros(skip.slot),
        "first": micros(skip.first or skip.slot),
        "since": skip.since and micros(skip.since),
        "reason": skip.reason,
        "slots": skip.slots,
        "grows": grows(skip),
        "blockers": text_of(skip.blockers),
    }
    return {word: value for word, value in line.items() if value is not None}
