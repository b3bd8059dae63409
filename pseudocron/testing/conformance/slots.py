"""The slots of crons: who gets one, why another does not, and where the mark stands after it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.model import Blocker, Kind, Reason, Skip, State, Waited
from pseudocron.backends.questions import Claim, Refusal, Refused
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import HOUR, NOON, SECOND

if TYPE_CHECKING:
    from datetime import datetime

    from pseudocron.backends.questions import Polled
    from pseudocron.testing.conformance.process import Process

MICROSECOND = timedelta(microseconds=1)


def refusals(polled: Polled) -> list[tuple[datetime, Refusal]]:
    """Return the slots that were refused, and why."""
    return [(refused.slot, refused.why) for refused in polled.refused]


def slots(polled: Polled) -> list[tuple[str, datetime | None]]:
    """Return the crons and slots that were claimed."""
    return [(claim.name, claim.slot) for claim in polled.claims]


class SlotTests(Base):
    """Slots, marks and plans."""

    def test_a_slot_that_has_come_is_claimed(self, one: Process) -> None:
        slot = NOON - SECOND
        (claim,) = one.poll(one.plan(slot)).claims
        expected = Claim(claim.run_id, Kind.SLOT, "tick", slot, claim.fence, 1, 0, NOON, slot)
        assert claim == expected
        assert claim.fence > 0

    def test_its_run_is_stored_as_running(self, one: Process) -> None:
        waited = Waited(request=1.5, gate=0.25)
        claim = one.slot(NOON - 2 * SECOND, waited=[waited], at_least_once=True)
        run = one.run(claim.run_id)
        assert (run.kind, run.name, run.state, run.slot) == (Kind.SLOT, "tick", State.RUNNING, NOON - 2 * SECOND)
        assert (run.due, run.created, run.started, run.ended) == (run.slot, NOON, NOON, None)
        assert (run.attempts, run.failures, run.lost, run.fence) == (1, 0, 0, claim.fence)
        assert (run.worker, run.waited, run.at_least_once) == ("host:1", waited, True)
        assert (run.key, run.arguments, run.reason, run.error, run.earlier) == (None, None, None, None, ())

    def test_a_slot_has_no_run_before_it_is_claimed(self, one: Process) -> None:
        one.poll(one.plan(NOON), total=0)
        assert one.runs() == []

    def test_the_mark_grows_to_the_slot(self, one: Process) -> None:
        assert one.state().mark is None
        one.slot(NOON - 3 * MICROSECOND)
        assert one.state().mark == NOON - 3 * MICROSECOND

    def test_a_plan_from_an_older_mark_is_outdated(self, one: Process, two: Process) -> None:
        plan = two.plan(NOON)
        claim = one.slot()
        polled = two.poll(plan)
        assert (polled.claims, polled.refused) == ([], [])
        assert polled.outdated == {"tick": two.state()}
        assert two.runs() == [claim.run_id]

    def test_nothing_of_an_outdated_plan_is_done(self, one: Process, two: Process) -> None:
        skip = Skip("tick", NOON - HOUR, Reason.MISFIRE)
        plan = two.plan(NOON, skips=[skip], next=NOON + HOUR, schedule="newer")
        one.slot(NOON - SECOND, next=NOON + SECOND, schedule="mine")
        two.poll(plan)
        state = two.state()
        assert (state.mark, state.next, state.schedule) == (NOON - SECOND, NOON + SECOND, "mine")
        assert (state.missed, two.skips()) == (0, [])

    def test_a_poll_that_is_repeated_claims_nothing_twice(self, one: Process) -> None:
        plan = one.plan(NOON)
        assert len(one.poll(plan).claims) == 1
        polled = one.poll(plan)
        assert (polled.claims, list(polled.outdated)) == ([], ["tick"])

    def test_a_cron_that_is_due_and_not_planned_is_told(self, one: Process) -> None:
        one.poll(one.plan(next=NOON + SECOND))
        assert one.poll().outdated == {}
        one.cluster.forward(1)
        polled = one.poll()
        assert polled.outdated == {"tick": one.state()}
        assert polled.fresh_for == 0

    def test_a_cron_of_another_process_that_is_due_is_not_told(self, one: Process, two: Process) -> None:
        one.poll(one.plan(next=NOON + SECOND))
        two.crons = {}
        one.cluster.forward(1)
        assert two.poll().outdated == {}

    def test_an_outdated_plan_can_be_made_anew_from_the_answer(self, one: Process, two: Process) -> None:
        plan = two.plan(NOON)
        one.end(one.slot(NOON - SECOND))
        state = two.poll(plan).outdated["tick"]
        assert slots(two.poll(plan._replace(mark=state.mark))) == [("tick", NOON)]

    def test_the_other_plans_of_the_poll_are_done(self, one: Process, two: Process) -> None:
        one.crons = two.crons = {"tick": 1, "tock": 1}
        plans = [two.plan(NOON), two.plan(NOON, name="tock")]
        one.slot()
        polled = two.poll(*plans)
        assert (slots(polled), list(polled.outdated)) == ([("tock", NOON)], ["tick"])

    # Where slots are refused

    def test_a_slot_ahead_of_the_store_is_early(self, one: Process) -> None:
        slot = NOON + SECOND
        polled = one.poll(one.plan(slot))
        assert (polled.refused, polled.claims) == ([Refused("tick", slot, Refusal.EARLY)], [])
        assert (one.state().mark, one.timeline()) == (None, [])
        one.cluster.forward(1)
        assert slots(one.poll(one.plan(slot))) == [("tick", slot)]

    def test_a_slot_that_is_early_is_next(self, one: Process) -> None:
        one.poll(one.plan(NOON + SECOND, next=NOON + HOUR))
        assert one.state().next == NOON + SECOND

    def test_an_overlap_of_a_coalescing_cron_is_skipped(self, one: Process) -> None:
        claim = one.slot()
        slot = one.cluster.forward(1)
        polled = one.poll(one.plan(slot))
        blockers = (Blocker(claim.run_id, "host:1"),)
        assert polled.refused == [Refused("tick", slot, Refusal.OVERLAP, blockers)]
        newest = one.timeline()[0]
        assert newest == Skip("tick", slot, Reason.OVERLAP, 1, None, None, blockers, slot, slot, "host:1")
        assert (one.state().mark, one.state().missed) == (slot, 1)

    def test_an_overlap_without_coalescing_stays_above_the_mark(self, one: Process) -> None:
        claim = one.slot(coalesce=False)
        one.cluster.forward(2)
        late = [NOON + SECOND, NOON + 2 * SECOND]
        polled = one.poll(one.plan(*late))
        assert refusals(polled)[0] == (late[0], Refusal.OVERLAP)
        assert (one.state().mark, one.skips()) == (NOON, [])
        one.end(claim)
        assert slots(one.poll(one.plan(*late))) == [("tick", late[0])]
        assert one.state().mark == late[0]

    def test_as_many_runs_live_as_max_instances_says(self, one: Process) -> None:
        one.crons = {"tick": 3}
        late = [NOON - n * SECOND for n in (3, 2, 1, 0)]
        polled = one.poll(one.plan(*late))
        assert slots(polled) == [("tick", slot) for slot in late[:3]]
        assert refusals(polled) == [(NOON, Refusal.OVERLAP)]
        assert one.state().running == 3

    def test_a_paused_cron_is_refused_and_its_slot_skipped(self, one: Process) -> None:
        one.pause()
        polled = one.poll(one.plan(NOON))
        assert polled.refused == [Refused("tick", NOON, Refusal.PAUSED)]
        assert (one.skips(), one.state().mark, one.state().missed) == ([(Reason.PAUSED, 1)], NOON, 1)
        one.pause(paused=False)
        one.cluster.forward(1)
        one.slot()

    def test_a_paused_cron_skips_without_coalescing_too(self, one: Process) -> None:
        one.pause()
        one.poll(one.plan(NOON - SECOND, NOON))
        assert (one.skips(), one.state().mark) == ([(Reason.PAUSED, 2)], NOON)

    def test_a_paused_cron_that_runs_is_refused_as_paused(self, one: Process) -> None:
        one.slot()
        one.pause()
        slot = one.cluster.forward(1)
        assert refusals(one.poll(one.plan(slot))) == [(slot, Refusal.PAUSED)]

    def test_an_early_slot_of_a_paused_cron_is_early(self, one: Process) -> None:
        one.pause()
        assert refusals(one.poll(one.plan(NOON + SECOND))) == [(NOON + SECOND, Refusal.EARLY)]
        assert one.state().mark is None

    def test_an_early_slot_of_a_running_cron_is_early(self, one: Process) -> None:
        one.slot()
        assert refusals(one.poll(one.plan(NOON + SECOND))) == [(NOON + SECOND, Refusal.EARLY)]

    # Capacity

    def test_slots_are_claimed_oldest_first_whatever_their_cron(self, one: Process) -> None:
        one.crons = {"tick": 9, "tock": 9}
        ticks, tocks = [NOON - 40 * SECOND, NOON - 10 * SECOND], [NOON - 30 * SECOND, NOON - 20 * SECOND]
        polled = one.poll(one.plan(*tocks, name="tock"), one.plan(*ticks), total=3)
        assert slots(polled) == [("tick", ticks[0]), ("tock", tocks[0]), ("tock", tocks[1])]
        assert polled.left
        assert (one.state().mark, one.state().next) == (ticks[0], ticks[1])
        assert polled.fresh_for == 0

    def test_capacity_is_of_a_kind_and_of_all_together(self, one: Process) -> None:
        one.crons = {"tick": 9}
        one.defer_all(one.new(), one.new())
        plan = one.plan(NOON - SECOND, NOON)
        polled = one.poll(plan, total=3, slots=1, jobs=1)
        assert [claim.kind for claim in polled.claims] == [Kind.SLOT, Kind.JOB]
        polled = one.poll(one.plan(NOON, coalesce=False), total=1)
        assert [claim.kind for claim in polled.claims] == [Kind.SLOT]

    def test_slots_that_do_not_fit_are_left_and_not_refused(self, one: Process) -> None:
        polled = one.poll(one.plan(NOON), slots=0)
        assert (polled.claims, polled.refused, polled.left) == ([], [], True)
        assert (one.state().mark, one.skips()) == (None, [])

    def test_nothing_is_left_of_a_poll_that_takes_all(self, one: Process) -> None:
        one.defer(due=5)
        assert not one.poll(one.plan(NOON), total=1).left
