"""Contract of a backend: what is told of a line of the history besides its reason."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backends.worlds import KEEP, NOON
from pseudocron.backends.records import Blocker, Outcome, Reason, Refusal, Skip, Waited

if TYPE_CHECKING:
    from backends.worlds import World

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def test_what_a_slot_waited_for_is_recorded_with_its_run_and_stays_when_it_has_ended(world: World) -> None:
    waited = Waited(request=1.5, gate=0.25, place=3600.000001)
    claim = world.claim(waited=waited)
    assert world.lines()[0].waited == waited
    world.finish(claim)
    (line,) = world.do(world.backend.timelines(["mail"]))["mail"]
    assert line.waited == waited
    last = world.state().last
    assert last is not None
    assert last.waited == waited


def test_what_nobody_measured_is_not_told(world: World) -> None:
    world.finish(world.claim(recover=True), Outcome.INTERRUPTED)
    (line,) = world.lines()
    assert (line.waited, line.first, line.since, line.blockers) == (None, None, None, ())


def test_an_overlap_names_the_living_runs_that_were_in_its_way_the_oldest_first(world: World) -> None:
    ended = world.claim(world.forward(1), max_instances=3)
    living = [world.claim(world.forward(1), max_instances=3) for _ in range(2)]
    others = world.claim(name="bill")
    world.finish(ended)
    assert world.ask(world.forward(1), max_instances=2) is Refusal.OVERLAP
    skip = world.lines()[0]
    assert skip.blockers == tuple(Blocker(run_id=claim.run_id, worker="host:1") for claim in living)
    assert others.run_id not in {blocker.run_id for blocker in skip.blockers}


def test_overlaps_in_a_row_name_them_once(world: World) -> None:
    blocker = Blocker(run_id=world.claim().run_id, worker="host:1")
    for _ in range(3):
        world.ask(world.forward(1))
    skip = world.lines()[0]
    assert (skip.slots, skip.blockers) == (3, (blocker,))


def test_a_run_whose_lease_goes_on_after_its_timeout_is_in_the_way_too(world: World) -> None:
    lingering = world.claim()
    world.finish(lingering, Outcome.TIMED_OUT, keep_lease=True)
    world.ask(world.forward(1))
    assert [blocker.run_id for blocker in world.lines()[0].blockers] == [lingering.run_id]


def test_a_slot_of_a_paused_cron_names_nobody(world: World) -> None:
    world.claim()
    world.do(world.backend.pause("mail"))
    assert world.ask(world.forward(1)) is Refusal.PAUSED
    assert world.lines()[0].blockers == ()


@pytest.mark.parametrize("reason", [Reason.NO_TRAFFIC, Reason.BACKEND_DOWN])
def test_a_skip_tells_its_first_slot_and_since_when_nobody_looked(world: World, reason: Reason) -> None:
    first, since = NOON - 4 * MINUTE, NOON - timedelta(microseconds=271_828_183)
    skip = Skip(name="mail", slot=NOON, reason=reason, slots=5, first=first, since=since)
    world.do(world.backend.skip([skip]))
    (line,) = world.lines()
    assert (line.slot, line.first, line.since, line.slots) == (NOON, first, since, 5)


def test_a_single_skipped_slot_is_its_own_first(world: World) -> None:
    world.skip(NOON)
    assert world.lines()[0].first == NOON


def test_skips_in_a_row_reach_from_the_first_to_the_last_and_keep_the_since_of_the_first(world: World) -> None:
    for minute in range(0, 6, 2):
        slot, first = NOON + (minute + 1) * MINUTE, NOON + minute * MINUTE
        since = first - SECOND
        skip = Skip(name="mail", slot=slot, reason=Reason.NO_TRAFFIC, slots=2, first=first, since=since)
        world.do(world.backend.skip([skip]))
    (line,) = world.lines()
    assert (line.first, line.slot, line.slots) == (NOON, NOON + 5 * MINUTE, 6)
    assert line.since == NOON - SECOND


def test_what_is_told_is_forgotten_with_its_line(world: World) -> None:
    for _ in range(KEEP + 1):
        world.finish(world.claim(world.forward(1), waited=Waited(request=1)))
    assert [line.waited for line in world.lines()] == [Waited(request=1)] * KEEP
