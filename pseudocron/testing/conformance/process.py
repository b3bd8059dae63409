"""A process of a cluster, with short words for the verbs of its backend."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pseudocron.backends.model import CronState, Kind, Reason, Run, Skip, State
from pseudocron.backends.questions import (
    Capacity,
    Claim,
    End,
    Finished,
    Manual,
    NewJob,
    Plan,
    Poll,
    Polled,
    Refusal,
    Take,
    Where,
)
from pseudocron.testing.conformance.times import HOUR, LEASE, NOON, SECOND

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Sequence
    from datetime import datetime

    from pseudocron.backends.contract import Backend
    from pseudocron.testing.conformance.cluster import Cluster

T = TypeVar("T")


@dataclass
class Process:
    """A process with a backend. Each of its verbs states the law of the gate; see `Law`.

    Args:
        cluster: The processes that share the store.
        backend: Its backend.
        worker: What it is called.
        tasks: The tasks that it has, with their limits.
        crons: The crons that it has, with their `max_instances`.
    """

    cluster: Cluster
    backend: Backend
    worker: str
    tasks: dict[str, int | None] = field(default_factory=lambda: {"mail": None})
    crons: dict[str, int] = field(default_factory=lambda: {"tick": 1})

    def do(self, verb: Coroutine[Any, Any, T]) -> T:
        """Do a verb after which the law has no more to know than what the store returns in its lists."""
        return self.cluster.lawful(lambda: self.cluster.run(verb))

    def take(
        self,
        total: int = 10,
        *,
        slots: int | None = None,
        jobs: int | None = None,
        lease: float = LEASE,
        resting: Collection[tuple[Kind, str]] = (),
    ) -> Take:
        """Return what the process may claim."""
        capacity = Capacity(total, total if slots is None else slots, total if jobs is None else jobs)
        return Take(self.tasks, self.crons, capacity, self.worker, lease, resting)

    def plan(self, *slots: datetime, name: str = "tick", **options: Any) -> Plan:
        """Return a plan from the state of a cron as it is now. It coalesces unless it has several slots."""
        state = self.state(name)
        known: dict[str, Any] = {"mark": state.mark, "since": state.since or NOON - HOUR, "coalesce": len(slots) < 2}
        return Plan(name=name, slots=slots, **{"next": self.cluster.now + HOUR, **known, **options})

    def visit(
        self, *plans: Plan, holding: Sequence[Claim] = (), force: bool = False, total: int = 10, **take: Any
    ) -> Polled | None:
        """Poll if the gate is stale."""
        poll = Poll(self.take(total, **take), plans, holding, force)
        return self.cluster.lawful(
            lambda: self.cluster.run(self.backend.poll(poll)),
            lambda law, polled: law.polled(poll, polled, self.backend.cron_max_time),
            is_poll=True,
        )

    def poll(self, *plans: Plan, holding: Sequence[Claim] = (), total: int = 10, **take: Any) -> Polled:
        """Poll, whether the gate is stale or not."""
        polled = self.visit(*plans, holding=holding, force=True, total=total, **take)
        assert polled is not None
        return polled

    def claims(self, *plans: Plan, total: int = 10, **take: Any) -> list[str]:
        """Poll, and return the ids of what was claimed."""
        return [claim.run_id for claim in self.poll(*plans, total=total, **take).claims]

    def slot(self, slot: datetime | None = None, *, name: str = "tick", **options: Any) -> Claim:
        """Claim a slot of a cron: this moment, if none is given."""
        slot = slot or self.cluster.now
        polled = self.poll(self.plan(slot, name=name, **options))
        (claim,) = (claim for claim in polled.claims if (claim.name, claim.slot) == (name, slot))
        return claim

    def begin(self, kind: Kind, **plan: Any) -> Claim:
        """Claim a run of a kind."""
        if kind is Kind.SLOT:
            return self.slot(**plan)
        return self.job() if kind is Kind.JOB else self.start()

    def job(self, key: str | None = None, **options: Any) -> Claim:
        """Defer a job and claim it."""
        run_id = self.defer(key, **options)
        (claim,) = (claim for claim in self.poll().claims if claim.run_id == run_id)
        return claim

    def finish(self, *ends: End, take: Take | None = None) -> Finished:
        """Record how attempts ended, and claim what may be taken."""
        return self.cluster.lawful(
            lambda: self.cluster.run(self.backend.finish(ends, take)),
            lambda law, finished: law.finished(ends, take, finished),
        )

    def end(self, claim: Claim, outcome: State = State.SUCCEEDED, **options: Any) -> State | None:
        """Record how an attempt ended."""
        (state,) = self.finish(End(claim, outcome, **options)).states
        return state

    def renew(self, *claims: Claim, lease: float = LEASE) -> set[str]:
        """Renew leases; return the ids of those that are living."""
        return self.cluster.lawful(
            lambda: set(self.backend.renew(claims, lease)), lambda law, ids: law.renewed(claims, ids, lease)
        )

    def release(self, *claims: Claim) -> None:
        """End leases that were kept."""
        self.do(self.backend.release(claims))

    def new(self, key: str | None = None, *, due: float = 0, expires: float | None = None, **options: Any) -> NewJob:
        """Return a job whose times are given as seconds from now."""
        now = self.cluster.now
        made: dict[str, Any] = {
            "run_id": self.cluster.new_id(),
            "task": "mail",
            "arguments": "[]",
            "due": now + due * SECOND,
            "expires": None if expires is None else now + expires * SECOND,
        }
        return NewJob(key=key, **{**made, **options})

    def defer_all(self, *jobs: NewJob) -> list[str]:
        """Defer jobs; return the ids of those that stand for them."""
        return self.cluster.lawful(
            lambda: list(self.cluster.run(self.backend.defer(jobs))), lambda law, _: law.deferred(jobs)
        )

    def defer(self, key: str | None = None, **options: Any) -> str:
        """Defer a job; return the id of the one that stands for it."""
        (run_id,) = self.defer_all(self.new(key, **options))
        return run_id

    def ask(self, name: str = "tick", *, lease: float = LEASE, max_instances: int = 1) -> Claim | Refusal:
        """Start a manual run."""
        manual = Manual(name, self.worker, lease, max_instances)
        return self.cluster.lawful(
            lambda: self.cluster.run(self.backend.start(manual)), lambda law, answer: law.started(answer, lease)
        )

    def start(self, name: str = "tick", **options: Any) -> Claim:
        """Start a manual run that isn't refused."""
        claim = self.ask(name, **options)
        assert isinstance(claim, Claim)
        return claim

    def pause(self, name: str = "tick", *, paused: bool = True) -> None:
        """Pause a cron, or no longer."""
        self.cluster.lawful(
            lambda: self.cluster.run(self.backend.pause(name, paused)), lambda law, _: law.paused(name, paused=paused)
        )

    def reset(self, mark: datetime, name: str = "tick") -> None:
        """Set the mark of a cron."""
        self.cluster.lawful(
            lambda: self.cluster.run(self.backend.reset(name, mark)), lambda law, _: law.was_reset(name, mark)
        )

    def cancel(self, run_id: str | None = None, **named: str) -> bool:
        """Cancel one run, or the jobs of a task with a key."""
        return self.do(self.backend.cancel(run_id=run_id, **named))

    def retry(self, run_id: str) -> bool:
        """Retry a job."""
        return self.do(self.backend.retry(run_id))

    def purge(self, limit: int = 1000, **keep: float) -> int:
        """Delete jobs; `keep` gives the seconds for each state."""
        return self.do(self.backend.purge({State(state): age * SECOND for state, age in keep.items()}, limit))

    # Reading

    def stale_in(self) -> float:
        """Return the seconds until the gate turns stale."""
        return self.cluster.run(self.backend.stale_in())

    def state(self, name: str = "tick") -> CronState:
        """Return the state of a cron."""
        return self.cluster.run(self.backend.states([name])).crons[name]

    def run(self, run_id: str) -> Run:
        """Return a run that is stored."""
        run = self.cluster.run(self.backend.run(run_id))
        assert run is not None
        return run

    def state_of(self, run: Claim | str) -> State:
        """Return the state of a run."""
        return self.run(run if isinstance(run, str) else run.run_id).state

    def runs(self, *, limit: int = 50, before: str | None = None, **where: Any) -> list[str]:
        """Return the ids of runs, the last stored first."""
        return [run.run_id for run in self.cluster.run(self.backend.runs(Where(**where), limit, before))]

    def timeline(self, name: str = "tick", limit: int = 20) -> list[Run | Skip]:
        """Return the newest runs and skips of a cron."""
        return list(self.cluster.run(self.backend.timelines([name], limit)).get(name, ()))

    def skips(self, name: str = "tick") -> list[tuple[Reason, int]]:
        """Return the reasons of the newest skips of a cron and how many slots they are, newest first."""
        return [(skip.reason, skip.slots) for skip in self.timeline(name) if isinstance(skip, Skip)]

    def counts(self, at_most: int = 10_000) -> dict[State, int]:
        """Return how many jobs are in each state in which there are any."""
        counted = self.cluster.run(self.backend.counts(at_most))
        return {state: number for state, number in counted.items() if number}
