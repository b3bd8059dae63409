"""The gate: when it is stale, who enters, and by when each verb dates it.

After every verb of every test of the suite the law of the gate is stated, see `Law`. Here is what it says in numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pseudocron.backends.model import Kind, State
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import NOON, SECOND

if TYPE_CHECKING:
    from pseudocron.testing.conformance.cluster import Cluster
    from pseudocron.testing.conformance.process import Process


def seconds(gate: float) -> object:
    """Return what equals these seconds, as far as a store keeps them."""
    return pytest.approx(gate, abs=0.01)


class GateTests(Base):
    """The gate."""

    def test_the_gate_of_a_new_store_is_stale(self, one: Process) -> None:
        assert one.stale_in() == 0
        one.defer()
        assert one.stale_in() == 0
        assert one.visit() is not None

    def test_a_poll_that_finds_nothing_dates_the_gate_by_cron_max_time(self, one: Process) -> None:
        polled = one.visit()
        assert polled is not None
        assert polled.fresh_for == seconds(60)
        assert one.stale_in() == seconds(60)

    def test_a_poll_at_a_fresh_gate_does_nothing(self, one: Process, two: Process) -> None:
        one.poll()
        assert two.visit() is None
        two.cluster.forward(59)
        assert two.visit() is None
        two.cluster.forward(1)
        assert two.visit() is not None
        assert one.visit() is None

    def test_a_forced_poll_enters_a_fresh_gate(self, one: Process, two: Process) -> None:
        one.poll()
        run_id = two.defer(due=5)
        two.cluster.forward(2)
        assert two.visit(force=True) is not None
        assert two.stale_in() == seconds(3)
        assert two.state_of(run_id) is State.PENDING

    def test_a_gate_that_is_dated_too_late_is_stale(self, one: Process) -> None:
        one.poll()
        one.cluster.forward(-1)
        assert one.stale_in() == 0
        assert one.visit() is not None
        assert one.stale_in() == seconds(60)

    def test_each_process_judges_that_by_its_own_cron_max_time(self, cluster: Cluster) -> None:
        slow, fast = cluster.process(300), cluster.process(60)
        slow.poll()
        assert slow.stale_in() == seconds(300)
        assert fast.stale_in() == 0
        assert fast.visit() is not None
        assert slow.stale_in() == seconds(60)

    def test_the_smallest_cron_max_time_in_use_dates_the_gate(self, cluster: Cluster) -> None:
        slow, fast = cluster.process(300), cluster.process(60)
        fast.poll()
        cluster.forward(60)
        slow.poll()
        assert slow.stale_in() == seconds(60)
        cluster.forward(61)
        slow.poll()
        assert slow.stale_in() == seconds(300), "the other has not polled for more than two minutes"

    def test_a_name_is_in_use_by_the_largest_cron_max_time(self, cluster: Cluster) -> None:
        slow, fast = cluster.process(300), cluster.process(60)
        fast.tasks = {}
        slow.poll()
        cluster.forward(100)
        slow.poll()
        slow.defer(due=50)
        cluster.forward(30)
        assert fast.poll().fresh_for == seconds(20), "the other process has the task"

    def test_a_cron_max_time_that_is_changed_counts(self, one: Process) -> None:
        one.poll()
        one.backend.cron_max_time = 20
        assert one.stale_in() == 0
        assert one.poll().fresh_for == seconds(20)

    def test_when_a_process_polled_last_is_known(self, one: Process) -> None:
        assert one.cluster.run(one.backend.states([])).polled is None
        one.slot()
        assert one.cluster.run(one.backend.states([])).polled == NOON

    def test_the_store_tells_the_time(self, one: Process) -> None:
        one.cluster.forward(90)
        now = one.cluster.run(one.backend.states([])).now
        assert abs(now - one.cluster.now) < SECOND / 100
        assert abs(now - one.cluster.now - one.backend.ahead) < SECOND

    # By what a poll dates it

    def test_a_pending_job_is_awaited(self, one: Process) -> None:
        one.defer(due=7)
        assert one.poll().fresh_for == seconds(7)

    def test_the_end_of_a_lease_is_awaited(self, one: Process) -> None:
        one.job()
        assert one.stale_in() == seconds(30)

    def test_the_next_slot_of_a_cron_is_awaited(self, one: Process) -> None:
        one.poll(one.plan(next=NOON + 5 * SECOND))
        assert one.stale_in() == seconds(5)
        assert one.state().next == NOON + 5 * SECOND

    def test_a_cron_that_will_never_run_is_not_awaited(self, one: Process) -> None:
        one.poll(one.plan(next=None))
        assert one.stale_in() == seconds(60)

    def test_a_cron_that_the_polling_process_lacks_is_awaited(self, one: Process, two: Process) -> None:
        one.poll(one.plan(next=NOON + 2 * SECOND))
        two.crons = {"other": 1}
        assert two.poll().fresh_for == seconds(2)
        two.cluster.forward(2)
        assert two.poll().fresh_for == 0
        assert one.visit(one.plan(NOON + 2 * SECOND)) is not None
        assert one.stale_in() == seconds(30)

    def test_a_task_that_the_polling_process_lacks_is_awaited(self, one: Process, two: Process) -> None:
        one.poll()
        two.tasks = {}
        run_id = two.defer()
        polled = two.poll()
        assert (polled.fresh_for, polled.claims, polled.left) == (0, [], False)
        assert one.claims() == [run_id]

    def test_what_does_not_fit_into_the_process_is_awaited(self, one: Process, two: Process) -> None:
        run_id = one.defer()
        polled = one.poll(total=0)
        assert (polled.fresh_for, polled.left) == (0, True)
        assert two.claims() == [run_id]

    def test_a_task_that_no_process_names_is_no_longer_awaited(self, one: Process, two: Process) -> None:
        one.tasks = {"bill": None}
        one.defer(task="bill", due=100)
        one.poll()
        two.cluster.forward(90)
        assert two.poll().fresh_for == seconds(10)
        two.cluster.forward(31)
        assert two.poll().fresh_for == seconds(60), "no process has named it for two minutes"
        assert one.poll().claims

    def test_a_cron_that_no_process_names_is_no_longer_awaited(self, one: Process, two: Process) -> None:
        one.poll(one.plan(next=NOON + 100 * SECOND))
        two.crons = {}
        two.cluster.forward(90)
        assert two.poll().fresh_for == seconds(10)
        two.cluster.forward(31)
        assert two.poll().fresh_for == seconds(60)

    def test_a_deferred_job_brings_the_older_ones_of_its_task_back(self, one: Process, two: Process) -> None:
        one.defer(task="bill")
        two.cluster.forward(300)
        two.poll()
        assert two.stale_in() == seconds(60)
        two.defer(task="bill", due=50)
        assert two.stale_in() == 0

    def test_an_unseen_name_counts_at_once(self, one: Process) -> None:
        one.poll()
        one.defer(task="bill", due=9)
        assert one.stale_in() == seconds(9)

    def test_names_that_rest_are_awaited_and_not_claimed(self, one: Process, two: Process) -> None:
        run_id = one.defer()
        polled = one.poll(one.plan(NOON), resting=[(Kind.JOB, "mail"), (Kind.SLOT, "tick")])
        assert (polled.claims, polled.refused, polled.fresh_for) == ([], [], 0)
        assert one.state().mark is None
        assert {claim.name for claim in two.poll(two.plan(NOON)).claims} == {"mail", "tick"}
        assert one.state_of(run_id) is State.RUNNING

    def test_a_run_that_is_held_back_is_not_awaited(self, one: Process) -> None:
        one.tasks = {"mail": 1}
        one.job()
        one.defer()
        assert one.poll().fresh_for == seconds(30)
