"""Manual runs of crons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pseudocron.backends.model import Kind, Skip, State
from pseudocron.backends.questions import Claim, Refusal
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import HOUR, NOON

if TYPE_CHECKING:
    from pseudocron.testing.conformance.process import Process


class ManualTests(Base):
    """Manual runs."""

    def test_a_manual_run_is_for_the_moment_of_its_claim(self, one: Process) -> None:
        claim = one.start()
        assert claim == Claim(claim.run_id, Kind.MANUAL, "tick", NOON, claim.fence, 1, 0, NOON, NOON)
        run = one.run(claim.run_id)
        assert (run.kind, run.state, run.slot, run.due, run.created) == (Kind.MANUAL, State.RUNNING, NOON, NOON, NOON)
        assert (run.worker, run.started, run.at_least_once) == ("host:1", NOON, False)

    def test_a_manual_run_leaves_the_mark_where_it_is(self, one: Process) -> None:
        one.end(one.slot(NOON - HOUR))
        one.end(one.start())
        assert one.state().mark == NOON - HOUR
        one.slot(NOON - HOUR / 2)

    def test_a_manual_run_may_be_of_a_cron_never_seen(self, one: Process) -> None:
        one.start("new")
        state = one.state("new")
        assert (state.mark, state.running, state.claims) == (None, 1, 1)
        one.crons = {"new": 2}
        one.slot(name="new")

    def test_a_manual_run_overlaps_without_a_record(self, one: Process) -> None:
        claim = one.slot()
        assert one.ask() is Refusal.OVERLAP
        assert (one.state().missed, len(one.timeline())) == (0, 1)
        assert isinstance(one.ask(max_instances=2), Claim)
        one.end(claim)
        assert one.ask() is Refusal.OVERLAP

    def test_a_manual_run_overlaps_with_a_pending_one_that_counts(self, one: Process) -> None:
        one.end(one.slot(at_least_once=True), State.FAILED, due=NOON + HOUR)
        assert one.ask() is Refusal.OVERLAP

    def test_a_slot_overlaps_with_a_manual_run(self, one: Process) -> None:
        one.start()
        polled = one.poll(one.plan(NOON))
        assert [refused.why for refused in polled.refused] == [Refusal.OVERLAP]

    def test_a_paused_cron_may_be_run_by_hand(self, one: Process) -> None:
        one.pause()
        assert one.end(one.start()) is State.SUCCEEDED
        assert one.state().paused

    def test_a_manual_run_is_in_the_timeline_of_its_cron(self, one: Process) -> None:
        one.end(one.slot())
        claim = one.start()
        one.end(claim, State.FAILED)
        newest = one.timeline()[0]
        assert not isinstance(newest, Skip)
        assert (newest.run_id, newest.kind, newest.state) == (claim.run_id, Kind.MANUAL, State.FAILED)
        assert one.state().failures == 1

    def test_a_manual_run_does_not_replace_a_pending_retry(self, one: Process) -> None:
        claim = one.slot()
        one.end(claim, State.FAILED, due=NOON + HOUR)
        one.start()
        assert one.state_of(claim) is State.PENDING
