"""The trigger URL: who may call it, what it runs, what it tells."""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from support import Lifespan, until

from endpoints.calling import BEARER, TOKEN, Answer, ask, request
from pseudocron import ConfigError, Crons, PseudoCronMiddleware, cron_status, trigger
from pseudocron.endpoints.failures import FailureCounter
from pseudocron.process import process_of

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp, Message

SKIPPED = {"name", "slot", "slots", "reason"}


def one_cron(**options: Any) -> tuple[Crons, list[int]]:
    """A cron that is due at once and then not for hours, and what it leaves behind."""
    crons, ran = Crons(backend="memory:"), []

    @crons.every(hours=5, name="one", **options)
    async def one() -> None:
        ran.append(1)

    return crons, ran


def test_it_runs_what_is_due_and_tells_so_and_then_that_nothing_is() -> None:
    crons, ran = one_cron()

    async def main() -> None:
        first, second = [await ask(trigger(crons, token=TOKEN), headers=BEARER) for _ in range(2)]
        assert (first.status, second.status) == (200, 200)
        (one,) = first.json.pop("ran")
        assert (one["name"], one["outcome"]) == ("one", "succeeded")
        assert {"polled", "why", "over", "ran", "skipped", "jobs"} == first.json.keys()
        assert (first.json["polled"], first.json["why"], first.json["over"]) == (True, None, True)
        assert (second.json["polled"], second.json["why"], second.json["ran"]) == (False, "nothing_due", [])

    asyncio.run(main())
    assert ran == [1]


def test_it_tells_what_was_skipped_and_why() -> None:
    crons, _ = one_cron()

    async def main() -> None:
        crons.add("rests", print, 60)
        await cron_status(crons)
        async with process_of(crons).store() as (_, backend):
            await backend.pause("rests", True)
            answer = (await ask(trigger(crons, token=TOKEN), headers=BEARER)).json
        (skip,) = answer["skipped"]
        assert skip.keys() == SKIPPED
        assert (skip["name"], skip["slots"], skip["reason"]) == ("rests", 1, "paused")
        assert [run["name"] for run in answer["ran"]] == ["one"]

    asyncio.run(main())


def test_a_slot_that_it_asks_for_in_vain_is_skipped_with_the_reason() -> None:
    crons, go_on = Crons(backend="memory:"), asyncio.Event()
    crons.add("slow", go_on.wait, 0.05)

    async def main() -> None:
        app = trigger(crons, token=TOKEN)
        skipped: list[dict[str, Any]] = []
        async with asyncio.timeout(3):
            while not skipped:
                skipped = (await ask(app, path="/?wait=0.05", headers=BEARER)).json["skipped"]
        assert [(skip["name"], skip["slots"], skip["reason"]) for skip in skipped][-1] == ("slow", 1, "overlap")
        go_on.set()
        await process_of(crons).runtime().settle(5)

    asyncio.run(main())


def test_a_tick_goes_on_until_nothing_is_due_with_one_place() -> None:
    crons = Crons(backend="memory:", concurrency=1)
    for number in range(5):
        crons.add(f"cron {number}", asyncio.sleep, "every 5 hours", args=[0])
    answer = asyncio.run(ask(trigger(crons, token=TOKEN), headers=BEARER)).json
    assert [run["outcome"] for run in answer["ran"]] == ["succeeded"] * 5
    assert answer["over"]


def test_it_counts_the_jobs_that_ended_by_their_states() -> None:
    crons, _ = one_cron()

    @crons.task(retries=0)
    async def work(number: int) -> None:
        assert number

    async def main() -> Answer:
        await work.defer_many([{"number": number} for number in range(30)])
        return await ask(trigger(crons, token=TOKEN), headers=BEARER)

    assert asyncio.run(main()).json["jobs"] == {"succeeded": 29, "failed": 1}


def test_with_wait_0_it_answers_202_at_once_and_works_on_behind() -> None:
    crons, ran = one_cron()

    async def main() -> None:
        answer = await ask(trigger(crons, token=TOKEN), path="/?wait=0", headers=BEARER)
        assert (answer.status, answer.json["over"], ran) == (202, False, [])
        await until(lambda: ran)

    asyncio.run(main())


def test_what_takes_longer_than_wait_goes_on_without_an_outcome() -> None:
    crons, go_on = Crons(backend="memory:"), asyncio.Event()
    crons.add("slow", go_on.wait, "every 5 hours")

    async def main() -> None:
        answer = await ask(trigger(crons, token=TOKEN), path="/?wait=0.1", headers=BEARER)
        assert (answer.status, answer.json["ran"][0]["outcome"]) == (202, None)
        go_on.set()
        await process_of(crons).runtime().settle(5)
        assert (await cron_status(crons))[0].failures == 0

    asyncio.run(main())


def test_a_caller_who_goes_away_takes_no_run_with_it() -> None:
    crons, go_on = Crons(backend="memory:"), asyncio.Event()
    crons.add("slow", go_on.wait, "every 5 hours")

    async def main() -> None:
        caller = asyncio.create_task(ask(trigger(crons, token=TOKEN), headers=BEARER))
        await until(lambda: process_of(crons).runtime().runs)
        caller.cancel()
        await asyncio.wait([caller])
        go_on.set()
        await process_of(crons).runtime().settle(5)
        status = (await cron_status(crons))[0]
        assert (status.runs, status.failures) == (1, 0)

    asyncio.run(main())


@pytest.mark.parametrize("asked", ["soon", "-1", "nan", "inf", "", "1e999"])
def test_a_wait_that_is_no_number_of_seconds_is_answered_by_400(asked: str) -> None:
    crons, ran = one_cron()
    answer = asyncio.run(ask(trigger(crons, token=TOKEN), path=f"/?wait={asked}", headers=BEARER))
    assert answer.status == 400
    assert "must be a number of seconds" in answer.json["error"]
    assert not ran


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/cron", {}),
        ("POST", "/cron", {"authorization": "Bearer another-token-as-long"}),
        ("POST", "/cron", {"authorization": f"Basic {TOKEN}"}),
        ("POST", "/cron", {"authorization": TOKEN}),
        ("POST", "/cron", {"authorization": "Bearer "}),
        ("POST", "/cron?token=", {}),
        ("POST", f"/cron?token={TOKEN}x", {}),
        ("POST", f"/cron?token={TOKEN[:-1]}", {}),
        ("POST", "/cron?token=%ff%00%zz", {}),
        ("POST", "/cron?" + "&".join(f"a{n}=1" for n in range(200)), {}),
        ("GET", "/cron", {}),
        ("HEAD", "/cron", {"authorization": "Bearer another-token-as-long"}),
        ("DELETE", "/cron", BEARER),
    ],
)
@pytest.mark.parametrize("framework", [Starlette, FastAPI])
def test_a_wrong_token_gets_the_bytes_of_a_missing_url(
    framework: type[Starlette], method: str, path: str, headers: dict[str, str]
) -> None:
    crons, ran = one_cron()
    app = framework()
    app.add_route("/cron", trigger(crons, token=TOKEN))  # type: ignore[arg-type]

    async def main() -> None:
        refused = await ask(app, method, path, headers=headers)
        assert refused.status == 404
        assert refused == await ask(app, method, path.replace("/cron", "/nowhere"), headers=headers)
        assert process_of(crons).runtime().polls.task is None

    asyncio.run(main())
    assert not ran


def test_an_application_with_a_page_for_what_is_not_there_shows_it() -> None:
    async def page(_: Request, error: Exception) -> Response:
        return PlainTextResponse("our own", status_code=404)

    app = Starlette(routes=[Route("/cron", trigger(one_cron()[0], token=TOKEN))], exception_handlers={404: page})
    assert asyncio.run(ask(app, path="/cron")).body == b"our own"


def test_get_polls_unless_that_is_refused() -> None:
    crons, ran = one_cron()
    for method in ("GET", "HEAD"):
        assert asyncio.run(ask(trigger(crons, token=TOKEN, get=False), method, f"/?token={TOKEN}")).status == 404
    assert not ran
    assert asyncio.run(ask(trigger(crons, token=TOKEN), "GET", f"/?token={TOKEN}")).status == 200
    assert ran


def test_head_is_answered_without_a_poll() -> None:
    crons, ran = one_cron()

    async def main() -> None:
        answer = await ask(trigger(crons, token=TOKEN), "HEAD", f"/?token={TOKEN}")
        assert (answer.status, answer.body) == (200, b"")
        assert process_of(crons).runtime().polls.task is None

    asyncio.run(main())
    assert not ran


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_name_of_the_scheme_may_be_written_in_any_case(scheme: str) -> None:
    app = trigger(one_cron()[0], token=TOKEN)
    assert asyncio.run(ask(app, headers={"Authorization": f"{scheme} {TOKEN}"})).status == 200


def test_a_token_in_the_query_is_blotted_out_before_anybody_can_log_it() -> None:
    for path in (f"/?wait=0&token={TOKEN}", f"/?token={TOKEN}x", f"/?to%6ben={TOKEN}", f"/?{'a&' * 200}token={TOKEN}"):
        scope = request(path=path)

        async def send(_: Message) -> None: ...

        asyncio.run(trigger(one_cron()[0], token=TOKEN)(scope, None, send))  # type: ignore[arg-type]
        assert TOKEN.encode() not in scope["query_string"]


@pytest.mark.parametrize(
    ("token", "mend"),
    [
        ("", "has 0 characters, must have 16 or more"),
        ("fifteen-letters", "has 15 characters, must have 16 or more"),
        ("sixteen letters!", "without spaces"),
        ("sixteen-letters-ü", "printable ASCII"),
        ("sixteen-letters\n", "printable ASCII"),
        (b"sixteen-letters-", "is of type bytes, must be text"),
        (None, "is of type NoneType, must be text"),
    ],
)
def test_a_token_that_is_too_weak_is_refused_with_the_mend_and_is_not_shown(token: Any, mend: str) -> None:
    with pytest.raises(ConfigError, match=r"secrets\.token_urlsafe") as refused:
        trigger(Crons(), token=token)
    assert mend in str(refused.value)
    assert not token or str(token) not in str(refused.value)


@pytest.mark.parametrize("options", [{"wait": -1}, {"wait": "long"}, {"get": "yes"}])
def test_a_wrong_option_is_refused_where_it_is_written(options: Any) -> None:
    with pytest.raises(ConfigError, match=f"trigger: {next(iter(options))}: .* must be"):
        trigger(Crons(), token=TOKEN, **options)


def test_the_token_is_in_nothing_that_the_application_holds() -> None:
    app = trigger(one_cron()[0], token=TOKEN)
    assert TOKEN not in repr(app)
    assert TOKEN not in repr(vars(app))


def test_wrong_tokens_lock_out_nobody_who_has_the_right_one(caplog: pytest.LogCaptureFixture) -> None:
    app = trigger(one_cron()[0], token=TOKEN)

    async def main() -> None:
        for number in range(24):
            assert (await ask(app, headers={"authorization": f"Bearer {number}{TOKEN}"})).status == 404
            assert (await ask(app, headers=BEARER)).status == 200
        assert (await ask(app, headers=BEARER, client=("192.0.2.2", 1))).status == 200
        assert (await ask(app, headers=BEARER, client=None)).status == 200

    asyncio.run(main())
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line == "trigger: many wrong tokens within a minute from '192.0.2.1'"
    assert TOKEN not in caplog.text


def test_a_request_without_a_token_is_no_guess() -> None:
    app = trigger(one_cron()[0], token=TOKEN)

    async def main() -> None:
        for _ in range(20):
            assert (await ask(app)).status == 404
        assert (await ask(app, headers=BEARER)).status == 200

    asyncio.run(main())


def test_failures_are_counted_by_network_for_a_minute() -> None:
    now = 0.0
    counter = FailureCounter(most=2, seconds=60, clock=lambda: now)
    assert [counter.failed("2001:db8::1"), counter.failed("2001:db8::ffff")] == [None, "2001:db8::/64"]
    assert counter.failed("2001:db8:0:1::1") is None
    now = 59.9
    assert counter.failed("2001:db8::1") is None, "it is logged once a minute"
    now = 60
    assert [counter.failed("2001:db8::1"), counter.failed("2001:db8::2")] == [None, "2001:db8::/64"]


def test_an_ipv4_caller_of_a_socket_for_both_counts_as_ipv4() -> None:
    counter = FailureCounter(most=2)
    assert [counter.failed(f"::ffff:192.0.2.{number}") for number in range(9)] == [None] * 9
    assert counter.failed("192.0.2.1") == "192.0.2.1"


def test_of_a_million_addresses_the_latest_are_remembered() -> None:
    counter = FailureCounter(most=2, networks=100)
    for number in range(10_000):
        counter.failed(f"10.0.{number // 256}.{number % 256}")
    counter.failed("no address " * 1000)
    assert len(counter._failures) == 100
    assert counter.failed("10.0.39.15") == "10.0.39.15"
    assert max(map(len, counter._failures)) <= 64


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
@pytest.mark.parametrize("with_lifespan", [True, False])
@pytest.mark.parametrize("path", ["/cron/tick", "/cron/tick/", "/sub/tick", "/sub/tick/"])
def test_it_works_wherever_it_is_mounted(
    framework: type[Starlette],
    with_lifespan: bool,  # noqa: FBT001 - a parameter of the test
    path: str,
) -> None:
    crons, ran = one_cron()

    async def main() -> None:
        app: ASGIApp = framework(routes=[*routes(crons, path)])
        if with_lifespan:
            app = PseudoCronMiddleware(app, crons=crons)
        async with Lifespan(app) if with_lifespan else nullcontext():
            answer = await ask(app, path=path, headers=BEARER)
            assert (answer.status, [run["name"] for run in answer.json["ran"]]) == (200, ["one"])

    asyncio.run(main())
    assert ran == [1]


def test_the_crons_may_be_named_by_a_path_or_an_import_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crons.py").write_text('BACKEND = "memory:"\ncrons = {"one": ("builtins:int", "every 5 hours")}')
    (tmp_path / "shop_with_a_trigger.py").write_text(
        "from pseudocron import Crons\ncrons = Crons(backend='memory:')\ncrons.add('one', int, 'every 5 hours')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for crons in (tmp_path / "crons.py", str(tmp_path / "crons.py"), "shop_with_a_trigger:crons"):
        answer = asyncio.run(ask(trigger(crons, token=TOKEN), headers=BEARER))
        assert (answer.status, answer.json["why"]) in {(200, None), (200, "nothing_due")}


def routes(crons: object, path: str) -> list[Mount | Route]:
    endpoint = trigger(crons, token=TOKEN)
    if path.startswith("/sub"):
        return [Mount("/sub", Starlette(routes=[Route(path.removeprefix("/sub"), endpoint)]))]
    return [Mount("/cron/tick", endpoint)] if path.endswith("/") else [Route(path, endpoint)]


def test_a_mount_sends_the_path_without_the_slash_to_the_one_with_it() -> None:
    app = Starlette(routes=[Mount("/cron/tick", trigger(one_cron()[0], token=TOKEN))])
    answer = asyncio.run(ask(app, path="/cron/tick", headers={**BEARER, "host": "here"}))
    assert (answer.status, dict(answer.headers)[b"location"]) == (307, b"http://here/cron/tick/")


def test_served_by_itself_it_drains_at_the_shutdown() -> None:
    crons = Crons(backend="memory:", drain=0)
    crons.add("endless", asyncio.Event().wait, "every 5 hours")

    async def main() -> None:
        app = trigger(crons, token=TOKEN)
        async with Lifespan(app) as server:
            caller = asyncio.create_task(ask(app, headers=BEARER))
            await until(lambda: process_of(crons).runtime().runs)
        assert server.events == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        answer = await caller
        assert answer.json["ran"][0]["outcome"] == "interrupted"
        after = await ask(app, headers=BEARER)
        assert (after.status, after.json["why"]) == (503, "closed")

    asyncio.run(main())


def test_a_websocket_is_refused() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(trigger(one_cron()[0], token=TOKEN)({"type": "websocket"}, None, send))  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_a_poll_that_is_impossible_is_503_with_the_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "no folder").touch()
    down = Crons(backend=f"file:{tmp_path}/no folder")
    down.add("one", int, 60)
    for crons, why in ((tmp_path / "not there.py", "bad_config"), (down, "backend_down")):
        caplog.clear()
        answer = asyncio.run(ask(trigger(crons, token=TOKEN), headers=BEARER))
        assert (answer.status, answer.json["why"]) == (503, why)
        assert str(tmp_path) not in answer.body.decode()
        assert str(tmp_path) in caplog.text


def test_where_everything_is_switched_off_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSEUDOCRON_ENABLED", "0")
    crons, ran = one_cron()
    answer = asyncio.run(ask(trigger(crons, token=TOKEN), headers=BEARER))
    assert (answer.status, answer.json["why"], ran) == (200, "disabled", [])
