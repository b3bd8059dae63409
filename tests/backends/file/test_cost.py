"""What the verbs cost, counted in steps of SQLite's machine: the same, however many jobs wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pseudocron.backends.file.backend import Memory
from pseudocron.backends.file.pending import EXPIRED_AT_MOST
from pseudocron.backends.model import State
from pseudocron.backends.questions import End, NewJob, Poll, Where
from pseudocron.testing.conformance.cluster import Cluster, SharedStore
from pseudocron.testing.conformance.times import LEASE, NOON, SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pseudocron.backends.questions import Claim, Polled

FEW, MANY = 300, 5000
STEPS = 20
"""As many steps of the machine as one count stands for."""


class Desk:
    """A process alone with its store; its verbs do not state the law, which would read all jobs each time."""

    def __init__(self) -> None:
        self.cluster = Cluster(SharedStore(lambda host: Memory(host=host)))
        self.process = self.cluster.process()

    @property
    def backend(self) -> Memory:
        assert isinstance(self.process.backend, Memory)
        return self.process.backend

    def new(self, **options: Any) -> NewJob:
        return NewJob(
            **{"run_id": self.cluster.new_id(), "task": "mail", "arguments": "[]", "due": self.cluster.now, **options}
        )

    def defer(self, *jobs: NewJob) -> None:
        self.backend.defer_blocking(jobs)

    def poll(self, total: int = 100, **tasks: int | None) -> Polled:
        self.process.tasks = dict(tasks or {"mail": None})
        polled = self.cluster.run(self.backend.poll(Poll(self.process.take(total), force=True)))
        assert polled
        return polled

    def claims(self, total: int = 100, **tasks: int | None) -> Sequence[Claim]:
        return self.poll(total, **tasks).claims

    def end(
        self, claims: Sequence[Claim], outcome: State = State.SUCCEEDED, *, take: int | None = None, **options: Any
    ) -> set[State]:
        taking = None if take is None else self.process.take(take)
        ends = [End(claim, outcome, **options) for claim in claims]
        states = self.cluster.run(self.backend.finish(ends, taking)).states
        return {state for state in states if state}

    def listed(self, *states: State, limit: int = 5, **where: Any) -> list[str]:
        runs = self.cluster.run(self.backend.runs(Where(states=states, **where), limit))
        return [run.run_id for run in runs]


@pytest.fixture
def desks() -> Iterator[tuple[Desk, Desk]]:
    few, many = Desk(), Desk()
    yield few, many
    few.cluster.close()
    many.cluster.close()


def steps(desk: Desk, work: Callable[[Desk], object]) -> int:
    db, counted = desk.backend._store.database.connected(), list[int]()
    db.set_progress_handler(lambda: counted.append(1), STEPS)
    work(desk)
    db.set_progress_handler(None, 0)
    return len(counted) * STEPS


def scheduled(desk: Desk, n: int) -> NewJob:
    return desk.new(due=NOON + (n + 1) * SECOND)


def due(desk: Desk, n: int) -> NewJob:
    return desk.new(due=NOON - n * 7919 % 5000 * SECOND, priority=n % 13)


def of_no_task(desk: Desk, n: int) -> NewJob:
    return desk.new(task="removed", due=NOON - SECOND, priority=n % 13)


def scheduled_of_no_task(desk: Desk, n: int) -> NewJob:
    return desk.new(task="removed", due=NOON + n * SECOND)


def of_a_task_at_its_limit(desk: Desk, n: int) -> NewJob:
    return desk.new(task="bill", due=NOON - SECOND, priority=n % 13)


CROWDS = (scheduled, due, of_no_task, scheduled_of_no_task, of_a_task_at_its_limit)


def crowd(desk: Desk, of: Callable[[Desk, int], NewJob], size: int) -> None:
    desk.defer(desk.new(task="bill"))
    assert len(desk.claims(bill=1)) == 1
    desk.defer(*(of(desk, n) for n in range(size)))
    desk.defer(*(desk.new(due=NOON - SECOND) for _ in range(100)))


def claim(desk: Desk) -> None:
    assert len(desk.claims(100, mail=None, bill=1)) == 100


def claim_nothing(desk: Desk) -> None:
    assert not desk.claims(0, mail=None, bill=1)


def lose(desk: Desk) -> None:
    desk.cluster.forward(LEASE)
    assert len(desk.poll(0, mail=None, bill=1).lost) == 101


def cancel(desk: Desk) -> None:
    assert not desk.cluster.run(desk.backend.cancel(task="mail", key="none"))


def purge(desk: Desk) -> None:
    assert not desk.cluster.run(desk.backend.purge({State.SUCCEEDED: SECOND}))


def wait(desk: Desk) -> None:
    assert desk.cluster.run(desk.backend.waiting())


def defer_one(desk: Desk) -> None:
    desk.defer(desk.new(key="k"), desk.new(key="k"), desk.new())


@pytest.mark.parametrize("of", CROWDS)
def test_a_verb_costs_the_same_with_few_jobs_and_with_many(desks: tuple[Desk, Desk], of: Callable[..., NewJob]) -> None:
    few, many = desks
    crowd(few, of, FEW)
    crowd(many, of, MANY)
    claim_nothing(few)  # what is due becomes ready, a thousand at once
    for _ in range(6):
        claim_nothing(many)
    for verb in (claim_nothing, cancel, purge, wait, defer_one, claim, lose):
        assert steps(many, verb) <= 1.5 * steps(few, verb) + 200, verb.__name__


def test_an_expired_job_costs_the_same_with_few_jobs_and_many(desks: tuple[Desk, Desk]) -> None:
    few, many = desks
    for desk, size in zip(desks, (FEW, MANY), strict=True):
        desk.defer(*(scheduled(desk, 100 + n) for n in range(size)))
        desk.defer(*(desk.new(expires=NOON + SECOND) for _ in range(100)))
        desk.cluster.forward(2)

    def expire(desk: Desk) -> None:
        assert len(desk.poll(0).dropped) == 100

    assert steps(many, expire) <= 1.2 * steps(few, expire) + 200


def test_a_claim_amid_a_crowd_that_comes_due_costs_no_more_than_its_batch(desks: tuple[Desk, Desk]) -> None:
    few, many = desks
    for desk, size in zip(desks, (1500, MANY), strict=True):
        desk.defer(*(desk.new(due=NOON + SECOND, priority=n % 13) for n in range(size)))
        desk.cluster.forward(2)
    assert steps(many, claim) <= 1.2 * steps(few, claim)


def test_an_end_that_claims_costs_the_same_with_few_jobs_and_many(desks: tuple[Desk, Desk]) -> None:
    few, many = desks
    for desk, size in zip(desks, (FEW, MANY), strict=True):
        desk.defer(*(due(desk, n) for n in range(size)))
    claims = {desk: desk.claims(100) for desk in desks}
    for desk in desks:
        for _ in range(6):
            desk.claims(0)

    def end(desk: Desk) -> None:
        assert desk.end(claims[desk][:50], take=50) == {State.SUCCEEDED}

    def fail(desk: Desk) -> None:
        assert desk.end(claims[desk][50:], State.FAILED, due=NOON, take=50) == {State.PENDING}

    for work in (end, fail):
        assert steps(many, work) <= 1.2 * steps(few, work) + 200, work.__name__
    assert len(many.listed(State.RUNNING, limit=200)) == 100


def list_what_is_rare(desk: Desk) -> None:
    assert desk.listed(State.FAILED) == ["j1"]
    assert len(desk.listed(State.RUNNING, State.FAILED, limit=2)) == 2
    assert len(desk.listed(State.PENDING)) == 5
    assert len(desk.listed()) == 5


@pytest.mark.parametrize("order", [1, -1])
def test_a_list_of_a_rare_state_costs_no_more_than_its_page(desks: tuple[Desk, Desk], order: int) -> None:
    few, many = desks
    for desk, size in zip(desks, (FEW, MANY), strict=True):
        desk.defer(desk.new(due=NOON - 2 * SECOND))
        assert desk.end(desk.claims(), State.FAILED) == {State.FAILED}
        for crowd in (due, scheduled)[::order]:
            desk.defer(*(crowd(desk, n) for n in range(size)))
        claims: list[Claim] = []
        while len(claims) < size:
            claims += desk.claims(size - len(claims))
        desk.end(claims[:-1])
    assert steps(many, list_what_is_rare) <= 1.2 * steps(few, list_what_is_rare) + 200


def test_a_poll_costs_no_more_with_a_long_history_of_crons(desks: tuple[Desk, Desk]) -> None:
    few, many = desks
    for desk, names in zip(desks, (1, 50), strict=True):
        for number in range(3 * names):
            desk.cluster.forward(1)
            name = f"cron-{number % names}"
            assert desk.end([desk.process.slot(name=name)]) == {State.SUCCEEDED}

    def poll(desk: Desk) -> None:
        assert not desk.poll(0).lost

    for desk in desks:
        desk.poll(0)
    assert steps(many, poll) <= steps(few, poll) + 50 * 2 * STEPS, "each cron is looked at, and not its history"


def test_a_purge_costs_no_more_than_its_limit(desks: tuple[Desk, Desk]) -> None:
    few, many = desks
    for desk, size in zip(desks, (FEW, 1500), strict=True):
        desk.defer(*(desk.new(expires=NOON - SECOND) for _ in range(size)))
        for _ in range(1 + size // EXPIRED_AT_MOST):
            desk.claims()
        assert len(desk.listed(State.EXPIRED, limit=MANY)) == size
        desk.cluster.forward(2)

    def forget(desk: Desk) -> None:
        assert desk.cluster.run(desk.backend.purge({State.EXPIRED: SECOND}, limit=100)) == 100

    assert steps(many, forget) <= 1.5 * steps(few, forget)


def test_a_poll_without_capacity_costs_the_same_with_100_000_jobs(desks: tuple[Desk, Desk]) -> None:
    """One of them is held back by each of ten leases."""
    desk, _ = desks
    keys = [f"k{n}" for n in range(10)]
    desk.defer(*(desk.new(key=key) for key in keys))
    assert len(desk.claims()) == 10
    desk.defer(*(desk.new(key=key, priority=99) for key in keys))
    for of in (due, scheduled):
        desk.defer(*(of(desk, n) for n in range(50_000)))
    while desk.backend._store.database.connected().execute(LATER).fetchone()[0]:
        desk.claims(0)

    def poll(desk: Desk) -> None:
        assert desk.poll(0).left

    assert steps(desk, poll) < 4000


LATER = f"SELECT count(*) FROM pending WHERE NOT ready AND due <= {NOON.timestamp() * 1_000_000:.0f}"  # noqa: S608
