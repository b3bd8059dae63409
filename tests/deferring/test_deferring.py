"""What has been deferred is in the store, from wherever that was; keys, handles, listeners, and calls made at once."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import trio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from support import START, Clock, http, visit

from pseudocron.backends import Store, connect
from pseudocron.backends.file.backend import Memory
from pseudocron.backends.model import State
from pseudocron.backends.questions import Capacity, Poll, Take, Where
from pseudocron.backends.usage import ShortUse
from pseudocron.context import current_run
from pseudocron.crons import Crons
from pseudocron.errors import ArgumentError, BackendError, EventLoopError, JobConflictError, NoRunError
from pseudocron.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from starlette.requests import Request

    from pseudocron.backends.model import Run
    from pseudocron.backends.questions import NewJob
    from pseudocron.jobs.tasks import Task


@pytest.fixture
def crons() -> Crons:
    crons = Crons(backend="memory:")
    crons._connect()
    return crons


@pytest.fixture
def filed(tmp_path: Path) -> Crons:
    return Crons(backend=f"file:{tmp_path / 'store'}")


def restoring(crons: Crons) -> Task[[str], None]:
    @crons.task
    def restore(classroom: str) -> None: ...

    return restore


async def jobs_of(store: Store, folder: Path) -> list[Run]:
    """What another connection finds."""
    backend = connect(store, folder=folder)
    await backend.open()
    try:
        return list(await backend.runs(Where(), 1000))
    finally:
        await backend.close()


def all_jobs(crons: Crons) -> list[Run]:
    return asyncio.run(jobs_of(crons.settings.backend, crons.settings.folder))


def close(crons: Crons) -> None:
    asyncio.run(crons._connect().close())


# Durable before it returns, from wherever


def test_a_job_whose_defer_returned_is_in_the_store_of_another_connection(filed: Crons) -> None:
    restore = restoring(filed)

    async def main() -> None:
        handle = await restore.options(delay=60, key="teacher:7").defer("B-204")
        (job,) = await jobs_of(filed.settings.backend, filed.settings.folder)
        assert (job.run_id, job.name, job.arguments) == (handle.id, "restore", '{"classroom":"B-204"}')
        assert (handle.task, handle.key, job.key) == ("restore", "teacher:7", "teacher:7")
        assert await filed.job(handle.id) == job
        await filed._connect().close()

    asyncio.run(main())


def test_a_thread_and_several_event_loops_defer_into_one_store(filed: Crons) -> None:
    restore = restoring(filed)

    def work(name: str) -> None:
        for _ in range(5):
            restore.defer_sync(name)
            asyncio.run(restore.defer(name))

    threads = [threading.Thread(target=work, args=(name,)) for name in "ABC"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(all_jobs(filed)) == 30
    close(filed)


def test_a_sync_view_defers_and_an_async_one_does(crons: Crons) -> None:
    restore = restoring(crons)

    def sync(request: Request) -> PlainTextResponse:
        return PlainTextResponse(restore.defer_sync("B").id)

    async def plain(request: Request) -> PlainTextResponse:
        return PlainTextResponse((await restore.defer("B")).id)

    app = Starlette(routes=[Route("/sync", sync), Route("/async", plain)])

    async def main() -> None:
        for path in ("/sync", "/async"):
            start, body = await visit(app, http(path))
            assert start["status"] == 200
            job = await crons.job(body["body"].decode())
            assert job is not None

    asyncio.run(main())


SCRIPT = """
import sys
from pseudocron import Crons

crons = Crons(backend=sys.argv[1])

@crons.task
def restore(classroom: str) -> None: ...

for _ in range(20):
    print(restore.defer_sync(sys.argv[2]).id)
"""


def test_two_processes_defer_into_one_store_and_end_without_a_warning(filed: Crons) -> None:
    argv = [sys.executable, "-W", "always", "-c", SCRIPT, str(filed.settings.backend)]
    children = [
        subprocess.Popen([*argv, name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for name in "AB"
    ]
    said = [child.communicate(timeout=60)[0] for child in children]
    printed = {line for text in said for line in text.splitlines()}
    assert printed == {job.run_id for job in all_jobs(filed)}
    assert len(printed) == 40


def test_what_blocks_is_refused_on_a_running_event_loop(crons: Crons) -> None:
    restore = restoring(crons)

    async def main() -> None:
        handle = await restore.options(key="a").defer("B")
        for call, mend in (
            (partial(restore.defer_sync, "B"), "await restore.defer(...)"),
            (partial(restore.options(key="a").defer_sync, "B"), "await restore.defer(...)"),
            (partial(restore.defer_many_sync, [{"classroom": "B"}]), "await restore.defer_many(...)"),
            (partial(restore.cancel_sync, key="a"), "await restore.cancel(...)"),
            (handle.cancel_sync, "await job.cancel()"),
            (partial(crons.cancel_sync, handle.id), "await crons.cancel(...)"),
        ):
            with pytest.raises(EventLoopError) as caught:
                call()
            assert str(caught.value) == f"an event loop is running in this thread: write `{mend}` instead"
            assert isinstance(caught.value, RuntimeError)
        assert len(await crons._connect().runs(Where())) == 1

    asyncio.run(main())


def test_what_can_not_be_stored_is_said_at_defer_and_leaves_nothing(crons: Crons) -> None:
    restore = restoring(crons)

    async def main() -> None:
        with pytest.raises(ArgumentError, match=r"restore\(\): missing a required argument: 'classroom'"):
            await restore.defer()  # type: ignore[call-arg]
        with pytest.raises(ArgumentError, match="argument 'classroom'"):
            await restore.defer_many([{"classroom": "B"}, {"classroom": object()}])
        with pytest.raises(
            ArgumentError, match=r"^restore\(\): arguments \('B',\): must be a mapping of names to values$"
        ):
            await restore.defer_many([("B",)])  # type: ignore[list-item]
        assert not await crons._connect().runs(Where())

    asyncio.run(main())


@pytest.mark.parametrize("count", [0, 3, 200])
def test_many_calls_are_stored_at_once_in_their_order(filed: Crons, count: int) -> None:
    restore = restoring(filed)
    calls = [{"classroom": f"B-{number}"} for number in range(count)]

    async def main() -> None:
        handles = await restore.options(delay=60).defer_many(calls)
        jobs = {job.run_id: job.arguments for job in await filed._connect().runs(Where(), 1000)} if count else {}
        assert [jobs[one.id] for one in handles] == [f'{{"classroom":"B-{number}"}}' for number in range(count)]
        if count:
            await filed._connect().close()

    asyncio.run(main())


@pytest.mark.parametrize(("count", "off"), [(20, False), (21, True)])
def test_many_calls_are_checked_off_the_event_loop(crons: Crons, count: int, *, off: bool) -> None:
    @crons.task
    def note(mark: Mark) -> None: ...

    handles = asyncio.run(note.defer_many([{"mark": Mark(0)} for _ in range(count)]))
    assert len(handles) == count
    assert (Mark.made_in.pop() != threading.get_ident()) is off


@dataclass
class Mark:
    """An argument that knows in which thread one of it was read last."""

    number: int
    made_in: ClassVar[list[int]] = []

    def __post_init__(self) -> None:
        self.made_in[:] = [threading.get_ident()]


def test_many_calls_from_a_thread_are_stored_too(crons: Crons) -> None:
    assert len(restoring(crons).defer_many_sync([{"classroom": "B"}] * 3)) == 3


# Keys and handles


def test_of_two_jobs_with_a_key_the_newer_stands(crons: Crons) -> None:
    later = restoring(crons).options(delay=60, key="teacher:7")

    async def main() -> None:
        old, new = await later.defer("A"), await later.defer("B")
        assert (await old.state(), await new.state()) == (State.REPLACED, State.PENDING)

    asyncio.run(main())


def test_with_keep_the_handle_is_that_of_the_older_job(crons: Crons) -> None:
    restore = restoring(crons)

    async def main() -> None:
        old = await restore.options(key="a").defer("A")
        assert await restore.options(key="a", on_conflict="keep").defer("B") == old

    asyncio.run(main())


def test_with_raise_a_taken_key_is_an_error_and_stores_nothing(crons: Crons) -> None:
    restore = restoring(crons)
    restore.options(key="a").defer_sync("A")
    with pytest.raises(JobConflictError, match="restore"):
        restore.options(key="a", on_conflict="raise").defer_sync("B")
    assert len(asyncio.run(_all(crons))) == 1


async def _all(crons: Crons) -> list[Run]:
    return list(await crons._connect().runs(Where()))


def test_a_pending_job_is_cancelled_once_by_its_key_its_id_or_its_handle(crons: Crons) -> None:
    restore = restoring(crons)
    other = crons.task("other")(lambda classroom: None)

    async def main() -> None:
        untouched = await other.options(key="a").defer("A")
        for cancel in (
            lambda _: restore.cancel(key="a"),
            lambda handle: crons.cancel(handle.id),
            lambda handle: handle.cancel(),
        ):
            handle = await restore.options(key="a").defer("A")
            assert await cancel(handle) is True
            assert await handle.state() is State.CANCELLED
            assert await cancel(handle) is False
        assert await untouched.state() is State.PENDING

    asyncio.run(main())


def test_a_job_is_cancelled_from_a_thread_too(crons: Crons) -> None:
    restore = restoring(crons)
    later = restore.options(key="a")
    later.defer_sync("A")
    assert [restore.cancel_sync(key="a"), restore.cancel_sync(key="a")] == [True, False]
    handle = later.defer_sync("A")
    assert [crons.cancel_sync(handle.id), handle.cancel_sync()] == [True, False]


def test_of_a_job_that_is_forgotten_nothing_is_known() -> None:
    crons, clock = Crons(backend="memory:"), Clock()
    backend = crons._connect(clock.host)
    handle = restoring(crons).defer_sync("A")

    async def main() -> None:
        assert await handle.cancel()
        clock.forward(1)
        assert await backend.purge({State.CANCELLED: timedelta(0)}) == 1
        assert await handle.state() is None
        assert await crons.job(handle.id) is None
        assert not await handle.cancel()

    asyncio.run(main())


# One store for all of a process


def test_the_process_of_the_crons_and_those_who_defer_have_the_same_store(crons: Crons) -> None:
    restore = restoring(crons)

    async def main() -> None:
        handle = await restore.options(delay=60).defer("A")
        async with Process(crons).store() as (_, backend):
            assert backend is crons._connect()
            assert await backend.run(handle.id) is not None

    asyncio.run(main())


def test_a_store_is_open_while_needed_and_opened_again_to_defer(filed: Crons) -> None:
    restore = restoring(filed)

    async def main() -> None:
        server, page = Process(filed), Process(filed)
        async with server.store() as (_, backend):
            async with page.store() as (_, same):
                assert same is backend
            await backend.waiting()  # the page has not closed it
        with pytest.raises(BackendError, match="is closed"):
            await backend.waiting()
        await restore.defer("A")
        assert len(await backend.runs(Where())) == 1
        await backend.close()

    asyncio.run(main())


def test_of_many_who_look_into_a_store_at_once_none_closes_it_under_another(filed: Crons) -> None:
    async def main() -> None:
        seen = Process(filed)

        async def look(number: int) -> None:
            for _ in range(20):
                async with seen.store() as (_, backend):
                    await backend.states([str(number)])

        await asyncio.gather(*map(look, range(6)))

    asyncio.run(main())


def test_defer_goes_to_the_store_of_the_settings_read_last() -> None:
    crons = Crons()
    first = crons._connect()
    assert crons._connect() is crons._connect() is first
    crons._locate("crons.py", file={"BACKEND": "memory:"})
    handle = asyncio.run(restoring(crons).defer("A"))  # which reads the settings off the event loop
    assert isinstance(crons._connect(), Memory)
    assert asyncio.run(handle.state()) is State.PENDING


def test_threads_that_ask_at_once_get_one_store(monkeypatch: pytest.MonkeyPatch) -> None:
    crons, all_here, two_in_there = Crons(backend="memory:"), threading.Barrier(4), threading.Barrier(2)
    made: list[Memory] = []
    found: list[object] = []

    def make(*_: object, **options: object) -> Memory:
        made.append(Memory())
        with suppress(threading.BrokenBarrierError):
            two_in_there.wait(timeout=0.2)
        return made[-1]

    def ask() -> None:
        all_here.wait()
        found.append(crons._connect())

    monkeypatch.setattr("pseudocron.jobs.manager.connect", make)
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == made * 4


# Who is told


def test_listeners_are_told_when_the_first_stored_job_is_due() -> None:
    crons, clock = Crons(backend="memory:"), Clock()
    crons._connect(clock.host)
    happened: list[object] = []

    class Telling(Memory):
        def defer_blocking(self, jobs: Sequence[NewJob]) -> Sequence[str]:
            ids = super().defer_blocking(jobs)
            happened.append("stored")
            return ids

    crons._manager._backend = Telling()
    crons.on_deferred(happened.append)
    restoring(crons).options(delay=60).defer_many_sync([{"classroom": "A"}] * 2)
    assert happened == ["stored", START + timedelta(seconds=60)]


def test_a_method_that_listens_does_not_keep_its_object() -> None:
    crons, told = Crons(backend="memory:"), []

    class Ear:
        def hear(self, due: datetime) -> None:
            told.append(due)

    ear = Ear()
    crons.on_deferred(ear.hear)
    restore = restoring(crons)
    restore.defer_sync("A")
    del ear
    gc.collect()
    restore.defer_sync("A")
    assert len(told) == 1


def test_a_listener_that_raises_harms_neither_the_job_nor_the_next_listener(
    crons: Crons, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[datetime] = []
    crons.on_deferred(lambda _: 1 / 0)  # type: ignore[arg-type]
    crons.on_deferred(told.append)
    handle = restoring(crons).defer_sync("A")
    assert asyncio.run(handle.state()) is State.PENDING
    assert len(told) == 1
    assert "ZeroDivisionError" in caplog.text


def test_the_gate_is_brought_forward_to_when_the_job_is_due() -> None:
    crons, clock = Crons(backend="memory:", cron_max_time=60), Clock()
    backend = crons._connect(clock.host)
    restore = restoring(crons)

    async def main() -> None:
        async with ShortUse(backend):
            await backend.poll(Poll(Take({"restore": None}, {}, Capacity(0, 0, 0), worker="me", lease=30)))
            assert await backend.stale_in() == 60
            await restore.options(delay=20).defer("A")
            assert await backend.stale_in() == 20
            await restore.defer("A")
            assert await backend.stale_in() == 0

    asyncio.run(main())


def test_a_gate_that_can_not_be_lowered_is_logged_and_the_job_stands(
    filed: Crons, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    restore, backend = restoring(filed), filed._connect()

    def fail(*_: object) -> None:
        raise BackendError("it can't be dated")

    async def poll() -> None:
        async with ShortUse(backend):
            await backend.poll(Poll(Take({"restore": None}, {}, Capacity(0, 0, 0), worker="me", lease=30)))

    asyncio.run(poll())
    monkeypatch.setattr("pseudocron.backends.file.gate.FileGate.date", fail)
    with caplog.at_level(logging.WARNING):
        restore.defer_sync("A")
    close(filed)
    assert len(all_jobs(filed)) == 1
    assert "not brought forward, so that due runs may start late" in caplog.text


def test_listeners_are_called_though_the_caller_of_defer_is_cancelled(crons: Crons) -> None:
    told: list[datetime] = []
    crons.on_deferred(told.append)

    async def main() -> None:
        stored = asyncio.Event()

        class Slow(Memory):
            async def defer(self, jobs: Sequence[NewJob]) -> Sequence[str]:
                ids = await super().defer(jobs)
                stored.set()
                await asyncio.Event().wait()  # the answer is on its way
                return ids

        crons._manager._backend = Slow()
        caller = asyncio.ensure_future(restoring(crons).defer("A"))
        await stored.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert told
        async with ShortUse(crons._connect()) as backend:
            assert len(await backend.runs(Where())) == 1

    asyncio.run(main())


# Calls made at once, for tests


def test_immediate_calls_get_values_from_json_and_are_not_stored(crons: Crons) -> None:
    seen: list[Any] = []

    @crons.task(retries=5)
    async def later(when: timedelta) -> None:
        await asyncio.sleep(0)
        seen.append((when, current_run().name, current_run().attempt))

    @crons.task
    def sync(*names: str) -> None:
        seen.append(names)

    async def main() -> None:
        with crons.immediate():
            first = await later.options(delay=3600, key="a").defer(timedelta(1))
            assert seen == [(timedelta(1), "later", 1)]
            second = await sync.defer("A", "B")
            await sync.defer_many([{}, {}])
            assert [await first.state(), await second.state(), await first.cancel()] == [
                State.SUCCEEDED,
                State.SUCCEEDED,
                False,
            ]
        async with ShortUse(crons._connect()) as backend:
            assert not await backend.runs(Where())
        assert seen[1:] == [("A", "B"), (), ()]
        await sync.defer("C")
        assert len(await crons._connect().runs(Where())) == 1
        with pytest.raises(NoRunError):
            current_run()

    asyncio.run(main())


def test_immediate_calls_of_a_thread_are_made_there_and_need_no_store(tmp_path: Path) -> None:
    crons = Crons(backend=f"file:{tmp_path / 'store'}")
    threads: list[int] = []

    @crons.task
    def sync() -> None:
        threads.append(threading.get_ident())

    @crons.task
    async def later() -> None:
        threads.append(threading.get_ident())

    with crons.immediate():
        handles = [sync.defer_sync(), later.defer_sync()]
    assert threads == [threading.get_ident()] * 2
    assert not any(handle.cancel_sync() for handle in handles)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("defer", [lambda task: task.defer_sync(), lambda task: asyncio.run(task.defer())])
def test_what_an_immediate_call_raises_defer_raises(crons: Crons, defer: Callable[[Any], Any]) -> None:
    @crons.task
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), crons.immediate():
        defer(broken)
    defer(broken)
    assert len(asyncio.run(_all(crons))) == 1


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_immediate_calls_of_plain_functions_are_made_in_a_thread(run: Callable[..., Any], crons: Crons) -> None:
    seen: list[Any] = []

    @crons.task
    def sync() -> None:
        seen.append((threading.get_ident(), current_run().name))
        asyncio.run(asyncio.sleep(0))  # which a thread may do that has no event loop

    async def main() -> None:
        with crons.immediate():
            await sync.defer()

    run(main if run is trio.run else main())
    ((thread, name),) = seen
    assert thread != threading.get_ident()
    assert name == "sync"


def test_immediate_calls_that_block_are_refused_on_the_event_loop(crons: Crons) -> None:
    restore = restoring(crons)

    async def main() -> None:
        with crons.immediate(), pytest.raises(EventLoopError, match=r"await restore.defer\(...\)"):
            restore.defer_sync("A")

    asyncio.run(main())


def test_under_trio_each_verb_says_what_to_call_instead(crons: Crons) -> None:
    restore = restoring(crons)
    handle = restore.defer_sync("A")

    async def main() -> None:
        verbs = (
            lambda: restore.defer("B"),
            lambda: restore.defer_many([{"classroom": "C"}]),
            lambda: restore.cancel(key="D"),
            handle.state,
            handle.cancel,
            lambda: crons.job(handle.id),
            lambda: crons.cancel(handle.id),
        )
        for verb in verbs:
            with pytest.raises(EventLoopError, match="as under trio: call the method that ends in `_sync` in a thread"):
                await verb()
        await trio.to_thread.run_sync(restore.defer_sync, "E")

    trio.run(main)
    assert len(asyncio.run(_all(crons))) == 2


def test_immediate_calls_are_checked_like_any_other(crons: Crons) -> None:
    with crons.immediate(), pytest.raises(ArgumentError):
        restoring(crons).defer_sync(object())  # type: ignore[arg-type]


def test_a_request_that_defers_from_a_pool_thread_needs_nothing_more(crons: Crons) -> None:
    restore = restoring(crons)

    async def main() -> None:
        handle = await run_in_threadpool(restore.defer_sync, "A")
        assert await handle.state() is State.PENDING

    asyncio.run(main())
