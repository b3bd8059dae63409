"""What one poll of the oracle does, in the order of the contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.backends import rules
from pseudocron.backends.model import Blocker, CronState, Kind, Reason, Run, Skip, State
from pseudocron.backends.questions import Claim, Plan, Polled, Refusal, Refused, Take
from verification.oracle.store import name_of

if TYPE_CHECKING:
    from datetime import datetime

    from pseudocron.backends.questions import Poll
    from verification.oracle.store import Name, Store

EXPIRED_AT_MOST = 1000


@dataclass
class Polling:
    """A poll, or the claims of `finish`, as far as it has come."""

    store: Store
    take: Take
    now: datetime
    claims: list[Claim] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    outdated: dict[str, CronState] = field(default_factory=dict)
    lost: list[Run] = field(default_factory=list)
    dropped: list[Run] = field(default_factory=list)
    left: bool = False

    def poll(self, poll: Poll, cron_max_time: float) -> Polled:
        """Do all of a poll but for the gate."""
        end = self.now + timedelta(seconds=self.take.lease)
        for claim in poll.holding:
            if self.store.holds(claim):
                self.store.renew(claim, end)
        self._end_leases()
        self.store.polled = self.store.times[cron_max_time] = self.now
        self.store.name_in_use(self._limits(), cron_max_time, self.now)
        current = [plan for plan in poll.plans if self._is_current(plan)]
        for plan in current:
            self._record_skips(plan)
        remaining = self._claim_slots(current)
        for plan in current:
            due = remaining.get(plan.name, [])
            self.store.change(plan.name, next=min([*due, *([plan.next] if plan.next else [])], default=None))
        self.claim_pending()
        self._find_outdated(poll, {plan.name for plan in current})
        answers = self.claims, self.refused, self.outdated, self.lost, self.dropped, self.left
        return Polled(0.0, *answers, self.store.takeovers)

    def _limits(self) -> dict[Name, int | None]:
        resting = dict.fromkeys(self.take.resting)
        tasks = {(Kind.JOB, task): limit for task, limit in self.take.tasks.items()}
        return {**resting, **tasks, **{(Kind.SLOT, cron): limit for cron, limit in self.take.crons.items()}}

    def _end_leases(self) -> None:
        over = [run_id for run_id, lease in self.store.leases.items() if lease.end <= self.now]
        for run_id in over:
            run = self.store.runs[run_id]
            del self.store.leases[run_id]
            if run.is_kept:
                self.store.put(run._replace(is_kept=False))
                continue
            is_key_taken = self.store.is_key_taken(run, self.now)
            after = rules.lost(run, stop=run_id in self.store.stopped, is_key_taken=is_key_taken, now=self.now)
            if after.state is State.PENDING and (holder := self.store.holder(run)):
                self._drop(holder, State.EXPIRED)
            self.lost.append(self.store.put(after))

    def _drop(self, run: Run, state: State) -> None:
        self.dropped.append(self.store.put(rules.dropped(run, state, self.now)))

    # Of crons

    def _is_current(self, plan: Plan) -> bool:
        cron = self.store.cron(plan.name)
        return rules.is_current(plan, mark=cron.mark, since=cron.since, schedule=cron.schedule)

    def _set_schedule(self, plan: Plan) -> None:
        cron = self.store.cron(plan.name)
        self.store.change(plan.name, since=plan.counts_from or plan.since, schedule=plan.schedule)
        if plan.replaces is not None:
            replaced = rules.replaced(cron.replaced, plan.replaces, plan.schedule)
            self.store.change(plan.name, replaced=replaced)
            self.store.takeovers += 1

    def _record_skips(self, plan: Plan) -> None:
        self._set_schedule(plan)
        for skip in plan.skips:
            cron = self.store.cron(plan.name)
            if skip.reason is not Reason.CLOCK_BACK:
                self._skip(skip)
                self._raise_mark(plan.name, skip.slot)
            elif cron.back is None or skip.slot > cron.back:
                self._skip(skip)
                self.store.change(plan.name, back=skip.slot)

    def _skip(self, skip: Skip) -> None:
        skips = self.store.skips[skip.name]
        number, newest = skips[-1] if skips else (0, None)
        if newest and newest.reason is skip.reason and number > self._newest_run(skip.name):
            skips[-1] = number, rules.merged(newest, skip, now=self.now)
        else:
            skip = skip._replace(recorded=self.now, updated=self.now, worker=self.take.worker)
            skips.append((next(self.store.numbers), skip))
        self.store.change(skip.name, missed=self.store.cron(skip.name).missed + skip.slots)

    def _newest_run(self, cron: str) -> int:
        runs = (run for run in self.store.runs.values() if run.name == cron and run.kind is not Kind.JOB)
        return max((self.store.order[run.run_id] for run in runs), default=0)

    def _raise_mark(self, name: str, slot: datetime) -> None:
        mark = self.store.cron(name).mark
        self.store.change(name, mark=slot if mark is None else max(mark, slot))

    def _claim_slots(self, plans: list[Plan]) -> dict[str, list[datetime]]:
        """Claim slots, the oldest first; return those that remain above the mark, by cron."""
        remaining: dict[str, list[datetime]] = {}
        self.store.waiting -= {plan.name for plan in plans}
        slots = [(slot, plan, number) for plan in plans for number, slot in enumerate(plan.slots)]
        for slot, plan, number in sorted(slots, key=lambda one: one[0]):
            mark = self.store.cron(plan.name).mark
            if (mark is None or slot > mark) and not self._claim_slot(plan, slot, number):
                remaining.setdefault(plan.name, []).append(slot)
        return remaining

    def _claim_slot(self, plan: Plan, slot: datetime, number: int) -> bool:
        """Deal with a slot; return False if it stays above the mark."""
        name, limit = (Kind.SLOT, plan.name), self.take.crons.get(plan.name, 1)
        counting = self.store.counting(plan.name)
        if slot > self.now:
            self.refused.append(Refused(plan.name, slot, Refusal.EARLY))
            return False
        if name in self.take.resting or self._room(Kind.SLOT) <= 0:
            self.left = True
            return False
        if self.store.cron(plan.name).paused:
            self.refused.append(Refused(plan.name, slot, Refusal.PAUSED))
            self._skip(Skip(plan.name, slot, Reason.PAUSED))
        elif len(counting) >= limit:
            blockers = tuple(Blocker(run.run_id, run.worker or "") for run in counting)
            self.refused.append(Refused(plan.name, slot, Refusal.OVERLAP, blockers))
            if not plan.coalesce:
                self.store.waiting.add(plan.name)
                return False
            self._skip(Skip(plan.name, slot, Reason.OVERLAP, blockers=blockers))
        else:
            self._start(plan, slot, number)
        self._raise_mark(plan.name, slot)
        return True

    def _start(self, plan: Plan, slot: datetime, number: int) -> None:
        if plan.coalesce:
            for run in self.store.of((Kind.SLOT, plan.name), State.PENDING):
                if not run.at_least_once:
                    self._drop(run, State.REPLACED)
        run = Run(
            self.store.new_id(),
            Kind.SLOT,
            plan.name,
            State.RUNNING,
            due=slot,
            created=self.now,
            slot=slot,
            at_least_once=plan.at_least_once,
            waited=plan.waited[number] if plan.waited else None,
        )
        if not plan.coalesce:
            self.store.not_coalescing.add(run.run_id)
        self._claim(run)

    def _find_outdated(self, poll: Poll, current: set[str]) -> None:
        planned = {plan.name for plan in poll.plans}
        for name in {**dict.fromkeys(self.take.crons), **dict.fromkeys(planned)}:
            cron = self.store.cron(name)
            is_due = cron.next is not None and cron.next <= self.now and self.store.is_awaited(name, self.now)
            if name not in current and (name in planned or is_due):
                self.outdated[name] = cron

    # Of pending runs

    def claim_pending(self) -> None:
        """Claim pending runs while there is capacity for them."""
        due = [run for run in self.store.pending() if run.due <= self.now and name_of(run) in self._names()]
        crons = sorted((run for run in due if run.kind is not Kind.JOB), key=lambda run: run.due)
        jobs = sorted((run for run in due if run.kind is Kind.JOB), key=lambda run: (-run.priority, run.due))
        expired = 0
        for run in [*crons, *jobs]:
            if self.store.holds_back(run, self._limits()[name_of(run)]):
                continue
            if rules.is_expired(run, self.now):
                if expired < EXPIRED_AT_MOST:
                    self._drop(run, State.EXPIRED)
                expired += 1
            elif self._room(name_of(run)[0]) <= 0:
                self.left = True
            else:
                self._claim(run)

    def _names(self) -> set[Name]:
        return set(self._limits()) - set(self.take.resting)

    def _room(self, kind: Kind) -> int:
        """Return for how many more runs of slots or jobs there is capacity."""
        of_kind = sum((claim.kind is Kind.JOB) == (kind is Kind.JOB) for claim in self.claims)
        capacity = self.take.capacity
        most = capacity.jobs if kind is Kind.JOB else capacity.slots
        return min(capacity.total - len(self.claims), most - of_kind)

    def _claim(self, run: Run) -> None:
        self.claims.append(self.store.claim(run, worker=self.take.worker, lease=self.take.lease, now=self.now))
