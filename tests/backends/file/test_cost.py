"""What the queue in a folder costs, counted in steps of SQLite's machine: the same, however many jobs wait."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backends.desk import Desk
from backends.worlds import NOON, World, file
from pseudocron.backends.file import File
from pseudocron.backends.job_rules import BATCH
from pseudocron.backends.jobs import JobEnd, JobState, NewJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECOND = timedelta(seconds=1)
FEW, MANY = 300, 5000
STEPS = 20
"""As many steps of the machine as one count stands for."""


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[tuple[Desk, Desk]]:
    with asyncio.Runner() as runner:
        worlds = [World(make=file(tmp_path / name), runner=runner) for name in ("few", "many")]
        for world in worlds:
            world.another()
        yield Desk(worlds[0]), Desk(worlds[1])
        for world in worlds:
            world.do(world.backend.close())


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
    desk.defer(task="bill")
    assert len(desk.claims(bill=1)) == 1
    desk.defer_all(*(of(desk, n) for n in range(size)))
    desk.defer_all(*(desk.new(due=NOON - SECOND) for _ in range(100)))


def steps(desk: Desk, work: Callable[[Desk], object]) -> int:
    assert isinstance(desk.world.backend, File)
    db, counted = desk.world.backend._store._db, list[int]()
    assert db is not None
    db.set_progress_handler(lambda: counted.append(1), STEPS)
    work(desk)
    db.set_progress_handler(None, 0)
    return len(counted) * STEPS


def claim(desk: Desk) -> None:
    assert len(desk.claims(100, mail=None, bill=1)) == 100


def look_ahead(desk: Desk) -> None:
    assert desk.next("mail", "bill") is not None


def reap(desk: Desk) -> None:
    assert len(desk.lose()) == 101


def cancel(desk: Desk) -> None:
    assert not desk.cancel(task="mail", key="none")


def purge(desk: Desk) -> None:
    assert not desk.world.do(desk.world.backend.purge({JobState.SUCCEEDED: SECOND}))


@pytest.mark.parametrize("of", CROWDS)
def test_a_verb_costs_the_same_with_few_jobs_and_with_many(desks: tuple[Desk, Desk], of: Callable[..., NewJob]) -> None:
    few, many = desks
    crowd(few, of, FEW)
    crowd(many, of, MANY)
    for verb in (look_ahead, cancel, purge, claim, reap):
        assert steps(many, verb) <= 1.5 * steps(few, verb) + 200, verb.__name__


def test_a_claim_amid_a_crowd_that_comes_due_costs_no_more_than_its_batch(desks: tuple[Desk, Desk]) -> None:
    few, many = desks
    for desk, size in zip(desks, (1500, MANY), strict=True):
        desk.defer_all(*(desk.new(due=NOON + SECOND, priority=n % 13) for n in range(size)))
        desk.world.forward(2)
    assert steps(many, claim) <= 1.2 * steps(few, claim)


def list_what_is_rare(desk: Desk) -> None:
    assert desk.listed(states=[JobState.FAILED], limit=5) == ["j1"]
    assert len(desk.listed(states=[JobState.RUNNING, JobState.FAILED], limit=2)) == 2
    assert len(desk.listed(states=[JobState.PENDING], limit=5)) == 5
    assert len(desk.listed(limit=5)) == 5


@pytest.mark.parametrize("order", [1, -1])
def test_a_list_of_a_rare_state_costs_no_more_than_its_page(desks: tuple[Desk, Desk], order: int) -> None:
    few, many = desks
    for desk, size in zip(desks, (FEW, MANY), strict=True):
        desk.defer(due=NOON - 2 * SECOND)
        desk.end(desk.claim(), JobState.FAILED)
        for crowd in (due, scheduled)[::order]:
            desk.defer_all(*(crowd(desk, n) for n in range(size)))
        ends = [(claim, JobEnd(state=JobState.SUCCEEDED)) for claim in desk.claims(size)]
        desk.end_all(*ends[:-1])
    assert steps(many, list_what_is_rare) <= 1.2 * steps(few, list_what_is_rare) + 200


def test_an_end_costs_the_same_with_few_jobs_and_with_many(desks: tuple[Desk, Desk]) -> None:
    few, many = desks
    for desk, size in zip(desks, (FEW, MANY), strict=True):
        desk.defer_all(*(due(desk, n) for n in range(size)))

    def end(desk: Desk) -> None:
        ended = desk.end_all(*((claim, JobEnd(state=JobState.SUCCEEDED)) for claim in claims[desk.world.make]))
        assert set(ended) == {JobState.SUCCEEDED}

    claims = {desk.world.make: desk.claims(100) for desk in desks}
    assert steps(many, end) <= 1.2 * steps(few, end) + 200


def test_a_look_for_lost_runs_costs_no_more_with_a_long_history(desks: tuple[Desk, Desk]) -> None:
    few, many = desks
    for desk, names in zip(desks, (1, 50), strict=True):
        for name in range(names):
            for _ in range(3):
                desk.world.run(f"cron-{name}")

    def reap(desk: Desk) -> None:
        assert not desk.world.do(desk.world.backend.reap()).lost

    assert steps(many, reap) <= steps(few, reap) + STEPS


def test_forgetting_costs_no_more_than_its_limit(desks: tuple[Desk, Desk]) -> None:
    few, many = desks
    for desk, size in zip(desks, (FEW, 1500), strict=True):
        desk.defer_all(*(desk.new(expires=NOON - SECOND) for _ in range(size)))
        for _ in range(1 + size // BATCH):
            desk.claims()
        assert len(desk.listed(states=[JobState.EXPIRED], limit=MANY)) == size
        desk.world.forward(2)

    def forget(desk: Desk) -> None:
        assert desk.world.do(desk.world.backend.purge({JobState.EXPIRED: SECOND}, limit=100)) == 100

    assert steps(many, forget) <= 1.5 * steps(few, forget)


def test_when_the_next_is_due_costs_the_same_with_100_000_jobs(desks: tuple[Desk, Desk]) -> None:
    """One of them is held back by each of ten leases."""
    desk, _ = desks
    keys = [f"k{n}" for n in range(10)]
    desk.defer_all(*(desk.new(key) for key in keys))
    assert len(desk.claims()) == 10
    desk.defer_all(*(desk.new(key, priority=99) for key in keys))
    for of in (due, scheduled):
        desk.defer_all(*(of(desk, n) for n in range(50_000)))
    assert desk.claims(0) == []
    assert steps(desk, look_ahead) < 2000
