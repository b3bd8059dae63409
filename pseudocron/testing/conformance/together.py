"""What several processes do at once, and what is left when a backend is closed."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count
from threading import Thread
from typing import TYPE_CHECKING, Any

from pseudocron.backends.model import State
from pseudocron.backends.questions import Capacity, End, NewJob, Plan, Poll, Polled, Take
from pseudocron.host import Host
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import HOUR, LEASE, NOON

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pseudocron.backends.contract import Backend
    from pseudocron.testing.conformance.cluster import Cluster
    from pseudocron.testing.conformance.process import Process

TAKE = Take({"mail": 2}, {"tick": 1}, Capacity(3, 3, 3), "host:1", LEASE)
PLAN = Plan("tick", None, NOON - HOUR, [NOON], next=NOON + HOUR)


def at_once(cluster: Cluster, work: Callable[[Backend], Coroutine[Any, Any, object]], *, threads: int = 6) -> list[Any]:
    """Let several processes work at once, each in a thread with an event loop and a backend of its own."""
    answers: list[Any] = []

    async def process() -> None:
        backend = cluster.store.make(Host(now=lambda: cluster.now))
        await backend.open()
        try:
            answers.append(await work(backend))
        finally:
            await backend.close()

    started = [Thread(target=lambda: asyncio.run(process())) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert len(answers) == threads, "a verb has failed"
    return answers


class TogetherTests(Base):
    """Processes and threads at once; opening and closing."""

    def test_a_slot_is_claimed_once_by_many_processes(self, one: Process) -> None:
        answers: list[Polled | None] = at_once(
            one.cluster, lambda backend: backend.poll(Poll(TAKE, [PLAN], force=True))
        )
        claims = [claim for polled in answers if polled for claim in polled.claims]
        assert [claim.slot for claim in claims] == [NOON]

    def test_a_slot_is_claimed_once_by_polls_on_one_event_loop(self, one: Process, two: Process) -> None:
        async def both() -> list[Polled | None]:
            polls = (process.backend.poll(Poll(TAKE, [PLAN], force=True)) for process in (one, two, one, two))
            return await asyncio.gather(*polls)

        claims = [claim for polled in one.cluster.run(both()) if polled for claim in polled.claims]
        assert [claim.slot for claim in claims] == [NOON]

    def test_one_process_enters_a_stale_gate(self, one: Process) -> None:
        answers = at_once(one.cluster, lambda backend: backend.poll(Poll(TAKE)))
        assert sum(polled is not None for polled in answers) == 1

    def test_each_job_is_claimed_once_and_within_its_limit(self, one: Process) -> None:
        ids = one.defer_all(*(one.new() for _ in range(40)))

        async def work(backend: Backend) -> list[str]:
            done: list[str] = []
            while (await backend.counts()).get(State.PENDING):
                polled = await backend.poll(Poll(TAKE, force=True))
                claims = list(polled.claims) if polled else []
                while claims:
                    assert len(claims) <= 2
                    done += [claim.run_id for claim in claims]
                    ends = [End(claim, State.SUCCEEDED) for claim in claims]
                    claims = list((await backend.finish(ends, TAKE)).claims)
            return done

        done = Counter(run_id for part in at_once(one.cluster, work, threads=4) for run_id in part)
        assert done == Counter(ids)
        assert one.counts() == {State.SUCCEEDED: 40}

    def test_one_of_many_jobs_with_a_key_is_pending(self, one: Process) -> None:
        numbers = count()

        async def defer(backend: Backend) -> None:
            for _ in range(5):
                await backend.defer([NewJob(f"job-{next(numbers)}", "mail", "[]", NOON, "k")])

        at_once(one.cluster, defer)
        assert one.counts() == {State.PENDING: 1, State.REPLACED: 29}

    def test_blocking_verbs_work_in_any_thread(self, one: Process) -> None:
        claim, living = one.job(), list[set[str]]()

        def work() -> None:
            one.backend.defer_blocking([NewJob(f"thread-{len(living)}", "mail", "[]", NOON)])
            living.append(set(one.backend.renew([claim], LEASE)))

        for _ in range(3):
            thread = Thread(target=work)
            thread.start()
            thread.join()
        assert living == [{claim.run_id}] * 3
        assert one.counts() == {State.PENDING: 3, State.RUNNING: 1}

    def test_blocking_verbs_work_while_the_event_loop_does(self, one: Process) -> None:
        claim = one.job()

        async def work() -> list[set[str]]:
            renewals = (asyncio.to_thread(one.backend.renew, [claim], LEASE) for _ in range(5))
            counting = asyncio.gather(*(one.backend.counts() for _ in range(5)))
            renewed = [set(ids) for ids in await asyncio.gather(*renewals)]
            await counting
            return renewed

        assert one.cluster.run(work()) == [{claim.run_id}] * 5

    def test_a_backend_may_be_opened_and_closed_repeatedly(self, one: Process) -> None:
        run_id = one.defer()
        cluster = one.cluster
        cluster.run(one.backend.open())
        for _ in range(2):
            cluster.run(one.backend.close())
            cluster.run(one.backend.close())
            cluster.run(one.backend.open())
        assert one.backend.durable is False or one.state_of(run_id) is State.PENDING

    def test_what_is_stored_is_there_for_later_processes(self, cluster: Cluster) -> None:
        one = cluster.process()
        claim = one.job()
        one.end(claim, State.FAILED, due=NOON, error="E: boom")
        one.end(one.slot(), State.FAILED)
        before = [one.run(run_id) for run_id in one.runs()], one.state(), one.stale_in()
        two = cluster.process()
        if one.backend.durable:
            cluster.run(one.backend.close())
            cluster.processes.remove(one)
        assert ([two.run(run_id) for run_id in two.runs()], two.state(), two.stale_in()) == before

    def test_advice_is_of_lines(self, one: Process) -> None:
        assert not any("\n" in line for line in one.cluster.run(one.backend.advice()))

    def test_what_a_verb_returned_is_not_changed_by_the_next(self, one: Process) -> None:
        one.defer()
        polled = one.poll()
        claims, run = list(polled.claims), one.run(polled.claims[0].run_id)
        one.end(polled.claims[0])
        assert list(polled.claims) == claims
        assert run.state is State.RUNNING
