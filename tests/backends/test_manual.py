"""Contract of a backend: runs by hand, outside of the schedule."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from backends.worlds import NOON
from pseudocron.backends.records import Outcome, Refusal

if TYPE_CHECKING:
    from backends.worlds import World

HOUR = timedelta(hours=1)


def test_a_run_by_hand_is_for_the_moment_of_its_claim_by_the_backends_clock(world: World) -> None:
    claims = [world.claim(slot, manual=True, max_instances=2) for slot in (NOON - HOUR, NOON + HOUR)]
    assert [(claim.slot, claim.started) for claim in claims] == [(NOON, NOON)] * 2
    assert [line.slot for line in world.lines()] == [NOON, NOON]


def test_a_run_by_hand_leaves_the_mark_where_it_is(world: World) -> None:
    world.finish(world.claim(NOON - HOUR))
    world.finish(world.claim(manual=True))
    assert world.state().mark == NOON - HOUR
    assert world.finish(world.claim(NOON - HOUR / 2))


def test_a_cron_never_seen_has_no_mark_after_a_run_by_hand(world: World) -> None:
    world.finish(world.claim(manual=True))
    world.forward(60)
    assert world.state().mark == world.now


def test_a_run_by_hand_has_a_fence_and_is_counted_and_recorded_as_any_other(world: World) -> None:
    before = world.run().fence
    claim = world.claim(manual=True)
    world.finish(claim, Outcome.FAILED)
    assert before < claim.fence < world.run().fence
    assert (world.state().runs, world.state().failures) == (3, 1)
    assert [line.outcome for line in world.lines()] == [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.SUCCEEDED]


def test_a_run_by_hand_overlaps_as_any_other_but_that_is_no_missed_slot(world: World) -> None:
    claim = world.claim()
    assert world.ask(world.forward(1), manual=True) is Refusal.OVERLAP
    assert (world.state().missed, len(world.lines()), world.state().mark) == (0, 1, NOON)
    world.finish(claim)
    world.claim(manual=True)


def test_a_slot_of_the_schedule_overlaps_with_a_run_by_hand(world: World) -> None:
    world.claim(manual=True)
    assert world.ask(world.forward(1)) is Refusal.OVERLAP


def test_a_paused_cron_may_be_run_by_hand_and_stays_paused(world: World) -> None:
    world.do(world.backend.pause("mail"))
    assert world.finish(world.claim(manual=True))
    assert world.state().paused
    assert world.ask(world.forward(1)) is Refusal.PAUSED


def test_a_run_by_hand_has_a_lease_and_is_found_lost_after_it(world: World) -> None:
    world.claim(manual=True)
    world.forward(1000)
    reaped = world.do(world.backend.reap())
    assert [run.slot for run in reaped.lost] == [NOON]
    assert reaped.orphans == []
