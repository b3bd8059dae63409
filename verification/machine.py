"""Two processes do whatever they can in any order, on a store with the oracle beside it.

They differ in their tasks, limits, crons and `CRON_MAX_TIME`; the clock goes forward, and sometimes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from pseudocron.backends.contract import Backend
from pseudocron.backends.model import Conflict, CronState, Kind, Reason, Skip, State
from pseudocron.backends.questions import Capacity, Claim, End, Manual, NewJob, Plan, Poll, Take
from pseudocron.host import Host
from verification.beside import Beside, Ids
from verification.oracle import Oracle, Store

T = TypeVar("T")

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LEASE = 30.0
KEYS = [None, "a", "a", "b"]
EVERY = 4
"""Seconds between the slots of a cron; those of the two are never at the same moment."""

MakeBackend = Callable[[Host], Backend]

PROCESSES = st.integers(0, 1)
SECONDS = st.sampled_from([-3, -1, 0, 1, 2, 5, 40])


@dataclass
class Process:
    """What one process has, and what it last knew of its crons."""

    both: Beside
    tasks: dict[str, int | None]
    crons: dict[str, int]
    known: dict[str, CronState] = field(default_factory=dict)


@dataclass(frozen=True)
class SharedStore:
    """How the backends of a new store are made, and what is done when it is no longer needed."""

    make: MakeBackend
    set_clock: Callable[[datetime], object] | None = None
    drop: Callable[[], object] = lambda: None


class Machine(RuleBasedStateMachine):
    """All verbs, in any order."""

    new_store: Callable[[], SharedStore]

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.runner = asyncio.Runner()
        self.claims: list[Claim] = []
        self.jobs: list[str] = []
        self.shared = type(self).new_store()
        self.pass_time(0)
        right, ids = Store(), Ids()
        host = Host(now=lambda: self.now)
        backends = [self.shared.make(host) for _ in range(2)]
        oracles = [Oracle(right, host=host), Oracle(right, host=host, cron_max_time=300)]
        both = [Beside(backend, oracle, ids) for backend, oracle in zip(backends, oracles, strict=True)]
        self.processes = [
            Process(both[0], {"mail": 1, "bill": None}, {"tick": 1, "tock": 2}),
            Process(both[1], {"mail": 2}, {"tick": 1}),
        ]
        for process in self.processes:
            process.both.backend.cron_max_time = process.both.oracle.cron_max_time
            self.do(process.both.backend.open())

    def teardown(self) -> None:
        """Close all."""
        for process in self.processes:
            self.do(process.both.backend.close())
        self.runner.close()
        self.shared.drop()

    def do(self, verb: Coroutine[Any, Any, T]) -> T:
        """Do a verb."""
        return self.runner.run(verb)

    def pass_time(self, seconds: float) -> None:
        """Move the clock."""
        self.now += timedelta(seconds=seconds)
        if self.shared.set_clock:
            self.shared.set_clock(self.now)

    # Time

    @rule(seconds=st.sampled_from([0.5, 1, 2, 4, 9, 29, 31, 61, 130]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.pass_time(seconds)

    @rule(seconds=st.sampled_from([1, 7]))
    def set_the_clock_back(self, seconds: int) -> None:
        """Set the clock back."""
        self.processes[0].both.ids.is_set_back = True
        self.pass_time(-seconds)

    # Polls

    @rule(which=PROCESSES)
    def read(self, which: int) -> None:
        """Read the states of crons, which may be out of date when they are used."""
        process = self.processes[which]
        process.known = dict(self.do(process.both.backend.states(process.crons)).crons)

    @rule(
        which=PROCESSES,
        planned=st.sampled_from([(), ("tick",), ("tock",), ("tick", "tock")]),
        is_read=st.booleans(),
        force=st.booleans(),
        is_early=st.booleans(),
        at_least_once=st.booleans(),
        capacity=st.sampled_from([Capacity(9, 9, 9), Capacity(1, 1, 1), Capacity(2, 1, 2), Capacity(0, 0, 0)]),
        rests=st.sampled_from([(), (), ((Kind.JOB, "mail"), (Kind.SLOT, "tick"))]),
        holds=st.booleans(),
        version=st.sampled_from([0, 0, 0, 0, 1, 2]),
    )
    def poll(  # noqa: PLR0917 - as many as a poll has sides
        self,
        which: int,
        planned: tuple[str, ...],
        is_read: bool,  # noqa: FBT001 - hypothesis calls by name
        force: bool,  # noqa: FBT001
        is_early: bool,  # noqa: FBT001
        at_least_once: bool,  # noqa: FBT001
        capacity: Capacity,
        rests: tuple[tuple[Kind, str], ...],
        holds: bool,  # noqa: FBT001
        version: int = 0,
    ) -> None:
        """Poll, with plans from what is known; of another version of the schedules if `version` is not 0."""
        process = self.processes[which]
        if is_read or not process.known:
            self.read(which)
        plans = [
            self.plan(process.known[name], is_early=is_early, at_least_once=at_least_once)
            for name in planned
            if name in process.crons
        ]
        if version:
            plans = [self.another(plan, version) for plan in plans]
        holding = self.claims[-3:] if holds else []
        poll = Poll(self.take(which, capacity)._replace(resting=rests), plans, holding, force)
        if polled := self.do(process.both.poll(poll)):
            self.claims += polled.claims

    @rule(which=PROCESSES, seconds=st.sampled_from([0, 0, 1, 4, 31]), at_least_once=st.booleans())
    def poll_all(self, which: int, seconds: int, at_least_once: bool) -> None:  # noqa: FBT001
        """Poll as a process does that has nothing else to do."""
        self.pass_time(seconds)
        self.poll(which, ("tick", "tock"), True, True, False, at_least_once, Capacity(9, 9, 9), (), False)

    def take(self, which: int, capacity: Capacity) -> Take:
        """Return what a process may claim."""
        process = self.processes[which]
        return Take(process.tasks, process.crons, capacity, f"host:{which}", LEASE)

    def plan(self, state: CronState, *, is_early: bool, at_least_once: bool) -> Plan:
        """Return a plan for the slots above the mark: `tick` coalesces and `tock` does not."""
        slots = self.slots(state, up_to=self.now + EVERY * SECOND * is_early)
        skips = []
        if state.name == "tick" and len(slots) > 1:
            last = slots[-2]
            skips = [Skip("tick", last, Reason.NO_TRAFFIC, len(slots) - 1, slots[0])]
            slots = slots[-1:]
        return Plan(
            name=state.name,
            mark=state.mark,
            since=state.since or NOON - 6 * SECOND,
            slots=slots[:4],
            skips=skips,
            next=self.slots(state, up_to=self.now + 3 * EVERY * SECOND)[-1],
            coalesce=state.name == "tick",
            at_least_once=at_least_once,
            schedule=state.schedule or state.name,
        )

    def another(self, plan: Plan, version: int) -> Plan:
        """Return a plan by which a schedule takes over, or the same one counts from now."""
        schedule = f"{plan.name} {version}"
        replaces = None if plan.schedule == schedule else plan.schedule
        return plan._replace(schedule=schedule, replaces=replaces, counts_from=self.now, slots=())

    def slots(self, state: CronState, up_to: datetime) -> list[datetime]:
        """Return the slots of a cron above its mark up to a moment, and at least the one after the mark."""
        phase = NOON + SECOND * (state.name == "tock")
        floor = state.floor or NOON - 6 * SECOND
        number = (floor - phase) // (EVERY * SECOND) + 1
        slots = [phase + number * EVERY * SECOND]
        while slots[-1] + EVERY * SECOND <= up_to:
            slots.append(slots[-1] + EVERY * SECOND)
        return slots

    # Attempts

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        which=PROCESSES,
        outcome=st.sampled_from([State.SUCCEEDED, State.FAILED, State.FAILED, State.TIMED_OUT, State.INTERRUPTED]),
        due=st.none() | SECONDS,
        counts=st.booleans(),
        goes_on=st.booleans(),
        unfit=st.booleans(),
        takes=st.sampled_from([None, Capacity(0, 0, 0), Capacity(2, 1, 2)]),
    )
    def finish(  # noqa: PLR0917
        self,
        data: st.DataObject,
        which: int,
        outcome: State,
        due: int | None,
        counts: bool,  # noqa: FBT001
        goes_on: bool,  # noqa: FBT001
        unfit: bool,  # noqa: FBT001
        takes: Capacity | None,
    ) -> None:
        """Record how attempts ended, also those that are long lost or were recorded before."""
        claims = data.draw(st.lists(st.sampled_from(self.claims[-8:]), min_size=1, max_size=2))
        when = None if due is None else self.now + due * SECOND
        ends = [
            End(claim, outcome, when, counts, error="E: boom\n", reason="why", goes_on=goes_on, unfit=unfit)
            for claim in claims
        ]
        take = takes and self.take(which, takes)
        self.claims += self.do(self.processes[which].both.finish(ends, take)).claims

    def living(self) -> list[Claim]:
        """Return the claims that hold a run that is running."""
        both = self.processes[0].both
        return [claim for claim in self.claims if both.holds(claim)]

    @precondition(lambda self: self.living())
    @rule(data=st.data(), which=PROCESSES, due=st.sampled_from([None, 0, 0, 5]), goes_on=st.booleans())
    def fail(self, data: st.DataObject, which: int, due: int | None, goes_on: bool) -> None:  # noqa: FBT001
        """Record that a run failed, mostly to be retried."""
        claim = data.draw(st.sampled_from(self.living()))
        when = None if due is None else self.now + due * SECOND
        self.do(self.processes[which].both.finish([End(claim, State.FAILED, when, goes_on=goes_on)], None))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), which=PROCESSES, lease=st.sampled_from([3, LEASE, 100]))
    def renew(self, data: st.DataObject, which: int, lease: float) -> None:
        """Renew leases."""
        claims = data.draw(st.lists(st.sampled_from(self.claims[-8:]), max_size=3, unique=True))
        self.do(self.processes[which].both.renew(claims, lease))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), which=PROCESSES)
    def release(self, data: st.DataObject, which: int) -> None:
        """Release leases, also those that are not kept."""
        claims = data.draw(st.lists(st.sampled_from(self.claims[-8:]), min_size=1, max_size=3, unique=True))
        self.do(self.processes[which].both.release(claims))

    # Jobs and people

    @rule(
        which=PROCESSES,
        jobs=st.lists(
            st.tuples(
                st.sampled_from(["mail", "bill"]),
                st.sampled_from(KEYS),
                st.sampled_from(Conflict),
                st.sampled_from([0, 0, 1, 5]),
                st.integers(0, 2),
                st.sampled_from([None, None, 0, 3]),
            ),
            max_size=3,
        ),
    )
    def defer(self, which: int, jobs: list[tuple[str, str | None, Conflict, int, int, int | None]]) -> None:
        """Defer jobs."""
        new = []
        for task, key, on_conflict, delay, priority, expires in jobs:
            self.jobs.append(f"job-{len(self.jobs)}")
            last = None if expires is None else self.now + expires * SECOND
            due = self.now + delay * SECOND
            new.append(NewJob(self.jobs[-1], task, "[]", due, key, on_conflict, priority, last))
        self.do(self.processes[which].both.defer(new))

    @rule(which=PROCESSES, task=st.sampled_from(["mail", "bill"]))
    def defer_one(self, which: int, task: str) -> None:
        """Defer a job whose key others have too."""
        self.defer(which, [(task, "a", Conflict.REPLACE, 0, 0, None)])

    @rule(data=st.data(), which=PROCESSES, task=st.sampled_from(["mail", "bill"]), key=st.sampled_from(["a", "b"]))
    def cancel(self, data: st.DataObject, which: int, task: str, key: str) -> None:
        """Cancel a run, or the jobs with a key."""
        both, runs = self.processes[which].both, [*self.jobs, *(claim.run_id for claim in self.claims)]
        run_id = data.draw(st.none() | st.sampled_from(runs) if runs else st.none())
        if run_id:
            self.do(both.cancel(run_id=run_id))
        else:
            self.do(both.cancel(task=task, key=key))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), which=PROCESSES)
    def retry(self, data: st.DataObject, which: int) -> None:
        """Retry a run, also one that can't be."""
        claim = data.draw(st.sampled_from(self.claims[-8:]))
        self.do(self.processes[which].both.retry(claim.run_id))

    @rule(which=PROCESSES, name=st.sampled_from(["tick", "tock"]), most=st.integers(1, 2))
    def start(self, which: int, name: str, most: int) -> None:
        """Start a manual run."""
        claim = self.do(self.processes[which].both.start(Manual(name, f"host:{which}", LEASE, most)))
        self.claims += [claim] if isinstance(claim, Claim) else []

    @rule(which=PROCESSES, name=st.sampled_from(["tick", "tock"]), paused=st.booleans())
    def pause(self, which: int, name: str, paused: bool) -> None:  # noqa: FBT001
        """Pause a cron, or no longer."""
        self.do(self.processes[which].both.pause(name, paused=paused))

    @rule(which=PROCESSES, name=st.sampled_from(["tick", "tock"]), by=st.sampled_from([-10, 0, 10]))
    def reset(self, which: int, name: str, by: int) -> None:
        """Set a mark."""
        self.do(self.processes[which].both.reset(name, self.now + by * SECOND))

    @rule(which=PROCESSES, age=st.sampled_from([0, 10]))
    def purge(self, which: int, age: int) -> None:
        """Purge jobs."""
        keep = {State.SUCCEEDED: age * SECOND, State.FAILED: 2 * age * SECOND, State.REPLACED: age * SECOND}
        self.do(self.processes[which].both.purge(keep))


def run(new_store: Callable[[], SharedStore], *, examples: int, steps: int = 40, is_shrunk: bool = True) -> None:
    """Run the machine on stores; what is found is made short, which takes some minutes, if `is_shrunk`."""
    machine = type("Of", (Machine,), {"new_store": staticmethod(new_store)})
    limits = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=not is_shrunk,  # whether a mutant is found is no matter of chance
        phases=[Phase.generate, Phase.shrink] if is_shrunk else [Phase.generate],
    )
    run_state_machine_as_test(machine, settings=limits)
