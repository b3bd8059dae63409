"""Ids, keys and limits of jobs: conflicts, and what holds a job back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pseudocron.backends.model import Conflict, State
from pseudocron.errors import JobConflictError
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import NOON

if TYPE_CHECKING:
    from pseudocron.testing.conformance.process import Process


class KeyTests(Base):
    """Ids, keys and limits."""

    def test_a_call_that_is_repeated_stores_nothing_twice(self, one: Process, two: Process) -> None:
        jobs = [one.new("k"), one.new()]
        assert one.defer_all(*jobs) == two.defer_all(*jobs)
        assert len(one.runs()) == 2
        for claim in one.poll().claims:
            one.end(claim)
        assert two.defer_all(*jobs) == [job.run_id for job in jobs]
        assert one.counts() == {State.SUCCEEDED: 2}

    def test_an_id_that_comes_twice_in_a_call_is_stored_once(self, one: Process) -> None:
        job = one.new()
        assert one.defer_all(job, job) == [job.run_id, job.run_id]
        assert one.runs() == [job.run_id]

    def test_a_newer_job_replaces_the_pending_one_of_its_key(self, one: Process) -> None:
        old, new = one.defer("k"), one.defer("k")
        run = one.run(old)
        assert (run.state, run.ended, run.reason) == (State.REPLACED, NOON, "by a newer run")
        assert one.claims() == [new]

    def test_a_newer_job_is_not_kept_where_the_older_one_is(self, one: Process) -> None:
        old = one.defer("k")
        assert one.defer("k", on_conflict=Conflict.KEEP) == old
        assert one.runs() == [old]

    def test_a_taken_key_is_an_error_if_that_is_wanted(self, one: Process) -> None:
        old = one.defer("k")
        with pytest.raises(JobConflictError, match=r"mail.*k"):
            one.defer("k", on_conflict=Conflict.RAISE)
        assert one.runs() == [old]

    def test_jobs_are_stored_all_or_none(self, one: Process) -> None:
        held, other = one.defer("k"), one.defer("other")
        jobs = [one.new(), one.new("other"), one.new("k", on_conflict=Conflict.RAISE)]
        one.poll(total=0)
        with pytest.raises(JobConflictError):
            one.defer_all(*jobs)
        assert one.runs() == [other, held]
        assert one.state_of(other) is State.PENDING

    def test_of_one_call_the_later_job_is_the_newer(self, one: Process) -> None:
        first, second = one.defer_all(one.new("k"), one.new("k"))
        assert [one.state_of(first), one.state_of(second)] == [State.REPLACED, State.PENDING]
        third, fourth = one.defer_all(*(one.new("l", on_conflict=Conflict.KEEP) for _ in range(2)))
        assert third == fourth
        with pytest.raises(JobConflictError):
            one.defer_all(*(one.new("m", on_conflict=Conflict.RAISE) for _ in range(2)))

    @pytest.mark.parametrize("conflict", [Conflict.REPLACE, Conflict.KEEP])
    def test_a_key_is_of_a_task(self, one: Process, conflict: Conflict) -> None:
        ids = [one.defer("k", on_conflict=conflict), one.defer("k", task="bill", on_conflict=conflict)]
        one.tasks = {"mail": None, "bill": None}
        assert sorted(one.claims()) == sorted(ids)

    def test_jobs_without_a_key_are_never_in_conflict(self, one: Process) -> None:
        ids = [one.defer(on_conflict=Conflict.RAISE) for _ in range(3)]
        assert one.claims() == ids

    def test_a_running_job_has_no_claim_to_its_key(self, one: Process) -> None:
        claim = one.job("k")
        new = one.defer("k", on_conflict=Conflict.RAISE)
        assert one.end(claim) is State.SUCCEEDED
        assert one.claims() == [new]

    @pytest.mark.parametrize("conflict", Conflict)
    def test_a_key_is_free_once_its_holder_has_expired(self, one: Process, conflict: Conflict) -> None:
        old = one.defer("k", expires=0)
        one.cluster.forward(1)
        new = one.new("k", on_conflict=conflict)
        assert one.defer_all(new) == [new.run_id]
        run = one.run(old)
        assert (run.state, run.ended, run.reason) == (State.EXPIRED, one.cluster.now, "not started in time")
        assert one.claims() == [new.run_id]

    def test_a_holder_that_may_just_start_has_its_key(self, one: Process) -> None:
        old = one.defer("k", expires=0)
        assert one.defer("k", on_conflict=Conflict.KEEP) == old

    # What holds a job back

    def test_a_job_waits_while_its_key_is_running(self, one: Process) -> None:
        claim = one.job("k")
        new, other = one.defer("k"), one.defer("l")
        assert one.claims() == [other]
        one.end(claim)
        assert one.claims() == [new]

    def test_a_job_waits_while_its_task_is_at_its_limit(self, one: Process) -> None:
        one.tasks = {"mail": 2, "bill": None}
        first, second, third = (one.defer() for _ in range(3))
        bill = one.defer(task="bill", priority=-1)
        polled = one.poll()
        assert [claim.run_id for claim in polled.claims] == [first, second, bill]
        one.end(polled.claims[0])
        assert one.claims() == [third]

    def test_what_is_held_back_is_not_left(self, one: Process) -> None:
        one.tasks = {"mail": 1}
        one.job("k")
        one.defer("k")
        assert not one.poll().left

    def test_a_limit_of_none_at_a_time_starts_nothing(self, one: Process) -> None:
        one.tasks = {"mail": 0}
        one.defer()
        assert one.claims() == []

    def test_a_job_behind_many_that_are_held_back_starts(self, one: Process) -> None:
        one.tasks = {"mail": 1, "bill": None}
        one.job()
        one.defer_all(*(one.new(priority=5) for _ in range(150)))
        bill = one.defer(task="bill")
        assert one.claims(total=1) == [bill]

    def test_of_two_processes_each_has_its_own_limit(self, one: Process, two: Process) -> None:
        one.tasks, two.tasks = {"mail": 1}, {"mail": 2}
        one.job()
        second = one.defer()
        assert one.claims() == []
        assert two.claims() == [second]
