"""Jobs: how they are stored, and in which order they start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pseudocron.backends.model import Kind, Run, State
from pseudocron.backends.questions import Claim
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import NOON, SECOND

if TYPE_CHECKING:
    from pseudocron.testing.conformance.process import Process


class JobTests(Base):
    """Deferring, the order of jobs, their expiry, ids and conflicts."""

    def test_a_job_is_stored_as_it_was_deferred(self, one: Process) -> None:
        run_id = one.defer("k", due=5, priority=3, expires=60, arguments='[[1], {"a": "ä"}]')
        assert one.run(run_id) == Run(
            run_id,
            Kind.JOB,
            "mail",
            State.PENDING,
            due=NOON + 5 * SECOND,
            created=NOON,
            key="k",
            arguments='[[1], {"a": "ä"}]',
            priority=3,
            expires=NOON + 60 * SECOND,
            at_least_once=True,
        )

    def test_a_job_is_claimed_with_all_that_its_call_needs(self, one: Process) -> None:
        run_id = one.defer("k", due=5, arguments="[7]")
        one.cluster.forward(6)
        (claim,) = one.poll().claims
        due, now = NOON + 5 * SECOND, NOON + 6 * SECOND
        assert claim == Claim(run_id, Kind.JOB, "mail", due, claim.fence, 1, 0, now, None, "[7]", "k")
        run = one.run(run_id)
        assert (run.state, run.attempts, run.fence, run.worker) == (State.RUNNING, 1, claim.fence, "host:1")
        assert (run.started, run.ended, claim.fence > 0) == (now, None, True)

    def test_a_job_is_claimed_once(self, one: Process, two: Process) -> None:
        run_id = one.defer()
        assert two.claims() == [run_id]
        assert one.claims() == []

    def test_a_job_is_not_claimed_before_it_is_due(self, one: Process) -> None:
        run_id = one.defer(due=2)
        one.cluster.forward(1.999)
        assert one.claims() == []
        one.cluster.forward(0.001)
        assert one.claims() == [run_id]

    def test_a_job_that_was_due_in_the_past_is_due_now(self, one: Process) -> None:
        run_id = one.defer(due=-3600)
        assert one.claims() == [run_id]

    def test_no_jobs_are_deferred_without_an_error(self, one: Process) -> None:
        assert one.defer_all() == []

    def test_deferring_blocks_as_well(self, one: Process) -> None:
        jobs = [one.new(), one.new(due=4)]
        one.poll()
        assert list(one.backend.defer_blocking(jobs)) == [job.run_id for job in jobs]
        assert one.stale_in() == 0
        assert one.claims() == [jobs[0].run_id]

    # Order

    def test_the_highest_priority_starts_first(self, one: Process) -> None:
        low, high, middle = (one.defer(priority=priority) for priority in (-1, 7, 0))
        assert one.claims() == [high, middle, low]

    def test_of_one_priority_the_longest_due_starts_first(self, one: Process) -> None:
        second, third, first = one.defer(due=2), one.defer(due=3), one.defer(due=1)
        one.cluster.forward(4)
        assert one.claims(total=2) == [first, second]
        assert one.claims() == [third]

    def test_of_those_due_at_once_the_first_stored_starts_first(self, one: Process) -> None:
        ids = one.defer_all(*(one.new(due=1) for _ in range(12)))
        one.cluster.forward(1)
        assert one.claims(total=5) == ids[:5]
        assert one.claims(total=12) == ids[5:]

    def test_priority_does_not_hold_back_what_is_due_alone(self, one: Process) -> None:
        one.defer(priority=9, due=1)
        low = one.defer(priority=-9)
        assert one.claims() == [low]

    def test_retries_of_slots_start_before_jobs(self, one: Process) -> None:
        one.defer(priority=100)
        claim = one.slot(next=None)
        one.end(claim, State.FAILED, due=NOON)
        one.defer(priority=100)
        assert one.claims(total=1) == [claim.run_id]

    def test_a_job_that_does_not_fit_is_left(self, one: Process) -> None:
        first, second = one.defer(), one.defer()
        polled = one.poll(total=5, jobs=1)
        assert ([claim.run_id for claim in polled.claims], polled.left) == ([first], True)
        polled = one.poll(total=5, jobs=1)
        assert ([claim.run_id for claim in polled.claims], polled.left) == ([second], False)

    def test_only_jobs_of_the_named_tasks_are_claimed(self, one: Process, two: Process) -> None:
        one.tasks = {"bill": None}
        mail, bill = two.defer(), two.defer(task="bill")
        assert one.claims() == [bill]
        assert two.claims() == [mail]

    def test_a_name_is_of_a_task_or_of_a_cron(self, one: Process) -> None:
        one.tasks, one.crons = {"same": None}, {"same": 1}
        job = one.defer(task="same")
        polled = one.poll(one.plan(NOON, name="same"))
        assert sorted(claim.kind for claim in polled.claims) == [Kind.JOB, Kind.SLOT]
        assert one.state("same").running == 1
        assert one.state_of(job) is State.RUNNING

    # Expiry

    def test_a_job_that_is_too_late_expires(self, one: Process) -> None:
        run_id = one.defer(expires=5)
        one.cluster.forward(5.001)
        polled = one.poll()
        assert [(run.run_id, run.state) for run in polled.dropped] == [(run_id, State.EXPIRED)]
        assert polled.claims == []
        run = one.run(run_id)
        assert (run.state, run.ended, run.reason) == (State.EXPIRED, one.cluster.now, "not started in time")
        assert (run.attempts, run.started) == (0, None)

    def test_a_job_that_is_just_in_time_starts(self, one: Process) -> None:
        run_id = one.defer(expires=5)
        one.cluster.forward(5)
        assert one.claims() == [run_id]

    def test_a_job_expires_when_it_is_claimed_in_finish(self, one: Process) -> None:
        run_id = one.defer(expires=5)
        one.cluster.forward(6)
        finished = one.finish(take=one.take())
        assert [run.run_id for run in finished.dropped] == [run_id]
        assert finished.claims == []

    def test_expired_jobs_do_not_take_the_capacity_of_others(self, one: Process) -> None:
        one.defer_all(*(one.new(expires=1) for _ in range(8)))
        fresh = one.defer()
        one.cluster.forward(2)
        assert one.claims(total=1) == [fresh]
        assert one.counts() == {State.EXPIRED: 8, State.RUNNING: 1}

    def test_a_retry_that_is_too_late_expires(self, one: Process) -> None:
        claim = one.job(expires=5)
        one.end(claim, State.FAILED, due=NOON + 10 * SECOND)
        one.cluster.forward(10)
        assert one.claims() == []
        assert one.state_of(claim) is State.EXPIRED

    def test_a_job_that_runs_does_not_expire(self, one: Process) -> None:
        claim = one.job(expires=5)
        one.cluster.forward(10)
        one.poll()
        assert one.end(claim) is State.SUCCEEDED

    def test_many_expired_jobs_are_recorded_in_batches(self, one: Process) -> None:
        for _ in range(3):
            one.defer_all(*(one.new(expires=1) for _ in range(400)))
        one.cluster.forward(2)
        one.poll()
        first = one.counts()
        assert 1 <= first[State.EXPIRED] <= 1000
        assert one.stale_in() == 0, "some are left"
        for _ in range(1200):
            if State.PENDING not in one.counts():
                break
            one.poll()
        assert one.counts() == {State.EXPIRED: 1200}
        assert one.stale_in() > 0
