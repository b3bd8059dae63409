"""What hooks are told of runs, jobs and skips, on each store."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from support import until

from pseudocron.backends.model import LOST_AT_MOST, Kind, Reason, State
from pseudocron.backends.questions import Refusal
from pseudocron.crons import Crons
from pseudocron.errors import ConfigError
from pseudocron.hooks import Event, EventKind
from pseudocron.jobs.tasks import Retry
from pseudocron.report import history_of

if TYPE_CHECKING:
    from worker.world import World

    from hooks.conftest import Play


def told_of(crons: Crons) -> list[Event]:
    """All that happens, as it is told."""
    events: list[Event] = []
    for kind in EventKind:
        crons.on(kind)(events.append)
    return events


def kinds(events: list[Event]) -> list[str]:
    return [str(event.kind) for event in events]


def test_a_run_that_succeeds_is_told_when_it_starts_and_when_it_has_ended(play: Play) -> None:
    crons = Crons()

    @crons.every(60)
    async def fine() -> None:
        pass

    events = told_of(crons)

    async def story(world: World) -> None:
        world.clock.forward(7)
        await world.poll_all()
        (line,) = await history_of(world.backend, limit=99)
        started, succeeded = events
        assert (started.kind, succeeded.kind) == ("started", "succeeded")
        same = ("name", "slot", "run_id", "fence", "attempt", "worker", "started")
        for event in events:
            assert [getattr(event, name) for name in same] == [getattr(line, name) for name in same]
            assert event.lateness == 7
            assert not event.is_job
        assert (started.duration, started.outcome) == (None, None)
        assert (succeeded.duration, succeeded.outcome, succeeded.error) == (0, State.SUCCEEDED, None)

    play(crons, story)


def test_a_run_that_fails_is_told_with_each_further_try_and_its_traceback(play: Play) -> None:
    crons = Crons()

    @crons.every(60, retries=1)
    def broken() -> None:
        raise ValueError("oh no")

    events = told_of(crons)

    async def story(world: World) -> None:
        await world.poll_all()
        world.clock.forward(0.5)
        await world.poll_all()
        assert kinds(events) == ["started", "retrying", "started", "failed"]
        assert [event.attempt for event in events] == [1, 1, 2, 2]
        assert all((event.error or "").endswith("ValueError: oh no\n") for event in events[1::2])
        assert len({(event.run_id, event.slot) for event in events}) == 1
        assert [event.lateness for event in events] == [0, 0, 0, 0], "from when each attempt was due"

    play(crons, story)


def test_a_job_is_told_from_try_to_try_and_when_it_is_given_up(play: Play) -> None:
    crons = Crons()

    @crons.task(retries=1)
    def broken(who: str) -> None:
        raise Retry(after=5)

    events = told_of(crons)

    async def story(world: World) -> None:
        job_id = await world.defer("broken", who="me")
        await world.poll_all()
        world.clock.forward(5)
        await world.poll_all()
        assert kinds(events) == ["started", "retrying", "started", "failed"]
        assert {(event.run_id, event.name, event.is_job) for event in events} == {(job_id, "broken", True)}
        assert [event.attempt for event in events] == [1, 1, 2, 2]
        assert (events[-1].outcome, events[-1].reason) == (State.FAILED, "failed")

    play(crons, story)


def test_a_running_job_that_is_cancelled_and_fails_emits_both_events(play: Play) -> None:
    crons = Crons()
    events = told_of(crons)

    async def story(world: World) -> None:
        @crons.task
        async def broken() -> None:
            await world.backend.cancel(run_id=job_id)
            raise ValueError

        job_id = await world.defer("broken")
        await world.poll_all()
        assert [(event.kind, event.outcome) for event in events if event.is_job][1:] == [("failed", State.CANCELLED)]

    @crons.every(86400, enabled=False)
    def beside() -> None:
        pass

    play(crons, story)


def test_slots_that_are_skipped_are_told_with_their_number_and_reason(play: Play) -> None:
    crons = Crons()

    @crons.every(60)
    def fine() -> None:
        pass

    events = told_of(crons)

    async def story(world: World) -> None:
        await world.poll_all()
        events.clear()
        world.clock.forward(300)
        await world.poll_all()
        skipped = [event for event in events if event.kind is EventKind.SKIPPED]
        assert [(event.reason, event.slots, event.outcome) for event in skipped] == [(Reason.NO_TRAFFIC, 4, None)]
        assert (skipped[0].run_id, skipped[0].lateness, skipped[0].slot) == (None, None, world.clock.now - _MINUTE)
        await world.backend.pause("fine", True)
        world.clock.forward(60)
        await world.poll_all()
        assert (events[-1].kind, events[-1].reason) == ("skipped", Reason.PAUSED)

    play(crons, story)


_MINUTE = timedelta(seconds=60)


def test_a_slot_that_overlaps_is_told_and_a_refusal_by_hand_is_not(play: Play) -> None:
    crons = Crons()

    @crons.every(60)
    def fine() -> None:
        pass

    events = told_of(crons)

    async def story(world: World) -> None:
        await world.claimed_elsewhere("other:1", lease=1000)
        assert await world.runs.start_by_hand(crons, "fine") is Refusal.OVERLAP
        world.clock.forward(60)
        await world.poll_all()
        assert [(event.kind, event.reason) for event in events] == [("skipped", Reason.OVERLAP)]

    play(crons, story)


def test_a_lost_run_and_a_lost_job_are_told_by_who_finds_them(play: Play) -> None:
    crons = Crons()

    @crons.every(3600)
    def fine() -> None:
        pass

    @crons.task
    def work() -> None:
        pass

    events = told_of(crons)

    async def story(world: World) -> None:
        await world.claimed_elsewhere("gone:1")
        for _ in range(3):
            await world.defer("work")
            await world.claimed_elsewhere("gone:2")
            world.clock.forward(31)
            await world.poll_all()
            events_of_jobs = [event for event in events if event.is_job and event.kind is EventKind.LOST]
            assert events_of_jobs[-1].worker == "gone:2"
        lost = next(event for event in events if not event.is_job)
        assert (lost.kind, lost.outcome, lost.worker, lost.name) == ("lost", State.LOST, "gone:1", "fine")

    play(crons, story)


def test_a_job_that_was_lost_too_often_is_told_as_lost_and_as_failed(play: Play) -> None:
    crons = Crons()

    @crons.task
    def deadly() -> None:
        pass

    events = told_of(crons)

    async def story(world: World) -> None:
        await world.defer("deadly")
        for _ in range(LOST_AT_MOST):
            (claim,) = await world.claimed_elsewhere("gone:2")
            assert claim.kind is Kind.JOB
            world.clock.forward(31)
        await world.poll_all()
        assert [(event.kind, event.reason) for event in events] == [
            ("lost", "lost 3 times"),
            ("failed", "lost 3 times"),
        ]

    play(crons, story)


def test_a_drain_is_told_as_a_failure_of_a_run_and_as_a_further_try_of_a_job(play: Play) -> None:
    crons = Crons()
    begun: list[int] = []

    async def endless() -> None:
        begun.append(1)
        await asyncio.Event().wait()

    crons.add("run", endless, 60)
    crons.task("job")(endless)
    events = told_of(crons)

    async def story(world: World) -> None:
        await world.defer("job")
        await world.poll()
        await until(lambda: len(begun) == 2)
        await world.runs.drain(0)
        ends = {event.name: (event.kind, event.outcome) for event in events}
        assert ends == {"run": ("failed", State.INTERRUPTED), "job": ("retrying", State.INTERRUPTED)}

    play(crons, story)


def test_an_event_never_changes() -> None:
    assert Event.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert all(field.name in Event.__slots__ for field in dataclasses.fields(Event))


@pytest.mark.parametrize(
    ("word", "mend"),
    [("faild", "did you mean 'failed'?"), ("begun", "must be one of: started, succeeded"), (7, "must be one of")],
)
def test_an_event_that_there_is_not_is_refused_where_it_is_named(word: str, mend: str) -> None:
    with pytest.raises(ConfigError, match=mend):
        Crons().on(word)(print)


def _yields(_event: Event) -> object:
    yield


@pytest.mark.parametrize("hook", ["shop:tell", None, _yields])
def test_a_hook_that_can_not_be_called_is_refused(hook: Callable[[Event], object]) -> None:
    with pytest.raises(ConfigError, match=r"must be a function|is a generator"):
        Crons().on("failed")(hook)
