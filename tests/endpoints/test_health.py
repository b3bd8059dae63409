"""The health of the scheduling, as probes ask for it: 200 or 503, never slow, and telling nothing that is secret."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis_server
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from endpoints.calling import Answer, ask
from pseudocron import Crons, PseudoCronMiddleware, cron_status, health
from pseudocron.backends.file.backend import Memory
from pseudocron.backends.model import CronState, State
from pseudocron.backends.questions import Claim, End, Manual
from pseudocron.errors import ConfigError
from pseudocron.polling import PollReason
from pseudocron.process import process_of
from pseudocron.report import history_of
from pseudocron.worker.due import overdue

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pseudocron.backends.questions import States
    from pseudocron.cron import Cron

KEYS = {
    *("healthy", "config", "backend", "enabled", "crons", "polled", "overdue", "latest", "failing", "failed"),
    *("lingering", "held", "stuck"),
}


def crons_with(schedule: object = "every 5 hours", backend: str = "memory:", **options: Any) -> Crons:
    crons = Crons(backend=backend, app="shop")
    crons.add("one", int, schedule, **options)
    return crons


def probe(crons: object, **options: Any) -> Answer:
    return asyncio.run(ask(health(crons, **options), "GET"))


def test_all_is_well() -> None:
    answer = probe(crons_with())
    assert answer.status == 200
    assert answer.json == {
        "healthy": True,
        "config": "ok",
        "backend": "ok",
        "enabled": True,
        "crons": 1,
        "polled": None,
        "overdue": 0,
        "latest": [],
        "failing": 0,
        "failed": [],
        "lingering": 0,
        "held": [],
        "stuck": False,
    }
    assert dict(answer.headers)[b"cache-control"] == b"no-store"


def test_head_has_the_headers_of_get_and_other_methods_are_refused() -> None:
    app = health(crons_with())

    async def main() -> None:
        get, head, post = [await ask(app, method) for method in ("GET", "HEAD", "POST")]
        assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")
        assert (post.status, dict(post.headers)[b"allow"]) == (405, b"GET, HEAD")

    asyncio.run(main())


def test_it_may_be_a_route_or_mounted_beside_the_middleware() -> None:
    crons = crons_with()
    routes = [Route("/health", health(crons)), Mount("/mounted", health(crons))]
    app = PseudoCronMiddleware(Starlette(routes=routes), crons=crons)

    async def main() -> None:
        for path in ("/health", "/mounted/"):
            assert (await ask(app, "GET", path)).status == 200
        await process_of(crons).runtime().settle(5)

    asyncio.run(main())


def the_only(crons: Crons) -> Cron:
    (cron,) = crons
    return cron


def late(cron: Cron, seconds: float, *, cron_max_time: float = 60, **state: Any) -> bool:
    """Whether a cron is overdue so many seconds after its first slot behind the mark."""
    mark = datetime(2024, 5, 1, tzinfo=UTC)
    slot = cron.schedule.next(mark)
    assert slot
    return (
        overdue(
            cron,
            CronState(name="one", mark=mark, **state),
            slot + timedelta(seconds=seconds),
            cron_max_time=cron_max_time,
        )
        is not None
    )


@pytest.mark.parametrize(
    ("schedule", "options", "tolerated"),
    [
        (10, {}, 120),
        (3600, {}, 3600),
        ("0 2 * * *", {}, 86400),
        ("*/10 * * * *", {}, 600),
        (10, {"tolerance": 30}, 30),
        ("0 2 * * *", {"tolerance": 900.5}, 900.5),
        (10, {"tolerance": 30, "jitter": 5}, None),
    ],
)
def test_a_cron_is_overdue_after_its_tolerance_or_its_interval(
    schedule: object, options: Any, tolerated: float | None
) -> None:
    cron = the_only(crons_with(schedule, **options))
    if tolerated is not None:
        assert (late(cron, tolerated), late(cron, tolerated + 0.001)) == (False, True)
    else:
        assert (late(cron, 30), late(cron, 40)) == (False, True), "what the jitter adds is not late"


def test_what_can_not_run_or_runs_is_not_overdue() -> None:
    cron = the_only(crons_with(10))
    assert late(cron, 1000)
    assert not late(cron, 1000, paused=True)
    assert not late(cron, 1000, running=1)
    assert not late(the_only(crons_with(10, enabled=False)), 1000)
    mark = datetime(2024, 5, 1, tzinfo=UTC)
    assert not overdue(cron, CronState(name="one", mark=mark), mark - timedelta(days=1), cron_max_time=60), (
        "a clock set back"
    )


def test_a_cron_that_nobody_has_run_in_time_is_503_until_somebody_does() -> None:
    crons = crons_with(10)

    async def main() -> None:
        await cron_status(crons)
        mark = datetime.now(UTC) - timedelta(hours=1)
        async with process_of(crons).store() as (_, backend):
            await backend.reset("one", mark)
            answer = await ask(health(crons), "GET")
        assert answer.status == 503
        assert (answer.json["healthy"], answer.json["overdue"]) == (False, 1)
        (told,) = answer.json["latest"]
        assert (told["name"], told["tolerance"]) == ("one", 120)
        assert told["late"] == pytest.approx(3600, abs=60)
        assert timedelta(0) < datetime.fromisoformat(told["slot"]) - mark <= timedelta(seconds=10)

    asyncio.run(main())


def test_a_cron_that_was_never_seen_before_is_not_overdue_at_first_sight() -> None:
    for schedule in (10, "every 300 days", "0 2 * * *"):
        assert probe(crons_with(schedule)).status == 200


def test_of_many_that_are_overdue_the_latest_twenty_are_named() -> None:
    crons = Crons(backend="memory:")
    for number in range(30):
        crons.add(f"cron {number}", int, 10, last_run=1_700_000_000 + number * 3600)
    answer = probe(crons).json
    assert answer["overdue"] == 30
    assert [one["name"] for one in answer["latest"]] == [f"cron {number}" for number in range(20)]


async def run(crons: Crons, *outcomes: State, name: str = "one", goes_on: bool = False) -> None:
    """Runs of a cron that end one after the other."""
    async with process_of(crons).store() as (_, backend):
        for outcome in outcomes:
            claim = await backend.start(Manual(name, worker="host:7", lease=60))
            assert isinstance(claim, Claim)
            await backend.finish([End(claim, outcome, error="ValueError", goes_on=goes_on)])


OK, FAILED, TIMED_OUT, INTERRUPTED = State.SUCCEEDED, State.FAILED, State.TIMED_OUT, State.INTERRUPTED


@pytest.mark.parametrize(
    ("outcomes", "failures"),
    [
        ([OK], 0),
        ([FAILED], 1),
        ([FAILED, OK], 0),
        ([OK, FAILED, TIMED_OUT], 2),
        ([FAILED, FAILED, INTERRUPTED, FAILED], 3),
        ([FAILED, INTERRUPTED, INTERRUPTED, INTERRUPTED], 1),
        ([FAILED, OK, INTERRUPTED, INTERRUPTED, INTERRUPTED], 0),
    ],
)
def test_a_cron_that_fails_is_named_with_how_often_in_a_row(outcomes: list[State], failures: int) -> None:
    crons = crons_with()

    async def main() -> None:
        await run(crons, *outcomes)
        answer = await ask(health(crons), "GET")
        assert (answer.status, answer.json["healthy"]) == (200, True), "a restart would help nothing"
        assert answer.json["failing"] == (failures > 0)
        assert [(one["name"], one["failures"]) for one in answer.json["failed"]] == [("one", failures)][: failures > 0]
        for least in (1, 2, 3):
            assert (await ask(health(crons, failures=least), "GET")).status == (503 if failures >= least else 200)

    asyncio.run(main())


def test_a_failing_cron_is_told_unless_it_is_paused() -> None:
    crons = crons_with()

    async def main() -> None:
        before = datetime.now(UTC)
        await run(crons, FAILED, TIMED_OUT)
        (told,) = (await ask(health(crons), "GET")).json["failed"]
        assert told["outcome"] == "timed_out"
        assert timedelta(0) <= datetime.fromisoformat(told["ended"]) - before < timedelta(seconds=5)
        async with process_of(crons).store() as (_, backend):
            await backend.pause("one", True)
            a_second_later(crons)
            assert (await ask(health(crons), "GET")).json["failing"] == 0

    asyncio.run(main())


def test_more_failures_than_the_history_keeps_are_counted_as_those_it_keeps() -> None:
    crons = Crons(backend="memory:", history=3)
    crons.add("one", int, "every 5 hours")

    async def main() -> None:
        await run(crons, FAILED, FAILED)
        assert (await ask(health(crons, failures=50), "GET")).status == 200
        await run(crons, FAILED)
        a_second_later(crons)
        assert (await ask(health(crons, failures=50), "GET")).status == 503

    asyncio.run(main())


@pytest.mark.parametrize("options", [{"failures": 0}, {"failures": True}, {"failures": "3"}, {"verbose": 1}])
def test_an_option_that_is_wrong_is_told_at_once(options: Any) -> None:
    with pytest.raises(ConfigError, match=r"^health: "):
        health(crons_with(), **options)


def test_held_places_are_named_and_the_process_only_if_verbose() -> None:
    crons = crons_with()

    async def main() -> None:
        await run(crons, TIMED_OUT, goes_on=True)
        answer, verbose = await ask(health(crons), "GET"), await ask(health(crons, verbose=True), "GET")
        assert (answer.status, answer.json["lingering"]) == (200, 1)
        assert [one["name"] for one in answer.json["held"]] == ["one"]
        assert "host:7" not in answer.body.decode()
        assert "host:7: runs that have ended while their code goes on: 1 (one)" in verbose.json["errors"][0]

    asyncio.run(main())


def test_the_newest_poll_is_told() -> None:
    crons = crons_with()

    async def main() -> None:
        assert (await ask(health(crons), "GET")).json["polled"] is None
        await asyncio.wait([process_of(crons).runtime().request_poll(PollReason.REQUEST)])
        a_second_later(crons)
        polled = datetime.fromisoformat((await ask(health(crons), "GET")).json["polled"])
        assert abs(datetime.now(UTC) - polled) < timedelta(seconds=5)
        await process_of(crons).runtime().close()

    asyncio.run(main())


def test_an_unusable_store_is_503_and_only_the_verbose_answer_names_it(tmp_path: Path) -> None:
    (tmp_path / "no folder").touch()
    crons = crons_with(backend=f"file:{tmp_path}/no folder")
    answer, verbose = probe(crons), probe(crons, verbose=True)
    assert (answer.status, answer.json["backend"], answer.json.keys()) == (503, "down", KEYS)
    assert str(tmp_path) not in answer.body.decode()
    assert str(tmp_path) in verbose.json["errors"][0]


def test_a_redis_that_is_away_is_503_and_no_answer_shows_its_password() -> None:
    crons = crons_with(backend=f"redis://me:secret@127.0.0.1:{redis_server.free_port()}/0")
    for answer in (probe(crons), probe(crons, verbose=True)):
        assert (answer.status, answer.json["backend"]) == (503, "down")
        assert "secret" not in answer.body.decode()
    assert "Redis at" in answer.json["errors"][0]
    assert "127.0.0.1" not in probe(crons).body.decode()


def test_a_configuration_that_was_never_right_is_503(tmp_path: Path) -> None:
    path = tmp_path / "crons.py"
    path.write_text("crons = {'one': ('builtins:int', 'sometimes')}")
    answer = probe(path)
    assert (answer.status, answer.json["config"], answer.json["backend"]) == (503, "broken", "not_asked")
    assert str(tmp_path) not in answer.body.decode()
    assert "sometimes" in probe(path, verbose=True).json["errors"][0]


def test_a_bad_edit_is_told_while_the_last_good_configuration_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "crons.py"
    path.write_text("BACKEND = 'memory:'\ncrons = {'one': ('builtins:int', '5h')}")

    async def main() -> None:
        app = health(path, verbose=True)
        assert (await ask(app, "GET")).json["config"] == "ok"
        path.write_text("crons = {'one': ('builtins:int', 'sometimes')}")
        await asyncio.sleep(0)
        a_second_later(path)
        answer = await ask(app, "GET")
        assert (answer.status, answer.json["config"], answer.json["backend"]) == (200, "stale", "ok")
        assert "sometimes" in answer.json["errors"][0]
        assert (await ask(health(path), "GET")).json.keys() == KEYS

    asyncio.run(main())


def a_second_later(crons: object) -> None:
    """What was found is found anew at the next probe."""
    from pseudocron.endpoints.health import _checks

    _checks[process_of(crons).runtime()]._until = 0


def test_where_everything_is_switched_off_the_store_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PSEUDOCRON_ENABLED", "0")
    answer = probe(crons_with(backend=f"file:{tmp_path}/store"))
    assert (answer.status, answer.json["enabled"], answer.json["backend"]) == (200, False, "not_asked")
    assert not (tmp_path / "store").exists()


def counting(crons: Crons, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times at which the store is asked."""
    asked: list[float] = []
    states = Memory.states

    async def counted(self: Memory, names: Collection[str]) -> States:
        asked.append(time.monotonic())
        return await states(self, names)

    monkeypatch.setattr(Memory, "states", counted)
    return asked


@pytest.mark.alone
def test_the_store_is_asked_once_a_second_however_often_it_is_probed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crons = crons_with()
    asked = counting(crons, monkeypatch)

    async def main() -> None:
        apps, end = [health(crons), health(crons, verbose=True)], time.monotonic() + 1.2
        while time.monotonic() < end:
            answers = await asyncio.gather(*(ask(app, "GET") for app in apps for _ in range(20)))
            assert {answer.status for answer in answers} == {200}

    asyncio.run(main())
    assert len(asked) == 2
    assert asked[1] - asked[0] >= 0.9


@pytest.mark.alone
def test_a_silent_store_is_told_in_time_and_probes_do_not_pile_up(tmp_path: Path) -> None:
    server = redis_server.Server(tmp_path)
    server.start()
    crons = crons_with(backend=server.url)
    try:
        asyncio.run(probes_of_a_stopped(server, crons))
    finally:
        assert server.process
        os.kill(server.process.pid, signal.SIGCONT)
        server.stop()


async def probes_of_a_stopped(server: redis_server.Server, crons: Crons) -> None:
    app = health(crons)
    assert (await ask(app, "GET")).status == 200
    assert server.process
    os.kill(server.process.pid, signal.SIGSTOP)
    a_second_later(crons)
    before = time.monotonic()
    answers = await asyncio.gather(*(ask(app, "GET") for _ in range(50)))
    assert time.monotonic() - before < 3
    assert {(answer.status, answer.json["backend"]) for answer in answers} <= {(503, "slow"), (503, "down")}
    os.kill(server.process.pid, signal.SIGCONT)
    async with asyncio.timeout(5):
        while (await ask(app, "GET")).status != 200:
            a_second_later(crons)


@pytest.mark.alone
def test_a_locked_database_delays_no_probe_and_does_not_make_it_unwell(tmp_path: Path) -> None:
    crons = crons_with(backend=f"file:{tmp_path}/store")
    app = health(crons)

    async def main() -> None:
        await asyncio.wait([process_of(crons).runtime().request_poll(PollReason.REQUEST)])
        await process_of(crons).runtime().settle(5)
        writer = sqlite3.connect(tmp_path / "store" / "crons.db", isolation_level=None)
        try:
            writer.execute("BEGIN EXCLUSIVE")
            before = time.monotonic()
            assert (await ask(app, "GET")).json["backend"] == "ok"
            assert time.monotonic() - before < 1
        finally:
            writer.close()
            await process_of(crons).runtime().close()

    asyncio.run(main())


def test_who_reads_the_store_and_leaves_takes_it_away_from_nobody(tmp_path: Path) -> None:
    crons = crons_with(backend=f"file:{tmp_path}/store")

    async def main() -> None:
        runtime = process_of(crons).runtime()
        async with process_of(crons).store() as (_, backend):
            async with process_of(crons).store():
                pass
            assert await history_of(backend, limit=9) == []
            await asyncio.wait([runtime.request_poll(PollReason.REQUEST)])
            await runtime.settle(5)
        assert len(await history_of(backend, limit=9)) == 1
        await runtime.close()

    asyncio.run(main())


def test_probes_beside_the_first_visitors_close_no_store(tmp_path: Path) -> None:
    crons = crons_with(schedule=0.05, backend=f"file:{tmp_path}/store")
    app = PseudoCronMiddleware(Starlette(routes=[Route("/", health(crons))]), crons=crons)

    async def main() -> None:
        answers = await asyncio.gather(*(ask(app, "GET") for _ in range(10)))
        assert {answer.status for answer in answers} == {200}
        await process_of(crons).runtime().settle(5)
        await asyncio.wait([process_of(crons).runtime().request_poll(PollReason.REQUEST)])
        await process_of(crons).runtime().settle(5)
        assert (await cron_status(crons))[0].runs >= 1
        await process_of(crons).runtime().close()

    asyncio.run(main())
