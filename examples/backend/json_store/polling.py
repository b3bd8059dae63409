"""One poll, in the order of the contract; and the claims of pending runs, which `finish` needs too."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from json_store.data import owner
from pseudocron.backends import rules
from pseudocron.backends.model import Blocker, CronState, Kind, Reason, Run, Skip, State
from pseudocron.backends.questions import Claim, Plan, Poll, Polled, Refusal, Refused, Take

if TYPE_CHECKING:
    from datetime import datetime

    from json_store.data import Data

EXPIRED_AT_MOST = 1000


@dataclass
class Polling:
    data: Data
    take: Take
    claims: list[Claim] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    lost: list[Run] = field(default_factory=list)
    dropped: list[Run] = field(default_factory=list)
    left: bool = False

    def poll(self, poll: Poll, cron_max_time: float) -> Polled:
        data, now = self.data, self.data.now
        for claim in filter(data.holds, poll.holding):
            data.leases[claim.run_id] = claim.fence, now + timedelta(seconds=self.take.lease)
        self.end_leases()
        data.polled = data.times[str(cron_max_time)] = now
        data.limits |= self.limits()
        data.seen |= dict.fromkeys(self.limits(), now)
        current = [plan for plan in poll.plans if self.is_current(plan)]
        for plan in current:
            self.record_skips(plan)
        left = self.claim_slots(current)
        for plan in current:
            nexts = [*left[plan.name], *([plan.next] if plan.next else [])]
            data.cron(plan.name, next=min(nexts, default=None))
        self.claim_pending()
        outdated = self.outdated({plan.name for plan in poll.plans}, {plan.name for plan in current})
        return Polled(0.0, self.claims, self.refused, outdated, self.lost, self.dropped, self.left, data.takeovers)

    def limits(self) -> dict[str, int | None]:
        crons: dict[str, int | None] = {f"cron:{cron}": limit for cron, limit in self.take.crons.items()}
        return {**crons, **{f"job:{task}": limit for task, limit in self.take.tasks.items()}}

    def rests(self, kind: Kind, name: str) -> bool:
        return (kind, name) in self.take.resting

    def room(self, kind: Kind) -> int:
        """For how many more runs of jobs, or of crons, there is capacity."""
        used = sum((claim.kind is Kind.JOB) == (kind is Kind.JOB) for claim in self.claims)
        capacity = self.take.capacity
        of_kind = capacity.jobs if kind is Kind.JOB else capacity.slots
        return min(capacity.total - len(self.claims), of_kind - used)

    def end_leases(self) -> None:
        data = self.data
        for run_id in [run_id for run_id, (_, end) in data.leases.items() if end <= data.now]:
            run = data.run(run_id)
            del data.leases[run_id]
            if run.is_kept:
                data.put(run._replace(is_kept=False))
                continue
            is_stopped, is_taken = run_id in data.stopped, data.is_key_taken(run)
            after = rules.lost(run, stop=is_stopped, is_key_taken=is_taken, now=data.now)
            if after.state is State.PENDING:
                self.dropped += data.free_key(run)
            self.lost.append(data.put(after))

    def is_current(self, plan: Plan) -> bool:
        cron = self.data.cron(plan.name)
        return rules.is_current(plan, mark=cron.mark, since=cron.since, schedule=cron.schedule)

    def record_skips(self, plan: Plan) -> None:
        data = self.data
        data.cron(plan.name, since=plan.counts_from or plan.since, schedule=plan.schedule)
        if plan.replaces is not None:
            before = data.cron(plan.name).replaced
            data.cron(plan.name, replaced=rules.replaced(before, plan.replaces, plan.schedule))
            data.takeovers += 1
        for skip in plan.skips:
            back = data.cron(plan.name).back
            if skip.reason is not Reason.CLOCK_BACK:
                data.skip(skip, self.take.worker)
                data.raise_mark(plan.name, skip.slot)
            elif back is None or skip.slot > back:
                data.skip(skip, self.take.worker)
                data.cron(plan.name, back=skip.slot)

    def claim_slots(self, plans: list[Plan]) -> dict[str, list[datetime]]:
        """Claim slots, the oldest first; those that stay above the mark are returned."""
        left: dict[str, list[datetime]] = {plan.name: [] for plan in plans}
        for plan in plans:
            self.data.held.pop(plan.name, None)
        slots = [(slot, number, plan) for plan in plans for number, slot in enumerate(plan.slots)]
        for slot, number, plan in sorted(slots, key=lambda one: one[0]):
            mark = self.data.cron(plan.name).mark
            if mark is None or slot > mark:
                if self.claim_slot(plan, slot, number):
                    self.data.raise_mark(plan.name, slot)
                else:
                    left[plan.name].append(slot)
        return left

    def claim_slot(self, plan: Plan, slot: datetime, number: int) -> bool:
        data, name = self.data, plan.name
        if slot > data.now:
            self.refused.append(Refused(name, slot, Refusal.EARLY))
            return False
        if self.room(Kind.SLOT) <= 0 or self.rests(Kind.SLOT, name):
            self.left = True
            return False
        if data.cron(name).paused:
            self.refused.append(Refused(name, slot, Refusal.PAUSED))
            data.skip(Skip(name, slot, Reason.PAUSED), self.take.worker)
            return True
        counting = data.counting(name)
        if len(counting) < self.take.crons.get(name, 1):
            self.start(plan, slot, number)
            return True
        blockers = tuple(Blocker(run.run_id, run.worker or "") for run in counting)
        self.refused.append(Refused(name, slot, Refusal.OVERLAP, blockers))
        if plan.coalesce:
            data.skip(Skip(name, slot, Reason.OVERLAP, blockers=blockers), self.take.worker)
        else:
            data.held[name] = True
        return plan.coalesce

    def start(self, plan: Plan, slot: datetime, number: int) -> None:
        data = self.data
        for run in data.runs(f"cron:{plan.name}", State.PENDING) if plan.coalesce else []:
            if not run.at_least_once:
                self.dropped.append(data.put(rules.dropped(run, State.REPLACED, data.now)))
        run = Run(uuid4().hex, Kind.SLOT, plan.name, State.PENDING, due=slot, created=data.now, slot=slot)
        waited = plan.waited[number] if plan.waited else None
        if not plan.coalesce:
            data.apart[run.run_id] = True
        self.claim(run._replace(at_least_once=plan.at_least_once, waited=waited))

    def claim(self, run: Run) -> None:
        self.claims.append(self.data.claim(run, self.take.worker, self.take.lease))

    def outdated(self, planned: set[str], current: set[str]) -> dict[str, CronState]:
        data = self.data
        states = {name: data.cron(name) for name in {*self.take.crons, *planned} - current}
        due = {name for name, cron in states.items() if cron.next and cron.next <= data.now and data.is_awaited(cron)}
        return {name: cron for name, cron in states.items() if name in planned or name in due}

    def claim_pending(self) -> None:
        data, limits = self.data, self.limits()
        due = [run for run in data.runs(state=State.PENDING) if run.due <= data.now and owner(run) in limits]
        # Sorting is stable: of those that are equal the first stored comes first.
        due.sort(key=lambda run: (run.kind is Kind.JOB, -run.priority, run.due))
        expired = 0
        for run in due:
            kind = Kind.JOB if run.kind is Kind.JOB else Kind.SLOT
            if self.rests(kind, run.name) or data.is_held_back(run, limits[owner(run)]):
                continue
            if rules.is_expired(run, data.now):
                expired += 1
                if expired > EXPIRED_AT_MOST:  # the gate stays stale for the rest
                    continue
                self.dropped.append(data.put(rules.dropped(run, State.EXPIRED, data.now)))
            elif self.room(kind) > 0:
                self.claim(run)
            else:
                self.left = True
