"""What a store knows of a cron, and what it records of slots that did not run."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.model import Reason, Skip, State
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import HOUR, LEASE, MINUTE, NOON, SECOND

if TYPE_CHECKING:
    from datetime import datetime

    from pseudocron.backends.questions import Polled, Refusal
    from pseudocron.testing.conformance.process import Process

MICROSECOND = timedelta(microseconds=1)


def refusals(polled: Polled) -> list[tuple[datetime, Refusal]]:
    """Return the slots that were refused, and why."""
    return [(refused.slot, refused.why) for refused in polled.refused]


def slots(polled: Polled) -> list[tuple[str, datetime | None]]:
    """Return the crons and slots that were claimed."""
    return [(claim.name, claim.slot) for claim in polled.claims]


class SkipTests(Base):
    """The states of crons, skips, steps of the clock, and what is kept."""

    def test_what_the_store_knows_of_an_unseen_cron(self, one: Process) -> None:
        state = one.state("new")
        assert (state.name, state.mark, state.since, state.next, state.paused) == ("new", None, None, None, False)
        assert (state.running, state.claims, state.failures, state.missed) == (0, 0, 0, 0)
        assert one.cluster.run(one.backend.timelines()) == {}

    def test_since_is_stored_at_first_sight_and_stays(self, one: Process) -> None:
        one.poll(one.plan(since=NOON - MINUTE))
        assert (one.state().since, one.state().mark, one.state().floor) == (NOON - MINUTE, None, NOON - MINUTE)
        one.slot()
        assert one.state().since == NOON - MINUTE

    def test_the_schedule_of_a_plan_is_stored(self, one: Process) -> None:
        one.poll(one.plan(schedule="0 3 * * *|UTC|"))
        assert one.state().schedule == "0 3 * * *|UTC|"

    def test_claims_and_failures_of_a_cron_are_counted(self, one: Process) -> None:
        for outcome in (State.SUCCEEDED, State.FAILED, State.TIMED_OUT, State.INTERRUPTED):
            one.end(one.slot(), outcome)
            one.cluster.forward(1)
        state = one.state()
        assert (state.claims, state.failures, state.running) == (4, 3, 0)

    def test_the_fence_grows_with_every_claim_of_a_cron(self, one: Process) -> None:
        one.crons = {"tick": 9}
        fences = [one.slot().fence, one.start(max_instances=9).fence]
        fences.append(one.slot(one.cluster.forward(1)).fence)
        assert one.state().claims == 3
        one.reset(NOON)
        fences.append(one.slot().fence)
        assert sorted(set(fences)) == fences

    def test_skips_of_a_plan_are_recorded_before_its_slots(self, one: Process) -> None:
        skip = Skip("tick", NOON - SECOND, Reason.NO_TRAFFIC, slots=7, first=NOON - HOUR, since=NOON - HOUR)
        one.poll(one.plan(NOON, skips=[skip]))
        run, stored = one.timeline()
        assert stored == skip._replace(recorded=NOON, updated=NOON, worker="host:1")
        assert isinstance(run, type(one.run(one.runs()[0])))
        assert (one.state().mark, one.state().missed) == (NOON, 7)

    def test_the_mark_grows_to_the_last_skip(self, one: Process) -> None:
        one.poll(one.plan(skips=[Skip("tick", NOON - SECOND, Reason.MISFIRE)]))
        assert one.state().mark == NOON - SECOND

    def test_a_skip_of_the_same_reason_is_added_to_the_newest(self, one: Process) -> None:
        one.poll(one.plan(skips=[Skip("tick", NOON, Reason.MISFIRE, slots=2, first=NOON - SECOND)]))
        later = one.cluster.forward(60)
        one.poll(one.plan(skips=[Skip("tick", later, Reason.MISFIRE, slots=3)]))
        (skip,) = one.timeline()
        merged = Skip("tick", later, Reason.MISFIRE, 5, NOON - SECOND, None, (), NOON, later, "host:1")
        assert skip == merged
        assert one.state().missed == 5

    def test_a_skip_of_another_reason_is_one_of_its_own(self, one: Process) -> None:
        for reason in (Reason.MISFIRE, Reason.DISABLED, Reason.MISFIRE):
            one.poll(one.plan(skips=[Skip("tick", one.cluster.forward(1), reason)]))
        assert one.skips() == [(Reason.MISFIRE, 1), (Reason.DISABLED, 1), (Reason.MISFIRE, 1)]

    def test_a_skip_after_a_run_is_one_of_its_own(self, one: Process) -> None:
        for _ in range(2):
            skip = Skip("tick", one.cluster.forward(1), Reason.NO_TRAFFIC, slots=2)
            one.end(one.slot(one.cluster.forward(1), skips=[skip]))
        assert [isinstance(line, Skip) for line in one.timeline()] == [False, True, False, True]

    def test_all_reasons_are_kept(self, one: Process) -> None:
        for reason in Reason:
            one.poll(one.plan(skips=[Skip("tick", one.cluster.forward(1), reason)]))
        assert [reason for reason, _ in one.skips()] == list(reversed(Reason))

    # Slots to which a clock that was set back comes a second time

    def test_a_step_of_the_clock_is_recorded_below_the_mark(self, one: Process) -> None:
        one.end(one.slot())
        one.cluster.forward(-3600)
        one.poll(one.plan(skips=[Skip("tick", NOON, Reason.CLOCK_BACK, slots=60)]))
        assert one.skips() == [(Reason.CLOCK_BACK, 60)]
        state = one.state()
        assert (state.mark, state.back, state.missed) == (NOON, NOON, 60)

    def test_a_step_of_the_clock_never_raises_the_mark(self, one: Process) -> None:
        one.poll(one.plan(skips=[Skip("tick", NOON - HOUR, Reason.MISFIRE)]))
        one.poll(one.plan(skips=[Skip("tick", NOON, Reason.CLOCK_BACK)]))
        assert one.state().mark == NOON - HOUR
        one.slot(NOON)

    def test_a_step_of_the_clock_is_recorded_once(self, one: Process) -> None:
        one.end(one.slot())
        for _ in range(3):
            one.poll(one.plan(skips=[Skip("tick", NOON, Reason.CLOCK_BACK, slots=60)]))
        assert (one.skips(), one.state().missed) == ([(Reason.CLOCK_BACK, 60)], 60)
        one.poll(one.plan(skips=[Skip("tick", NOON + SECOND, Reason.CLOCK_BACK, slots=5)]))
        assert (one.skips(), one.state().back) == ([(Reason.CLOCK_BACK, 65)], NOON + SECOND)

    # What is kept

    def test_the_newest_ended_runs_of_a_cron_are_kept(self, one: Process) -> None:
        keep, ended = one.cluster.store.keep, []
        for _ in range(keep + 2):
            claim = one.slot()
            one.end(claim, State.FAILED)
            ended.append(claim.run_id)
            one.cluster.forward(1)
        assert one.runs(limit=keep + 9) == ended[:1:-1]
        assert one.state().failures == keep + 2

    def test_runs_of_other_crons_are_kept_apart(self, one: Process) -> None:
        one.crons = {"tick": 1, "tock": 1}
        other = one.slot(name="tock")
        one.end(other)
        for _ in range(one.cluster.store.keep + 1):
            one.end(one.slot(one.cluster.forward(1)))
        assert one.state_of(other) is State.SUCCEEDED

    def test_a_lease_is_as_long_as_the_claim_wants(self, one: Process) -> None:
        claim = one.slot()
        one.cluster.forward(LEASE - 1)
        assert one.poll().lost == []
        one.cluster.forward(1)
        assert [run.run_id for run in one.poll().lost] == [claim.run_id]
