"""How far each verb brings the gate forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pseudocron.backends.model import State
from pseudocron.backends.questions import End, Refusal
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import HOUR, NOON, SECOND

if TYPE_CHECKING:
    from pseudocron.testing.conformance.process import Process


def seconds(gate: float) -> object:
    """Return what equals these seconds, as far as a store keeps them."""
    return pytest.approx(gate, abs=0.01)


class ForwardTests(Base):
    """The gate after the verbs other than `poll`."""

    def test_a_deferred_job_brings_the_gate_forward_to_its_due_time(self, one: Process) -> None:
        one.poll()
        one.defer(due=7)
        assert one.stale_in() == seconds(7)
        one.defer(due=9)
        assert one.stale_in() == seconds(7)
        one.defer(due=-5)
        assert one.stale_in() == 0

    def test_a_job_at_the_limit_brings_nothing_forward_until_one_ends(self, one: Process) -> None:
        one.tasks = {"mail": 1}
        claim = one.job()
        one.defer()
        assert one.stale_in() == seconds(30)
        one.end(claim)
        assert one.stale_in() == 0

    def test_the_end_of_a_job_frees_the_first_that_its_key_held_back(self, one: Process) -> None:
        claim = one.job("k")
        one.defer("k", due=7)
        one.poll()
        assert one.stale_in() == seconds(30)
        one.end(claim)
        assert one.stale_in() == seconds(7)

    def test_a_retry_brings_the_gate_forward_to_its_due_time(self, one: Process) -> None:
        claim = one.slot()
        one.end(claim, State.FAILED, due=NOON + 4 * SECOND)
        assert one.stale_in() == seconds(4)

    def test_a_manual_run_brings_the_gate_forward_to_the_end_of_its_lease(self, one: Process) -> None:
        one.poll()
        one.start(lease=8)
        assert one.stale_in() == seconds(8)

    def test_a_claim_in_finish_brings_the_gate_forward_to_its_lease(self, one: Process) -> None:
        one.poll()
        one.defer(due=20)
        one.cluster.forward(20)
        claims = one.finish(take=one.take(lease=6)).claims
        assert len(claims) == 1
        assert one.poll().fresh_for == seconds(6)

    def test_a_lease_that_is_renewed_for_less_brings_the_gate_forward(self, one: Process) -> None:
        claim = one.job()
        one.renew(claim, lease=3)
        assert one.stale_in() == seconds(3)

    def test_a_lease_that_is_renewed_for_more_leaves_the_gate(self, one: Process) -> None:
        claim = one.job()
        one.renew(claim, lease=50)
        assert one.stale_in() == seconds(30)

    def test_a_released_lease_frees_what_it_held_back(self, one: Process) -> None:
        claim = one.job("k")
        one.end(claim, State.FAILED, goes_on=True)
        one.defer("k")
        one.poll()
        assert one.stale_in() == seconds(30)
        one.release(claim)
        assert one.stale_in() == 0

    def test_a_cron_that_is_no_longer_paused_is_awaited_again(self, one: Process) -> None:
        one.pause()
        one.poll(one.plan(next=NOON + 5 * SECOND))
        assert one.stale_in() == seconds(60)
        one.pause(paused=False)
        assert one.stale_in() == seconds(5)

    def test_a_pending_retry_of_a_paused_cron_waits_for_that_too(self, one: Process) -> None:
        one.end(one.slot(next=None), State.FAILED, due=NOON)
        one.pause()
        assert one.poll().fresh_for == seconds(60)
        one.pause(paused=False)
        assert one.stale_in() == 0
        assert len(one.claims()) == 1

    def test_a_reset_brings_the_gate_forward_to_now(self, one: Process) -> None:
        one.poll(one.plan())
        one.reset(NOON)
        assert one.stale_in() == 0

    def test_a_cancelled_run_frees_what_it_held_back(self, one: Process) -> None:
        one.end(one.slot(at_least_once=True), State.FAILED, due=NOON + 50 * SECOND)
        one.cluster.forward(1)
        polled = one.poll(one.plan(NOON + SECOND, coalesce=False))
        assert [refused.why for refused in polled.refused] == [Refusal.OVERLAP]
        assert one.stale_in() == seconds(49)
        assert one.cancel(one.runs()[0])
        assert one.stale_in() == 0

    def test_a_retried_job_brings_the_gate_forward_to_now(self, one: Process) -> None:
        claim = one.job()
        one.end(claim, State.FAILED)
        one.poll()
        assert one.stale_in() == seconds(60)
        assert one.retry(claim.run_id)
        assert one.stale_in() == 0

    def test_slots_that_max_instances_holds_back_are_awaited_once_a_run_ends(self, one: Process) -> None:
        claim = one.slot(coalesce=False)
        one.cluster.forward(10)
        slots = [NOON + 5 * SECOND, NOON + 10 * SECOND]
        polled = one.poll(one.plan(*slots, next=NOON + 15 * SECOND))
        assert polled.fresh_for == seconds(20), "until the end of the lease"
        one.end(claim)
        assert one.stale_in() == 0

    def test_an_outdated_plan_leaves_the_gate_stale(self, one: Process, two: Process) -> None:
        plan = two.plan(NOON, next=NOON + HOUR)
        one.end(one.slot())
        polled = two.poll(plan)
        assert (polled.fresh_for, list(polled.outdated)) == (0, ["tick"])
        assert two.stale_in() == 0

    def test_a_gate_that_is_stale_stays_so_until_the_next_poll(self, one: Process) -> None:
        claim = one.job()
        one.cluster.forward(30)
        assert one.stale_in() == 0
        one.renew(claim)
        one.end(claim)
        one.pause()
        assert one.stale_in() == 0

    def test_finish_tells_how_long_the_gate_is_fresh(self, one: Process) -> None:
        claim = one.job()
        finished = one.finish(End(claim, State.FAILED, due=NOON + 3 * SECOND))
        assert finished.fresh_for == seconds(3)
        one.cluster.forward(3)
        assert one.finish(take=one.take(0)).fresh_for == 0
