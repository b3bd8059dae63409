"""Contract of a backend: slots to which a clock that was set back comes a second time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from backends.worlds import NOON
from pseudocron.backends.records import Reason, Refusal

if TYPE_CHECKING:
    from backends.worlds import World

HOUR = timedelta(hours=1)


def test_it_is_recorded_below_the_mark_and_does_not_move_it(world: World) -> None:
    world.finish(world.claim(NOON))
    assert world.state().back is None
    world.forward(-3600)
    world.skip(NOON, Reason.CLOCK_BACK, slots=60)
    line, _ = world.lines()
    assert (line.reason, line.slots, line.slot) == (Reason.CLOCK_BACK, 60, NOON)
    assert (line.started, line.ended) == (NOON - HOUR, NOON - HOUR)
    state = world.state()
    assert (state.mark, state.back, state.missed) == (NOON, NOON, 60)


def test_it_never_raises_the_mark(world: World) -> None:
    world.skip(NOON - HOUR)
    world.skip(NOON, Reason.CLOCK_BACK)
    assert world.state().mark == NOON - HOUR
    world.claim(NOON)


def test_it_is_recorded_once_however_many_looks_find_it(world: World) -> None:
    world.claim(NOON)
    for _ in range(3):
        world.skip(NOON, Reason.CLOCK_BACK, slots=60)
    assert [(line.reason, line.slots) for line in world.lines()] == [(Reason.CLOCK_BACK, 60), (None, 1)]


def test_a_later_step_is_recorded_again_and_added_to_the_line_if_nothing_came_between(world: World) -> None:
    world.claim(NOON)
    world.skip(NOON, Reason.CLOCK_BACK, slots=60)
    world.skip(NOON + HOUR, Reason.CLOCK_BACK, slots=5)
    line, _ = world.lines()
    assert (line.slots, line.slot) == (65, NOON + HOUR)


def test_no_slot_that_the_clock_comes_to_a_second_time_is_claimed(world: World) -> None:
    world.finish(world.claim(NOON))
    world.forward(-3600)
    world.skip(NOON, Reason.CLOCK_BACK, slots=60)
    for minute in (1, 30, 60):
        world.now = NOON - HOUR + timedelta(minutes=minute)
        assert world.ask() is Refusal.TAKEN
    world.forward(1)
    world.claim()


def test_a_mark_set_by_hand_is_no_step_of_the_clock(world: World) -> None:
    world.do(world.backend.reset("mail", NOON + HOUR))
    state = world.state()
    assert state.mark == state.back == NOON + HOUR


def test_after_a_reset_a_step_is_recorded_again(world: World) -> None:
    world.finish(world.claim(NOON))
    world.skip(NOON, Reason.CLOCK_BACK)
    world.do(world.backend.reset("mail", NOON - HOUR))
    world.finish(world.claim(NOON))
    world.skip(NOON, Reason.CLOCK_BACK)
    assert [line.reason for line in world.lines()] == [Reason.CLOCK_BACK, None, Reason.CLOCK_BACK, None]
