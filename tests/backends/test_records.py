"""Contract of a backend: the gate, and what is recorded and kept."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backends.worlds import KEEP, LEASE, NOON
from pseudocron.backends.records import Outcome, Reason, Result, Skip

if TYPE_CHECKING:
    from backends.worlds import World

SECOND = timedelta(seconds=1)


def test_a_gate_never_entered_is_stale(world: World) -> None:
    assert world.do(world.backend.fresh_for(60)) == 0


def test_a_gate_is_fresh_for_max_age_after_it_was_entered_for_every_process(world: World) -> None:
    assert world.do(world.backend.enter(60))
    world.forward(15)
    assert world.do(world.backends[1].fresh_for(60)) == pytest.approx(45)
    assert not world.do(world.backends[1].enter(60))
    world.forward(45)
    assert world.do(world.backends[1].fresh_for(60)) == 0
    assert world.do(world.backends[1].enter(60))


def test_a_gate_dated_in_the_future_is_stale(world: World) -> None:
    world.do(world.backend.enter(60))
    world.forward(-1)
    assert world.do(world.backend.fresh_for(60)) == 0
    assert world.do(world.backend.enter(60))
    assert world.do(world.backend.fresh_for(60)) == pytest.approx(60)


def test_of_fifty_that_find_the_gate_stale_at_once_one_enters(world: World) -> None:
    async def rush() -> list[bool]:
        return await asyncio.gather(*(world.backends[n % 2].enter(60) for n in range(50)))

    assert sum(world.do(rush())) == 1


def test_a_lowered_gate_turns_stale_when_the_next_slot_is_due(world: World) -> None:
    world.do(world.backend.enter(60))
    world.do(world.backend.lower(NOON + 10 * SECOND, 60))
    assert world.do(world.backend.fresh_for(60)) == pytest.approx(10)
    world.forward(10)
    assert world.do(world.backend.enter(60))


def test_a_gate_is_never_lowered_to_a_later_instant(world: World) -> None:
    world.do(world.backend.enter(60))
    world.do(world.backend.lower(NOON + 10 * SECOND, 60))
    world.do(world.backend.lower(NOON + 20 * SECOND, 60))
    world.do(world.backend.lower(NOON + 90 * SECOND, 60))
    assert world.do(world.backend.fresh_for(60)) == pytest.approx(10)


def test_lowering_a_stale_gate_does_not_make_it_fresh(world: World) -> None:
    world.do(world.backend.lower(NOON + 10 * SECOND, 60))
    assert world.do(world.backend.fresh_for(60)) == 0
    world.do(world.backend.enter(60))
    world.forward(-1)
    world.do(world.backend.lower(NOON + 10 * SECOND, 60))
    assert world.do(world.backend.fresh_for(60)) == 0


def test_what_is_known_of_a_cron_counts_its_claims_failures_and_missed_slots(world: World) -> None:
    for outcome in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.INTERRUPTED):
        world.forward(1)
        world.finish(world.claim(), outcome)
    world.claim(world.forward(1))
    world.ask(world.forward(1))
    world.skip(world.forward(1), slots=5)
    world.forward(LEASE)
    world.do(world.backend.reap())
    state = world.state()
    assert (state.runs, state.failures, state.missed, state.running) == (5, 4, 6, 0)


def test_the_last_run_is_the_latest_that_was_not_a_skip(world: World) -> None:
    assert world.state().last is None
    claim = world.run()
    world.skip(world.forward(1))
    last = world.state().last
    assert last is not None
    assert (last.run_id, last.outcome) == (claim.run_id, Outcome.SUCCEEDED)


def test_only_the_crons_asked_for_are_told(world: World) -> None:
    world.claim(name="mail")
    world.claim(name="bill")
    assert set(world.do(world.backend.states({"bill": NOON, "new": NOON}))) == {"bill", "new"}


def test_a_run_is_recorded_from_its_start_to_its_end(world: World) -> None:
    claim = world.claim(NOON - SECOND)
    (going,) = world.lines()
    assert (going.run_id, going.worker, going.started) == (claim.run_id, "host:1", NOON)
    assert (going.outcome, going.ended, going.reason) == (None, None, None)
    world.forward(5)
    world.do(world.backend.finish(claim, Result(outcome=Outcome.FAILED, error="Trace\0\ud800", output="spam")))
    (ended,) = world.lines()
    assert (ended.outcome, ended.ended, ended.output) == (Outcome.FAILED, NOON + 5 * SECOND, "spam")
    assert (ended.slot, ended.fence, ended.attempt) == (NOON - SECOND, claim.fence, 1)
    assert ended.error == "Trace\0\\ud800"


def test_the_last_64_kib_of_a_text_are_kept(world: World) -> None:
    claim = world.claim()
    result = Result(outcome=Outcome.FAILED, error="é" * 65536 + "end", output="x" * 65537)
    world.do(world.backend.finish(claim, result))
    (line,) = world.lines()
    assert line.output == "x" * 65536
    assert line.error is not None
    assert line.error.endswith("éend")
    assert 65535 <= len(line.error.encode()) <= 65536


def test_a_skip_is_recorded_with_its_reason_and_takes_its_slots(world: World) -> None:
    world.skip(NOON, Reason.NO_TRAFFIC, slots=12)
    (line,) = world.lines()
    assert (line.outcome, line.reason, line.slots) == (Outcome.SKIPPED, Reason.NO_TRAFFIC, 12)
    assert (line.slot, line.started, line.ended) == (NOON, NOON, NOON)
    assert world.state().mark == NOON


def test_skips_of_the_same_reason_in_a_row_are_one_line(world: World) -> None:
    world.skip(NOON, slots=2)
    world.skip(world.forward(1), slots=3)
    (line,) = world.lines()
    assert (line.slots, line.slot) == (5, NOON + SECOND)
    assert (line.started, line.ended) == (NOON, NOON + SECOND)


def test_overlaps_in_a_row_are_one_line(world: World) -> None:
    world.claim()
    for _ in range(3):
        world.ask(world.forward(1))
    assert [(line.reason, line.slots) for line in world.lines()] == [(Reason.OVERLAP, 3), (None, 1)]


def test_a_skip_of_another_reason_or_behind_a_run_is_a_line_of_its_own(world: World) -> None:
    world.skip(world.forward(1), Reason.MISFIRE)
    world.skip(world.forward(1), Reason.DISABLED)
    world.run()
    world.skip(world.forward(1), Reason.DISABLED)
    reasons = [line.reason for line in world.lines()]
    assert reasons == [Reason.DISABLED, None, Reason.DISABLED, Reason.MISFIRE]


def test_a_skip_that_is_not_above_the_mark_is_not_recorded_again(world: World) -> None:
    world.skip(NOON)
    world.skip(NOON)
    world.skip(NOON - SECOND)
    assert [line.slots for line in world.lines()] == [1]
    assert world.state().missed == 1


def test_skips_of_several_crons_are_recorded_together(world: World) -> None:
    skips = [Skip(name=name, slot=NOON, reason=Reason.MISFIRE) for name in ("mail", "bill", "mail")]
    world.do(world.backend.skip(skips))
    assert [line.name for line in world.lines(None)] == ["bill", "mail"]


def test_the_history_has_the_newest_first_and_as_many_as_asked_for(world: World) -> None:
    claims = [world.run("mail"), world.run("bill"), world.run("mail")]
    newest = [claim.run_id for claim in reversed(claims)]
    assert [line.run_id for line in world.lines(None)] == newest
    assert [line.run_id for line in world.do(world.backend.history(limit=2))] == newest[:2]
    assert [line.run_id for line in world.lines("mail")] == [newest[0], newest[2]]
    assert world.lines("gone") == []


def test_the_last_runs_and_the_last_skips_are_kept(world: World) -> None:
    for _ in range(KEEP + 2):
        world.run()
        world.skip(world.forward(1))
    lines = world.lines()
    assert [line.reason for line in lines] == [Reason.MISFIRE, None] * KEEP
    assert lines[0].slot == world.now
    assert (world.state().runs, world.state().missed) == (KEEP + 2, KEEP + 2)


def test_the_history_of_a_cron_that_left_is_kept(world: World) -> None:
    claim = world.run("gone")
    for _ in range(KEEP + 1):
        world.run("mail")
    assert [line.run_id for line in world.lines("gone")] == [claim.run_id]


def test_what_still_runs_is_kept_besides_until_it_has_ended(world: World) -> None:
    world.forward(1)
    going = world.claim()
    for _ in range(KEEP + 1):
        world.finish(world.claim(world.forward(1), max_instances=2))
    assert len(world.lines()) == KEEP + 1
    assert world.lines()[-1].run_id == going.run_id
    world.finish(going, keep_lease=True)
    assert len(world.lines()) == KEEP + 1
    world.do(world.backend.release(going))
    assert len(world.lines()) == KEEP


def test_what_waits_to_be_recovered_is_kept_besides_until_it_is(world: World) -> None:
    orphan = world.claim(recover=True)
    world.finish(orphan, Outcome.INTERRUPTED)
    for _ in range(KEEP + 1):
        world.run()
    assert world.lines()[-1].run_id == orphan.run_id
    world.finish(world.claim(NOON, recovers=orphan.run_id))
    assert orphan.run_id not in {line.run_id for line in world.lines()}


def test_a_kept_lease_that_is_reaped_may_be_forgotten(world: World) -> None:
    world.finish(world.claim(), Outcome.TIMED_OUT, keep_lease=True)
    for _ in range(KEEP):
        world.finish(world.claim(world.forward(1), max_instances=2))
    world.forward(LEASE)
    world.do(world.backend.reap())
    assert len(world.lines()) == KEEP


def test_opening_twice_and_closing_twice_does_nothing(world: World) -> None:
    world.do(world.backend.open())
    world.do(world.backend.close())
    world.do(world.backend.close())


def test_a_backend_opens_again_on_another_loop(world: World) -> None:
    world.run()
    world.do(world.backend.close())
    asyncio.run(world.backend.open())
    assert len(asyncio.run(world.backend.history())) == 1


def test_what_one_process_stores_another_reads(world: World) -> None:
    claim = world.claim()
    result = Result(outcome=Outcome.SUCCEEDED)
    assert world.do(world.backends[1].finish(claim, result))
    assert world.lines()[0].outcome is Outcome.SUCCEEDED
