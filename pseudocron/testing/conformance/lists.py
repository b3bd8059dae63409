"""What people read: runs, pages, timelines, counts; and what is purged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pseudocron.backends.model import Kind, Reason, Run, Skip, State
from pseudocron.backends.questions import Where
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import NOON, SECOND

if TYPE_CHECKING:
    from pseudocron.testing.conformance.process import Process


class ListTests(Base):
    """Lists of runs, timelines, counts, and purge."""

    def test_a_run_that_is_not_stored_is_none(self, one: Process) -> None:
        assert one.cluster.run(one.backend.run("unknown")) is None

    def test_runs_come_the_last_stored_first(self, one: Process) -> None:
        ids = [one.defer(due=9), one.slot().run_id, one.defer(due=3), one.start(max_instances=2).run_id]
        assert one.runs() == ids[::-1]

    def test_a_run_keeps_its_place_whatever_becomes_of_it(self, one: Process) -> None:
        claim = one.job()
        later = one.defer(due=9)
        one.end(claim, State.FAILED)
        one.retry(claim.run_id)
        assert one.runs() == [later, claim.run_id]

    def test_runs_are_read_page_by_page(self, one: Process) -> None:
        ids = one.defer_all(*(one.new() for _ in range(7)))[::-1]
        assert one.runs(limit=3) == ids[:3]
        assert one.runs(limit=3, before=ids[2]) == ids[3:6]
        assert one.runs(limit=3, before=ids[5]) == ids[6:]
        assert one.runs(limit=3, before=ids[6]) == []
        assert one.runs(before="unknown") == []
        assert one.runs(limit=0) == []

    def test_a_page_may_begin_before_a_run_that_is_not_in_the_list(self, one: Process) -> None:
        ids = [one.defer(task=task) for task in ("mail", "bill", "mail", "bill")]
        assert one.runs(name="mail", before=ids[3]) == [ids[2], ids[0]]
        assert one.runs(name="mail", before=ids[1]) == [ids[0]]

    def test_runs_are_chosen_by_state_kind_name_and_key(self, one: Process) -> None:
        job, slot = one.job("k"), one.slot()
        manual = one.start(max_instances=2)
        pending, bill = one.defer("k", due=9), one.defer("k", task="bill", due=9)
        one.end(slot, State.FAILED)
        assert one.runs(states=[State.PENDING]) == [bill, pending]
        assert one.runs(states=[State.PENDING, State.FAILED]) == [bill, pending, slot.run_id]
        assert one.runs(states=[State.LOST]) == []
        assert one.runs(kinds=[Kind.JOB]) == [bill, pending, job.run_id]
        assert one.runs(kinds=[Kind.SLOT, Kind.MANUAL]) == [manual.run_id, slot.run_id]
        assert one.runs(name="tick") == [manual.run_id, slot.run_id]
        assert one.runs(key="k") == [bill, pending, job.run_id]
        assert one.runs(name="mail", key="k", states=[State.RUNNING], kinds=[Kind.JOB]) == [job.run_id]
        assert one.runs(name="unknown") == []

    def test_pages_are_of_the_chosen_runs(self, one: Process) -> None:
        ids = [one.defer(task="mail" if n % 3 else "bill") for n in range(9)]
        chosen = [run_id for n, run_id in enumerate(ids) if n % 3][::-1]
        assert one.runs(name="mail", limit=2) == chosen[:2]
        assert one.runs(name="mail", limit=2, before=chosen[1]) == chosen[2:4]
        assert one.runs(name="mail", states=[State.PENDING], limit=9, before=chosen[3]) == chosen[4:]

    def test_runs_in_the_list_are_as_they_are_stored(self, one: Process) -> None:
        claim = one.job("k")
        one.end(claim, State.FAILED, error="E: boom", output="out")
        one.defer()
        listed = one.cluster.run(one.backend.runs(Where()))
        assert list(listed) == [one.run(run.run_id) for run in listed]

    def test_runs_may_be_read_briefly(self, one: Process) -> None:
        arguments = '{"text": "' + "\N{LATIN SMALL LETTER E WITH ACUTE}" * 900 + '"}'
        claim = one.job("k", arguments=arguments)
        one.end(claim, State.FAILED, error="E: boom", output="out")
        one.defer()
        listed = one.cluster.run(one.backend.runs(Where(), brief=True))
        whole = [one.run(run.run_id) for run in listed]
        assert [run._replace(arguments=None) for run in listed] == [
            run._replace(error=None, output=None, arguments=None) for run in whole
        ]
        (short, long) = (run.arguments or "" for run in listed)
        assert (short, arguments[: len(long)]) == (whole[0].arguments, long)
        assert 200 <= len(long) <= 1000

    # Timelines

    def test_the_timeline_of_a_cron_is_newest_first(self, one: Process) -> None:
        first = one.slot()
        one.end(first)
        one.cluster.forward(1)
        one.poll(one.plan(skips=[Skip("tick", one.cluster.now, Reason.MISFIRE)]))
        last = one.slot(one.cluster.forward(1))
        entries = one.timeline()
        names = [entry.reason if isinstance(entry, Skip) else entry.run_id for entry in entries]
        assert names == [last.run_id, Reason.MISFIRE, first.run_id]
        assert entries[0] == one.run(last.run_id)

    def test_a_timeline_has_no_more_entries_than_wanted(self, one: Process) -> None:
        for _ in range(4):
            one.end(one.slot())
            one.poll(one.plan(skips=[Skip("tick", one.cluster.forward(1), Reason.MISFIRE)]))
            one.cluster.forward(1)
        entries = one.timeline(limit=3)
        assert len(entries) == 3
        assert isinstance(entries[0], Skip | Run)
        assert one.timeline(limit=2) == entries[:2]

    def test_timelines_of_several_crons_come_without_long_texts(self, one: Process) -> None:
        one.crons = {"tick": 1, "tock": 1}
        claims = [one.slot(name=name) for name in one.crons]
        for claim in claims:
            one.end(claim, State.FAILED, error="E: boom", output="out")
        for names in (None, ["tick", "tock"]):
            timelines = one.cluster.run(one.backend.timelines(names))
            assert set(timelines) == {"tick", "tock"}
            for (run,) in timelines.values():
                assert isinstance(run, Run)
                assert run == one.run(run.run_id)._replace(error=None, output=None)
        (run,) = one.timeline("tock")
        assert run == one.run(claims[1].run_id)

    def test_the_timeline_of_an_unseen_cron_is_empty(self, one: Process) -> None:
        one.job()
        assert one.timeline("unknown") == []
        assert one.timeline("mail") == []

    def test_timelines_of_all_crons_have_no_jobs(self, one: Process) -> None:
        one.job()
        claim = one.start()
        timelines = one.cluster.run(one.backend.timelines())
        assert {name: [_id(entry) for entry in entries] for name, entries in timelines.items()} == {
            "tick": [claim.run_id]
        }

    # Counts

    def test_jobs_are_counted_by_state(self, one: Process) -> None:
        assert one.counts() == {}
        one.end(one.job(), State.FAILED)
        one.job()
        one.slot()
        one.defer(due=9)
        one.defer(due=9)
        assert one.counts() == {State.FAILED: 1, State.RUNNING: 1, State.PENDING: 2}

    def test_jobs_are_counted_up_to_a_number(self, one: Process) -> None:
        one.end(one.job())
        one.defer_all(*(one.new() for _ in range(5)))
        assert one.counts(at_most=5) == {State.SUCCEEDED: 1, State.PENDING: 5}
        assert one.counts(at_most=3) == {State.SUCCEEDED: 1, State.PENDING: 3}

    def test_tasks_with_pending_jobs_are_known(self, one: Process) -> None:
        def waiting() -> set[str]:
            dues = one.cluster.run(one.backend.waiting())
            assert all(due.tzinfo is not None for due in dues.values())
            return set(dues)

        assert waiting() == set()
        one.defer(due=9)
        run_id = one.defer(task="unregistered")
        one.end(one.slot(), State.FAILED, due=NOON)
        assert waiting() == {"mail", "unregistered"}
        one.cancel(run_id)
        one.cluster.forward(9)
        one.poll()
        assert waiting() == set()

    # Purge

    def test_old_jobs_are_purged_by_state_and_age(self, one: Process) -> None:
        old = one.job()
        one.end(old)
        failed = one.job()
        one.end(failed, State.FAILED)
        one.cluster.forward(10)
        young = one.job()
        one.end(young)
        one.cluster.forward(5)
        assert one.purge(succeeded=10, failed=20) == 1
        assert one.runs() == [young.run_id, failed.run_id]
        assert one.cluster.run(one.backend.run(old.run_id)) is None
        assert one.purge(succeeded=10, failed=20) == 0

    def test_a_job_that_is_just_old_enough_stays(self, one: Process) -> None:
        one.end(one.job())
        one.cluster.forward(10)
        assert one.purge(succeeded=10) == 0
        one.cluster.forward(0.001)
        assert one.purge(succeeded=10) == 1

    def test_jobs_that_are_pending_or_running_are_never_purged(self, one: Process) -> None:
        one.job()
        one.defer(due=9)
        one.cluster.forward(5)
        assert one.purge(**{str(state): 0 for state in State}) == 0
        assert len(one.runs()) == 2

    def test_runs_of_crons_are_not_purged(self, one: Process) -> None:
        one.end(one.slot(), State.FAILED)
        one.end(one.start(), State.FAILED)
        one.cluster.forward(5)
        assert one.purge(failed=0) == 0
        assert len(one.runs()) == 2

    def test_no_more_jobs_are_purged_than_the_limit(self, one: Process) -> None:
        for run_id in one.defer_all(*(one.new() for _ in range(5))):
            one.cancel(run_id)
        one.cluster.forward(1)
        assert [one.purge(limit=2, cancelled=0) for _ in range(4)] == [2, 2, 1, 0]

    @pytest.mark.parametrize("state", [State.REPLACED, State.EXPIRED, State.CANCELLED])
    def test_jobs_that_never_started_are_purged(self, one: Process, state: State) -> None:
        run_id = one.defer("k", expires=0)
        if state is State.REPLACED:
            one.defer("k")
        elif state is State.CANCELLED:
            one.cancel(run_id)
        one.cluster.forward(1)
        one.poll()
        assert one.state_of(run_id) is state
        one.cluster.forward(1)
        assert one.purge(**{state: 0}) == 1

    def test_an_id_that_was_purged_may_come_again(self, one: Process) -> None:
        job = one.new()
        one.defer_all(job)
        one.cancel(job.run_id)
        one.cluster.forward(SECOND.total_seconds())
        one.purge(cancelled=0)
        assert one.defer_all(job) == [job.run_id]
        assert one.claims() == [job.run_id]


def _id(entry: Run | Skip) -> str:
    return entry.slot.isoformat() if isinstance(entry, Skip) else entry.run_id
