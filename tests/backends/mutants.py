"""Oracles that are wrong in one thing each."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from pseudocron.backends.model import Kind, Reason, Run, Skip, State
from pseudocron.backends.questions import Claim, Plan
from pseudocron.testing.conformance import SharedStore
from verification.oracle import Lease, Oracle, Store
from verification.oracle.polls import Polling
from verification.oracle.store import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.questions import End, NewJob, Poll, Polled
    from pseudocron.host import Host

SECOND = timedelta(seconds=1)


class Late(Store):
    """What a verb makes due is found a second late."""

    def bring_forward(self, now: datetime) -> None:
        earliest = self.earliest(now)
        if self.gate is not None and earliest is not None:
            self.gate = min(self.gate, earliest + SECOND)


class NeverForward(Store):
    def bring_forward(self, now: datetime) -> None:
        pass


class Busy(Store):
    """The law holds, but the gate is never fresh."""

    def earliest(self, now: datetime) -> datetime | None:
        return now if self.polled else None


class ForgetsLeases(Store):
    def earliest(self, now: datetime) -> datetime | None:
        return replace(self, leases={}).earliest_of_all(now)

    def earliest_of_all(self, now: datetime) -> datetime | None:
        return super().earliest(now)


class ForgetsPending(Store):
    def _counts(self, run: Run, now: datetime) -> bool:
        return False


class ForgetsRetriesOfCrons(Store):
    def _counts(self, run: Run, now: datetime) -> bool:
        return run.kind is Kind.JOB and super()._counts(run, now)


class CountsTheHeldBack(Store):
    def _counts(self, run: Run, now: datetime) -> bool:
        return self.is_in_use(name_of(run), now)


class ForgetsCrons(Store):
    def is_awaited(self, cron: str, now: datetime) -> bool:
        return False


class AwaitsThePaused(Store):
    def is_awaited(self, cron: str, now: datetime) -> bool:
        return self.is_in_use((Kind.SLOT, cron), now) and cron not in self.waiting


class AwaitsTheHeldBack(Store):
    def is_awaited(self, cron: str, now: datetime) -> bool:
        return self.is_in_use((Kind.SLOT, cron), now) and not self.cron(cron).paused


class UsesTheLargestTime(Store):
    def shortest(self, now: datetime) -> float | None:
        return max(self.times, default=None)


class UsesNamesForEver(Store):
    def is_in_use(self, name: tuple[Kind, str], now: datetime) -> bool:
        return name in self.seen


class IgnoresKeys(Store):
    def holds_back(self, run: Run, limit: int | None) -> bool:
        return super().holds_back(run._replace(key=None), limit)


class IgnoresLimits(Store):
    def holds_back(self, run: Run, limit: int | None) -> bool:
        return super().holds_back(run, limit if run.kind is not Kind.JOB else None)


class IgnoresMaxInstances(Store):
    def holds_back(self, run: Run, limit: int | None) -> bool:
        return super().holds_back(run, limit if run.kind is Kind.JOB else None)


class IgnoresKeptLeases(Store):
    def living(self, name: tuple[Kind, str]) -> list[Run]:
        return [run for run in super().living(name) if not run.is_kept]


class RunsThePaused(Store):
    def holds_back(self, run: Run, limit: int | None) -> bool:
        living = self.living(name_of(run))
        return (run.kind is Kind.JOB and super().holds_back(run, limit)) or run in living or len(living) == limit


class IgnoresFences(Store):
    def holds(self, claim: Claim) -> bool:
        return claim.run_id in self.leases


class FenceStandsStill(Store):
    def claim(self, run: Run, *, worker: str, lease: float, now: datetime) -> Claim:
        claim = super().claim(run, worker=worker, lease=lease, now=now)
        self.runs[run.run_id] = self.runs[run.run_id]._replace(fence=1)
        self.leases[run.run_id] = Lease(1, self.leases[run.run_id].end)
        return claim._replace(fence=1)


class PendingNeverCounts(Store):
    def _waits_and_counts(self, run: Run) -> bool:
        return False


class KeepsAll(Store):
    def trim(self) -> None:
        pass


class ForgetsTheStop(Store):
    def put(self, run: Run) -> Run:
        self.stopped.clear()
        return super().put(run)


class KeyIsNeverTaken(Store):
    def is_key_taken(self, run: Run, now: datetime) -> bool:
        return False


class KeyIsTakenByTheExpired(Store):
    def is_key_taken(self, run: Run, now: datetime) -> bool:
        return self.holder(run) is not None


STORES: list[type[Store]] = [one for one in vars().values() if isinstance(one, type) and issubclass(one, Store)][1:]


class ClaimsTheEarly(Polling):
    def _claim_slot(self, plan: Plan, slot: datetime, number: int) -> bool:
        return super()._claim_slot(plan, min(slot, self.now), number)


class SkipsWithoutCoalescing(Polling):
    def _claim_slot(self, plan: Plan, slot: datetime, number: int) -> bool:
        return super()._claim_slot(plan._replace(coalesce=True), slot, number)


class NewestFirst(Polling):
    def _claim_slots(self, plans: list[Plan]) -> dict[str, list[datetime]]:
        return super()._claim_slots([plan._replace(slots=plan.slots[::-1][:1]) for plan in plans])


class ReplacesNoRetry(Polling):
    def _drop(self, run: Run, state: State) -> None:
        if state is not State.REPLACED:
            super()._drop(run, state)


class MergesNoSkips(Polling):
    def _skip(self, skip: Skip) -> None:
        self.store.skips[skip.name].append((0, skip._replace(name="", reason=Reason.CHANGED)))
        super()._skip(skip)
        self.store.skips[skip.name].pop(-2)


class MergesSkipsOverRuns(Polling):
    def _newest_run(self, cron: str) -> int:
        return 0


class RaisesTheMarkByTheClock(Polling):
    def _skip(self, skip: Skip) -> None:
        super()._skip(skip)
        self._raise_mark(skip.name, skip.slot)


class LosesForEver(Polling):
    """A run is lost as often as it takes workers with it."""

    def _end_leases(self) -> None:
        for run_id, run in self.store.runs.items():
            self.store.runs[run_id] = run._replace(lost=min(run.lost, 1))
        super()._end_leases()


class CountsLossesAsFailures(Polling):
    def _end_leases(self) -> None:
        super()._end_leases()
        for run in self.lost:
            self.store.runs[run.run_id] = run._replace(failures=run.failures + 1)


class EndsNoKeptLease(Polling):
    def _end_leases(self) -> None:
        kept = {run_id: lease for run_id, lease in self.store.leases.items() if self.store.runs[run_id].is_kept}
        for run_id in kept:
            del self.store.leases[run_id]
        super()._end_leases()
        self.store.leases |= kept


class RenewsNothing(Polling):
    def poll(self, poll: Poll, cron_max_time: float) -> Polled:
        return super().poll(poll._replace(holding=()), cron_max_time)


class ForgetsThePriority(Polling):
    def claim_pending(self) -> None:
        for run_id, run in self.store.runs.items():
            self.store.runs[run_id] = run._replace(priority=0)
        super().claim_pending()


class ExpiresNothing(Polling):
    def claim_pending(self) -> None:
        for run_id, run in self.store.runs.items():
            self.store.runs[run_id] = run._replace(expires=None)
        super().claim_pending()


class ClaimsTheResting(Polling):
    def _names(self) -> set[tuple[Kind, str]]:
        return set(self._limits())


class HasNoRoomOfAKind(Polling):
    def _room(self, kind: Kind) -> int:
        return self.take.capacity.total - len(self.claims)


class TakesOutdatedPlans(Polling):
    def poll(self, poll: Poll, cron_max_time: float) -> Polled:
        plans = [plan._replace(mark=self.store.cron(plan.name).mark) for plan in poll.plans]
        return super().poll(poll._replace(plans=plans), cron_max_time)


class TakesPlansOfAnySchedule(Polling):
    def _is_current(self, plan: Plan) -> bool:
        return super()._is_current(plan._replace(replaces=self.store.cron(plan.name).schedule))


class TakesPlansOfAnySince(Polling):
    def _is_current(self, plan: Plan) -> bool:
        return super()._is_current(plan._replace(since=self.store.cron(plan.name).since or plan.since))


class CountsFromTheFirst(Polling):
    def _set_schedule(self, plan: Plan) -> None:
        super()._set_schedule(plan._replace(counts_from=None))


class ReplacesNothing(Polling):
    def _set_schedule(self, plan: Plan) -> None:
        super()._set_schedule(plan._replace(replaces=None))


class TellsNoOutdated(Polling):
    def _find_outdated(self, poll: Poll, current: set[str]) -> None:
        super()._find_outdated(poll, current | set(self.take.crons))


POLLS: list[type[Polling]] = [one for one in vars().values() if isinstance(one, type) and issubclass(one, Polling)][1:]


class ReadsNoLateGate(Oracle):
    def _stale_in(self) -> float:
        gate = self.store.gate
        return max(0.0, (gate - self.host.now()).total_seconds()) if gate else 0.0


class EntersAnyGate(Oracle):
    async def poll(self, poll: Poll) -> Polled | None:
        return await super().poll(poll._replace(force=True))


class EndsWithoutAFence(Oracle):
    def _end(self, end: End, now: datetime, dropped: list[Run]) -> State | None:
        run = self.store.runs.get(end.claim.run_id)
        fence = run.fence if run else 0
        return super()._end(end._replace(claim=end.claim._replace(fence=fence)), now, dropped)


class KeepsNoLease(Oracle):
    def _end(self, end: End, now: datetime, dropped: list[Run]) -> State | None:
        return super()._end(end._replace(goes_on=False), now, dropped)


class CountsWhatIsHandedBack(Oracle):
    def _end(self, end: End, now: datetime, dropped: list[Run]) -> State | None:
        return super()._end(end._replace(counts=True), now, dropped)


class LeavesTheKeyToTheExpired(Oracle):
    def _expire_holder(self, run: Run, now: datetime) -> list[Run]:
        return []


class StoresSomeOfTheJobs(Oracle):
    def defer_blocking(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        return [run_id for job in jobs for run_id in super(StoresSomeOfTheJobs, self).defer_blocking([job])]


class DefersAgain(Oracle):
    def _defer(self, job: NewJob, now: datetime) -> str:
        self.store.runs.pop(job.run_id, None)
        return super()._defer(job, now)


class ReleasesWhatRuns(Oracle):
    async def release(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            if self.store.holds(claim):
                del self.store.leases[claim.run_id]
        await super().release(claims)


class RenewsTheDead(Oracle):
    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        super().renew(claims, lease)
        return {claim.run_id for claim in claims}


class ResetsNoSince(Oracle):
    async def reset(self, name: str, mark: datetime) -> None:
        since = self.store.cron(name).since
        await super().reset(name, mark)
        self.store.change(name, since=since)


class RetriesAnything(Oracle):
    async def retry(self, run_id: str) -> bool:
        run = self.store.runs.get(run_id)
        if run and run.state is State.INTERRUPTED:
            self.store.put(run._replace(state=State.FAILED))
        return await super().retry(run_id)


class PurgesCrons(Oracle):
    async def purge(self, keep: Mapping[State, timedelta], limit: int = 1000) -> int:
        old = [run.run_id for run in self.store.runs.values() if run.state in keep and run.kind is not Kind.JOB]
        for run_id in old:
            self.store.forget(run_id)
        return await super().purge(keep, limit)


class PagesFromTheStart(Oracle):
    def _place(self, run_id: str) -> int:
        return super()._place(run_id) if run_id in self.store.runs else len(self.store.runs)


ORACLES: list[type[Oracle]] = [one for one in vars().values() if isinstance(one, type) and issubclass(one, Oracle)][1:]


def shared(store: type[Store] = Store, oracle: type[Oracle] = Oracle, polling: type[Polling] = Polling) -> SharedStore:
    data, backend = store(), type("Mutant", (oracle,), {"polling": polling})

    def make(host: Host) -> Any:
        return backend(data, host=host)

    return SharedStore(make)


MUTANTS: dict[str, Callable[[], SharedStore]] = {
    **{one.__name__: partial(shared, store=one) for one in STORES},
    **{one.__name__: partial(shared, polling=one) for one in POLLS},
    **{one.__name__: partial(shared, oracle=one) for one in ORACLES},
}
