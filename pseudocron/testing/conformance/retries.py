"""Retries of crons: what they count for, and which slots replace them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pseudocron.backends.model import Reason, State
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import HOUR, MINUTE, NOON, SECOND

if TYPE_CHECKING:
    from pseudocron.testing.conformance.process import Process

OUTCOMES = [State.SUCCEEDED, State.FAILED, State.TIMED_OUT, State.INTERRUPTED]
LIMIT = 64 * 1024


class RetryTests(Base):
    """Pending runs of crons."""

    def test_a_pending_retry_is_replaced_by_a_later_slot(self, one: Process) -> None:
        claim = one.slot()
        one.end(claim, State.FAILED, due=NOON + HOUR)
        slot = one.cluster.forward(60)
        polled = one.poll(one.plan(slot))
        assert [(run.run_id, run.state) for run in polled.dropped] == [(claim.run_id, State.REPLACED)]
        assert [claim.slot for claim in polled.claims] == [slot]
        run = one.run(claim.run_id)
        assert (run.state, run.ended, run.reason) == (State.REPLACED, slot, "by a newer run")

    def test_a_retry_that_is_due_is_replaced_by_a_slot_of_the_same_poll(self, one: Process) -> None:
        claim = one.slot()
        one.end(claim, State.FAILED, due=NOON)
        slot = one.cluster.forward(1)
        assert [claim.slot for claim in one.poll(one.plan(slot)).claims] == [slot]
        assert one.state_of(claim) is State.REPLACED

    def test_a_retry_is_not_replaced_by_a_slot_that_is_not_claimed(self, one: Process) -> None:
        claim = one.slot()
        one.end(claim, State.FAILED, due=NOON + HOUR)
        one.poll(one.plan(one.cluster.forward(1)), slots=0)
        one.poll(one.plan(NOON + HOUR))
        assert one.state_of(claim) is State.PENDING

    def test_a_retry_that_is_at_least_once_makes_the_slot_overlap(self, one: Process) -> None:
        claim = one.slot(at_least_once=True)
        one.end(claim, State.FAILED, due=NOON + HOUR)
        assert one.state().running == 1
        polled = one.poll(one.plan(one.cluster.forward(1), at_least_once=True))
        assert (polled.claims, one.skips()) == ([], [(Reason.OVERLAP, 1)])
        assert one.state_of(claim) is State.PENDING

    def test_a_retry_that_is_at_least_once_is_never_replaced(self, one: Process) -> None:
        claim = one.slot(at_least_once=True)
        one.end(claim, State.FAILED, due=NOON + HOUR)
        one.crons = {"tick": 2}
        one.slot(one.cluster.forward(1))
        assert one.state_of(claim) is State.PENDING

    def test_a_retry_without_coalescing_counts_and_later_slots_wait(self, one: Process) -> None:
        claim = one.slot(coalesce=False)
        one.end(claim, State.FAILED, due=NOON + MINUTE)
        assert one.state().running == 1
        slot = one.cluster.forward(1)
        assert one.poll(one.plan(slot, coalesce=False)).claims == []
        one.cluster.forward(59)
        polled = one.poll(one.plan(slot, coalesce=False))
        assert [claim.run_id for claim in polled.claims] == [claim.run_id]
        one.end(polled.claims[0])
        assert [claim.slot for claim in one.poll(one.plan(slot, coalesce=False)).claims] == [slot]

    def test_a_retry_that_coalesces_does_not_count(self, one: Process) -> None:
        one.end(one.slot(), State.FAILED, due=NOON + HOUR)
        assert one.state().running == 0

    def test_a_retry_waits_while_its_cron_is_at_max_instances(self, one: Process) -> None:
        claim = one.slot(next=None)
        one.end(claim, State.FAILED, due=NOON)
        manual = one.start()
        assert one.claims() == []
        one.end(manual)
        assert one.claims() == [claim.run_id]

    def test_retries_of_crons_start_the_longest_due_first(self, one: Process) -> None:
        one.crons = dict.fromkeys(("a", "b", "c"), 1)
        claims = {name: one.slot(name=name, next=None) for name in one.crons}
        for name, due in (("a", 3), ("b", 1), ("c", 2)):
            one.end(claims[name], State.FAILED, due=NOON + due * SECOND)
        one.cluster.forward(4)
        assert one.claims(slots=2) == [claims["b"].run_id, claims["c"].run_id]
        assert one.poll(total=1, slots=0).left

    def test_a_retry_of_a_cron_that_a_process_lacks_is_for_others(self, one: Process, two: Process) -> None:
        claim = one.slot(next=None)
        one.end(claim, State.FAILED, due=NOON)
        two.crons = {}
        assert two.claims() == []
        assert one.claims() == [claim.run_id]

    def test_a_cron_counts_a_failure_once_its_run_has_ended(self, one: Process) -> None:
        claim = one.slot(next=None)
        one.end(claim, State.FAILED, due=NOON)
        assert one.state().failures == 0
        (claim,) = one.poll().claims
        one.end(claim, State.FAILED)
        assert one.state().failures == 1
