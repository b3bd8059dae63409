"""The way of a request: served first, never failed or held up, one look behind it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from typing import TYPE_CHECKING

import pytest
from support import Lifespan, hello, http, nothing, until, visit

from pseudocron import Crons, PseudoCronMiddleware, cron_status, current_run
from pseudocron.process import process_of

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Message, Receive, Scope, Send


def one_cron(**options: object) -> tuple[Crons, list[str]]:
    """A cron that is due at once and then not for hours, and what it leaves behind."""
    crons, ran = Crons(backend="memory:"), []

    @crons.every(hours=5, name="one", **options)  # type: ignore[arg-type]
    async def one() -> None:
        ran.append(current_run().name)

    return crons, ran


def test_a_visit_runs_what_is_due_and_the_next_one_does_not_run_it_again() -> None:
    crons, ran = one_cron()
    app = PseudoCronMiddleware(hello, crons=crons)

    async def main() -> None:
        await visit(app)
        await until(lambda: ran)
        process_of(crons).deadline = -1  # as if a second had passed
        await visit(app)
        await process_of(crons).runtime().settle(5)

    asyncio.run(main())
    assert ran == ["one"]


def test_the_visitor_is_served_before_the_cron_starts() -> None:
    events: list[str] = []
    crons = Crons(backend="memory:")

    @crons.every(hours=5)
    def cron() -> None:
        events.append("cron")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        events.append("app returned")

    async def main() -> None:
        await visit(PseudoCronMiddleware(app, crons=crons))
        events.append("served")
        await until(lambda: "cron" in events)

    asyncio.run(main())
    assert events == ["app returned", "served", "cron"]


def test_a_sent_response_waits_for_nothing_behind_it() -> None:
    crons, ran = one_cron()
    finished = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        await finished.wait()

    async def main() -> None:
        request = asyncio.create_task(visit(PseudoCronMiddleware(app, crons=crons)))
        await until(lambda: ran)
        assert not request.done()
        finished.set()
        await request

    asyncio.run(main())


def test_a_part_of_a_response_triggers_nothing() -> None:
    crons, ran = one_cron()
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"b"})

    async def main() -> None:
        request = asyncio.create_task(visit(PseudoCronMiddleware(app, crons=crons)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert process_of(crons).runtime().polls._task is None
        go_on.set()
        await request
        await until(lambda: ran)

    asyncio.run(main())


def test_the_messages_are_those_of_the_bare_application() -> None:
    crons, _ = one_cron()
    assert asyncio.run(visit(PseudoCronMiddleware(hello, crons=crons))) == asyncio.run(visit(hello))


def test_an_error_of_the_application_goes_through_and_a_poll_follows() -> None:
    crons, ran = one_cron()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await visit(PseudoCronMiddleware(app, crons=crons))
        await until(lambda: ran)

    asyncio.run(main())


def test_a_client_that_goes_away_takes_no_run_with_it() -> None:
    crons = Crons(backend="memory:")
    ended, go_on = [], asyncio.Event()

    @crons.every(hours=5)
    async def slow() -> None:
        await go_on.wait()
        ended.append(1)

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=crons, wait=60)
        request = asyncio.create_task(visit(app))
        await until(lambda: (polling := process_of(crons).runtime().polls._task) and polling.done())
        request.cancel()
        await asyncio.wait([request])
        assert request.cancelled()
        go_on.set()
        await until(lambda: ended)

    asyncio.run(main())


def test_a_failing_cron_is_logged_with_its_traceback_unseen_by_visitors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crons = Crons(backend="memory:")

    @crons.every(hours=5)
    async def broken() -> None:
        raise ZeroDivisionError("oh no")

    async def main() -> list[Message]:
        answer = await visit(PseudoCronMiddleware(hello, crons=crons, wait=5))
        assert (await cron_status(crons))[0].failures == 1
        return answer

    assert asyncio.run(main())[0]["status"] == 200
    assert "oh no" in caplog.text
    assert "in broken" in caplog.text


def test_a_foreign_scope_passes_straight_through() -> None:
    crons, ran = one_cron()
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope, receive, send))

    async def main() -> None:
        scope, other = {"type": "webtransport"}, object()
        await PseudoCronMiddleware(app, crons=crons)(scope, other, other)  # type: ignore[arg-type]
        assert seen == [(scope, other, other)]

    asyncio.run(main())
    assert not ran


def test_a_websocket_triggers_when_it_is_accepted_and_may_stay_open() -> None:
    crons, ran = one_cron()
    hang_up = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await hang_up.wait()

    async def main() -> None:
        socket = asyncio.create_task(visit(PseudoCronMiddleware(app, crons=crons), {"type": "websocket"}))
        await until(lambda: ran)
        hang_up.set()
        await socket

    asyncio.run(main())


def test_when_selects_the_requests_that_may_poll() -> None:
    crons, ran = one_cron()
    app = PseudoCronMiddleware(hello, crons=crons, when=lambda scope: scope["path"] == "/cron")

    async def main() -> None:
        await visit(app, http("/other"))
        assert process_of(crons).runtime().polls._task is None
        await visit(app, http("/cron"))
        await until(lambda: ran)

    asyncio.run(main())


def test_when_may_raise_and_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    crons, _ = one_cron()
    app = PseudoCronMiddleware(hello, crons=crons, when=lambda scope: scope["nonsense"])

    async def main() -> None:
        for _ in range(10):
            assert (await visit(app))[0]["status"] == 200

    asyncio.run(main())
    assert caplog.text.count("PseudoCronMiddleware: when: failed") == 1


def test_a_process_that_does_not_execute_leaves_the_runs_to_others() -> None:
    crons, ran = one_cron()

    async def main() -> None:
        await visit(PseudoCronMiddleware(hello, crons=crons, execute=False))
        assert process_of(crons).runtime().polls._task is None
        await visit(PseudoCronMiddleware(hello, crons=crons))
        await until(lambda: ran)

    asyncio.run(main())


def test_wait_holds_the_call_open_until_the_runs_are_over() -> None:
    crons = Crons(backend="memory:")
    ended = []

    @crons.every(hours=5)
    async def slow() -> None:
        await asyncio.sleep(0.05)
        ended.append(1)

    asyncio.run(visit(PseudoCronMiddleware(hello, crons=crons, wait=20)))
    assert ended


def test_wait_holds_the_call_open_no_longer_than_it_says() -> None:
    crons = Crons(backend="memory:")
    cancelled = []

    @crons.every(hours=5)
    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def main() -> None:
        await process_of(crons).runtime().open()  # the first one imports the store
        await visit(PseudoCronMiddleware(hello, crons=crons, wait=0.5))
        assert not cancelled
        assert process_of(crons).runtime()._poller.runs.pool.runs  # type: ignore[union-attr]

    asyncio.run(main())


def test_a_run_sees_no_context_variables_of_the_request_that_triggered_it() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody")
    crons = Crons(backend="memory:")
    seen: list[str] = []

    @crons.every(hours=5)
    async def on_the_loop() -> None:
        seen.append(variable.get())

    @crons.every(hours=5)
    def in_a_thread() -> None:
        seen.append(variable.get())

    async def main() -> None:
        variable.set("somebody")
        await visit(PseudoCronMiddleware(hello, crons=crons, wait=20))

    asyncio.run(main())
    assert seen == ["nobody", "nobody"]


def test_many_middlewares_of_one_configuration_share_one_runtime() -> None:
    crons, ran = one_cron()

    async def main() -> None:
        await asyncio.gather(*(visit(PseudoCronMiddleware(hello, crons=crons, wait=20)) for _ in range(20)))

    asyncio.run(main())
    assert ran == ["one"]


def test_another_event_loop_takes_over_where_the_first_one_ended() -> None:
    crons, ran = one_cron()
    app = PseudoCronMiddleware(hello, crons=crons, wait=20)
    asyncio.run(visit(app))
    process_of(crons).deadline = -1
    asyncio.run(visit(app))
    assert ran == ["one"]


def test_the_ticker_needs_no_visitor_after_the_first() -> None:
    crons = Crons(backend="memory:")
    slots = []

    @crons.every(0.1)
    async def often() -> None:
        slots.append(current_run().slot)

    async def main() -> None:
        await visit(PseudoCronMiddleware(hello, crons=crons, ticker=True))
        await until(lambda: len(slots) >= 5)
        await process_of(crons).runtime().close()

    asyncio.run(main())
    assert len(set(slots)) == len(slots)


def test_everything_can_be_switched_off_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSEUDOCRON_ENABLED", "0")
    crons, ran = one_cron()
    assert asyncio.run(visit(PseudoCronMiddleware(hello, crons=crons, wait=20)))[0]["status"] == 200
    assert not ran


def test_a_bad_configuration_without_a_lifespan_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = PseudoCronMiddleware(hello, crons={"a": ("nowhere:run", 60)}, wait=20)
    assert asyncio.run(visit(app))[0]["status"] == 200
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "nowhere" in caplog.text


def test_one_configuration_is_watched_once_however_often_it_is_named(tmp_path: Path) -> None:
    path, crons, mapping = tmp_path / "crons.py", Crons(), {"a": (print, 60)}
    for ref, again in ((path, str(path)), ("shop:crons", "shop:crons"), (crons, crons), (mapping, mapping)):
        first = process_of(ref)
        assert process_of(again) is first
    assert process_of(Crons()) is not process_of(Crons())


def test_a_process_that_does_not_execute_has_no_ticker_either() -> None:
    crons, ran = Crons(backend="memory:"), []
    crons.add("often", lambda: ran.append(1), 0.01)

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=crons, execute=False, ticker=True)
        async with Lifespan(app):
            await visit(app)
            assert process_of(crons).runtime()._ticker is None

    asyncio.run(main())
    assert not ran


def test_a_task_factory_that_knows_no_contexts_fails_no_request() -> None:
    crons, ran = one_cron()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))
        assert (await visit(PseudoCronMiddleware(hello, crons=crons)))[0]["status"] == 200
        await until(lambda: ran)

    asyncio.run(main())


def test_what_one_run_makes_room_for_runs_without_another_visitor() -> None:
    crons, ran = Crons(backend="memory:", concurrency=1), []
    for number in range(4):
        crons.add(f"cron{number}", lambda number=number: ran.append(number), 3600)

    async def main() -> None:
        await visit(PseudoCronMiddleware(hello, crons=crons))
        await until(lambda: len(ran) == 4)

    asyncio.run(main())


def test_wait_is_for_all_that_was_due_though_there_was_little_room() -> None:
    crons, ran = Crons(backend="memory:", concurrency=1), []
    for number in range(4):
        crons.add(f"cron{number}", lambda number=number: ran.append(number), 3600)
    asyncio.run(visit(PseudoCronMiddleware(hello, crons=crons, wait=20)))
    assert len(ran) == 4


def test_two_event_loops_at_once_share_the_store_and_disturb_each_other_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crons, ran = Crons(backend=f"file:{tmp_path}"), []
    app = PseudoCronMiddleware(hello, crons=crons)

    @crons.every(0.05)
    async def often() -> None:
        ran.append(current_run().slot)

    async def visits(count: int) -> None:
        async with Lifespan(app):
            seen = len(ran)
            while len(ran) < seen + count:
                process_of(crons).deadline = -1
                await visit(app)
                await asyncio.sleep(0.01)

    other = threading.Thread(target=lambda: asyncio.run(visits(3)))
    other.start()
    asyncio.run(visits(10))
    other.join()
    assert len(set(ran)) == len(ran)
    assert "poll failed" not in caplog.text


def test_while_one_request_polls_the_others_are_untouched() -> None:
    crons, ran = one_cron()
    sends, answer = [], asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sends.append(send)
        await answer.wait()

    async def send(_: Message) -> None:
        pass

    async def main() -> None:
        wrapped = PseudoCronMiddleware(app, crons=crons)
        requests = []
        for count in (1, 2, 3):
            requests.append(asyncio.ensure_future(wrapped(http(), nothing, send)))
            await until(lambda count=count: len(sends) == count)  # type: ignore[misc]
        answer.set()
        await asyncio.gather(*requests)
        await until(lambda: ran)

    asyncio.run(main())
    assert [given is send for given in sends] == [False, True, True]
