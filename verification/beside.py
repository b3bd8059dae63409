"""A store with the oracle beside it: each verb is done on both, and what they answer and keep is compared.

The ids of the runs of crons, and the fences, are the store's own. Those of the oracle are found by what was claimed.
Where the contract leaves a store free, the oracle follows it: whether a run that has expired is recorded already, and
whether the gate is so fresh that a poll is not entered.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pseudocron.backends import rules
from pseudocron.backends.model import Blocker, CronState, Kind, Run, Skip, State
from pseudocron.backends.questions import Claim, Where
from pseudocron.errors import JobConflictError

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Mapping, Sequence
    from datetime import datetime, timedelta
    from typing import Any

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.questions import End, Finished, Manual, NewJob, Poll, Polled, Refusal, Take
    from verification.oracle import Oracle

T = TypeVar("T")

ENOUGH = 0.01
"""Seconds by which the gate of a store may be late."""

ALL = 10_000


@dataclass
class Ids:
    """The oracle's ids and fences for those of the store; shared by all processes."""

    runs: dict[str, str] = field(default_factory=dict)
    fences: dict[tuple[str, int], int] = field(default_factory=dict)
    is_set_back: bool = False
    """Whether the clock was set back since the last poll: no verb can know of what is due, or in use, by that."""

    def run(self, run_id: str) -> str:
        """Return the oracle's id of a run; that of a job is the same."""
        return self.runs.get(run_id, run_id)

    def claim(self, claim: Claim) -> Claim:
        """Return the oracle's claim."""
        run_id = self.run(claim.run_id)
        return claim._replace(run_id=run_id, fence=self.fences.get((run_id, claim.fence), claim.fence))


@dataclass
class Beside:
    """A backend of a process, and the oracle's.

    Args:
        backend: What is tested.
        oracle: What is right.
        ids: Shared by all processes of the store.
    """

    backend: Backend
    oracle: Oracle
    ids: Ids

    async def poll(self, poll: Poll) -> Polled | None:
        """Poll both if the store's gate is stale."""
        before = dict(self.oracle.store.runs)
        polled = await self.backend.poll(poll)
        if polled is None:
            await self._check(before)
            return None
        self.ids.is_set_back = False
        holding = [self.ids.claim(claim) for claim in poll.holding]
        right = await self.oracle.poll(poll._replace(force=True, holding=holding))
        assert right is not None
        self._pair(polled.claims, right.claims)
        assert {(one.name, one.slot, one.why) for one in polled.refused} == {
            (one.name, one.slot, one.why) for one in right.refused
        }
        assert {name: self._bare(state) for name, state in polled.outdated.items()} == {
            name: self._bare(state) for name, state in right.outdated.items()
        }
        assert self._states(polled.lost) == {(run.run_id, run.state) for run in right.lost}
        if not poll.take.resting:
            assert polled.left == right.left
        assert polled.takeovers == right.takeovers
        await self._check(before)
        return polled

    async def finish(self, ends: Sequence[End], take: Take | None) -> Finished:
        """Record the ends of attempts in both."""
        before = dict(self.oracle.store.runs)
        finished = await self.backend.finish(ends, take)
        right = await self.oracle.finish([end._replace(claim=self.ids.claim(end.claim)) for end in ends], take)
        assert list(finished.states) == list(right.states)
        self._pair(finished.claims, right.claims)
        await self._check(before)
        return finished

    async def renew(self, claims: Sequence[Claim], lease: float) -> None:
        """Renew leases in both."""
        before = dict(self.oracle.store.runs)
        living = {self.ids.run(run_id) for run_id in await asyncio.to_thread(self.backend.renew, claims, lease)}
        assert living == set(self.oracle.renew([self.ids.claim(claim) for claim in claims], lease))
        await self._check(before)

    async def release(self, claims: Sequence[Claim]) -> None:
        """End kept leases in both."""
        right = self.oracle.release([self.ids.claim(claim) for claim in claims])
        await self._same(self.backend.release(claims), right)

    async def defer(self, jobs: Sequence[NewJob]) -> None:
        """Defer jobs in both."""
        await self._same(_ids_or_none(self.backend.defer(jobs)), _ids_or_none(self.oracle.defer(jobs)))

    async def start(self, manual: Manual) -> Claim | Refusal:
        """Start a manual run in both."""
        before = dict(self.oracle.store.runs)
        claim, right = await self.backend.start(manual), await self.oracle.start(manual)
        if isinstance(claim, Claim) and isinstance(right, Claim):
            self._pair([claim], [right])
        else:
            assert claim == right
        await self._check(before)
        return claim

    async def cancel(self, *, run_id: str | None = None, task: str | None = None, key: str | None = None) -> None:
        """Cancel in both."""
        right = self.oracle.cancel(run_id=run_id and self.ids.run(run_id), task=task, key=key)
        await self._same(self.backend.cancel(run_id=run_id, task=task, key=key), right)

    async def retry(self, run_id: str) -> None:
        """Retry a job in both."""
        await self._same(self.backend.retry(run_id), self.oracle.retry(self.ids.run(run_id)))

    async def pause(self, name: str, *, paused: bool) -> None:
        """Pause a cron in both."""
        await self._same(self.backend.pause(name, paused), self.oracle.pause(name, paused))

    async def reset(self, name: str, mark: datetime) -> None:
        """Set a mark in both."""
        await self._same(self.backend.reset(name, mark), self.oracle.reset(name, mark))

    async def purge(self, keep: Mapping[State, timedelta]) -> None:
        """Purge both."""
        await self._same(self.backend.purge(keep), self.oracle.purge(keep))

    async def _same(self, verb: Coroutine[Any, Any, T], right: Coroutine[Any, Any, T]) -> None:
        before = dict(self.oracle.store.runs)
        answer, expected = await verb, await right
        assert answer == expected
        await self._check(before)

    def holds(self, claim: Claim) -> bool:
        """Return whether a claim holds a run that is running."""
        claim = self.ids.claim(claim)
        run = self.oracle.store.runs.get(claim.run_id)
        return run is not None and run.state is State.RUNNING and run.fence == claim.fence

    # What is compared

    def _pair(self, claims: Sequence[Claim], right: Sequence[Claim]) -> None:
        """Learn the ids and fences of claims, which have to be the same."""
        assert len(claims) == len(right), f"claimed {claims}, but right is {right}"
        for claim, expected in zip(claims, right, strict=True):
            if claim.kind is not Kind.JOB:
                assert self.ids.runs.setdefault(claim.run_id, expected.run_id) == expected.run_id
            self.ids.fences[expected.run_id, claim.fence] = expected.fence
            assert claim == expected._replace(run_id=claim.run_id, fence=claim.fence)

    def _states(self, runs: Collection[Run]) -> set[tuple[str, State]]:
        return {(self.ids.run(run.run_id), run.state) for run in runs}

    async def _check(self, before: Mapping[str, Run]) -> None:
        """Compare all that is kept, and state the law of the gate."""
        stored = await self.backend.runs(Where(), ALL)
        self._follow(stored, before)
        right = await self.oracle.runs(Where(), ALL)
        assert [self._run(run) for run in stored] == [self._run(run) for run in right]
        names = [*self.oracle.store.crons, "tick", "tock"]
        states, expected = await self.backend.states(names), await self.oracle.states(names)
        assert states.now == expected.now
        for name in names:
            assert self._bare(states.crons[name]) == self._bare(expected.crons[name])
        skips, timelines = await self.backend.timelines(names, ALL), await self.oracle.timelines(names, ALL)
        for name in names:
            assert self._skips(skips.get(name, ())) == self._skips(timelines[name])
        counts, expected_counts = await self.backend.counts(), await self.oracle.counts()
        assert {state: counts.get(state, 0) for state in State} == expected_counts
        assert set(await self.backend.waiting()) == set(await self.oracle.waiting())
        await self._state_the_law()

    def _follow(self, stored: Sequence[Run], before: Mapping[str, Run]) -> None:
        """Let the oracle record expired runs as the store does."""
        now = self.oracle.host.now()
        for run in stored:
            right = self.oracle.store.runs.get(self.ids.run(run.run_id))
            if right is None or right.state is run.state:
                continue
            if run.state is State.EXPIRED and right.state is State.PENDING and rules.is_expired(right, now):
                self.oracle.store.put(rules.dropped(right, State.EXPIRED, now))
            elif run.state is State.PENDING and right.state is State.EXPIRED and rules.is_expired(run, now):
                self.oracle.store.put(before[right.run_id])

    def _run(self, run: Run) -> Run:
        """Return a run without the ids and texts in which a store is free."""
        is_over = run.state in rules.FINAL
        return run._replace(
            run_id=self.ids.run(run.run_id),
            fence=0,
            reason=run.reason if is_over else None,
            output=run.output if is_over else None,
        )

    def _bare(self, state: CronState) -> CronState:
        """Return a state without its `next` if that is held back, and without `seen`, which is written now and then."""
        state = state._replace(schedule=state.schedule or None, seen=None)
        return state._replace(next=None) if state.name in self.oracle.store.waiting else state

    def _skips(self, timeline: Sequence[Run | Skip]) -> list[Skip]:
        skips = [entry for entry in timeline if isinstance(entry, Skip)]
        return [skip._replace(blockers=self._blockers(skip.blockers)) for skip in skips]

    def _blockers(self, blockers: Sequence[Blocker]) -> tuple[Blocker, ...]:
        return tuple(sorted(blocker._replace(run_id=self.ids.run(blocker.run_id)) for blocker in blockers))

    async def _state_the_law(self) -> None:
        if self.ids.is_set_back:
            return
        now = self.oracle.host.now()
        earliest = self.oracle.store.earliest(now)
        fresh = await self.backend.stale_in()
        if earliest is None:
            assert fresh == 0, "no process has polled, but the gate is fresh"
        else:
            due_in = max(0.0, (earliest - now).total_seconds())
            assert fresh <= due_in + ENOUGH, f"the gate is fresh for {fresh} s, but a poll is needed in {due_in} s"


async def _ids_or_none(verb: Coroutine[Any, Any, Sequence[str]]) -> list[str] | None:
    """Return the ids of deferred jobs; None if a key is taken."""
    try:
        return list(await verb)
    except JobConflictError:
        return None
