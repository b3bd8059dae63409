"""A store written by an adversary: the application is served, and nothing is called but what is registered."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis
from redis_server import shared
from support import Lifespan, hello, visit

from pseudocron import Crons, PseudoCronMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Harm = Callable[[], object]

RAN: list[str] = []


def application(store: str, app: str = "pseudocron") -> PseudoCronMiddleware:
    RAN.clear()
    crons = Crons(backend=store, app=app, cron_max_time=0.01)

    @crons.every(0.01)
    async def often() -> None:
        RAN.append("often")

    @crons.task
    async def mail(to: str = "") -> None:
        RAN.append(f"mail {to}")

    return PseudoCronMiddleware(hello, crons=crons)


def serve(
    store: str,
    harm: Callable[[], object],
    said: pytest.LogCaptureFixture,
    *,
    enough: Callable[[], object] | None = None,
) -> str:
    """Harm the store under a living application; what it logs of it, while it answers each request.

    That goes on until there is enough: until something is logged, unless another condition is given.
    """

    async def use() -> None:
        served = application(store)
        async with Lifespan(served):
            while RAN.count("often") < 2:  # so that the first is recorded
                await visit(served)
                await asyncio.sleep(0.01)
            await asyncio.to_thread(harm)
            said.clear()
            async with asyncio.timeout(20):
                while not (enough() if enough else said.text):
                    (start, _) = await visit(served)
                    assert start["status"] == 200
                    await asyncio.sleep(0.01)

    with said.at_level(logging.WARNING, logger="pseudocron"):
        asyncio.run(use())
    return said.text


def written(path: Path, *statements: str) -> Callable[[], None]:
    def harm() -> None:
        with closing(sqlite3.connect(path / "crons.db", timeout=20)) as db, db:
            for statement in statements:
                db.execute(statement)

    return harm


def a_job(run_id: str = "j", *, task: str = "mail", **columns: object) -> tuple[str, str]:
    """A pending job that is due, with the name of its task written by hand."""
    number = {"j": 99, "g": 98}[run_id]
    job: dict[str, object] = {"id": number, "run_id": f"'{run_id}'", "name": f"'{task}'", "kind": "'job'", "due": 1}
    job |= {"created": 1, "at_least_once": 1, "arguments": "'{}'"} | columns
    values = ", ".join(map(str, job.values()))
    wait = f"INSERT INTO pending VALUES (1, '{task}', 0, 0, {job['due']}, {number}, 0, NULL, NULL, 0)"  # noqa: S608
    return f"INSERT INTO runs ({', '.join(job)}) VALUES ({values})", wait  # noqa: S608 - a test's


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        (["UPDATE crons SET mark = 1 << 62"], "can't be read (OverflowError"),
        (["UPDATE crons SET mark = 'soon'"], "holds a cron that can't be read (TypeError: str where a whole number"),
        (["UPDATE crons SET mark = x'00ff'"], "holds a cron that can't be read (TypeError: bytes where"),
        (["UPDATE names SET seen = 'x'"], None),
        (["CREATE TRIGGER t AFTER INSERT ON runs BEGIN SELECT load_extension('/tmp/x'); END"], "can't be used: "),
        (a_job(arguments="x'00'"), "run j of mail can't be read: set aside as failed"),
        (a_job(due=1 << 62, created=1), None),
        (a_job(fence="'x'"), "run j of mail can't be read: set aside as failed"),
        (["DROP TABLE crons"], "can't be used: no such table: crons"),
    ],
)
def test_what_can_not_be_read_is_told_in_one_line_and_the_requests_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, statements: list[str], why: str | None
) -> None:
    before = len(RAN)
    enough = None if why else lambda: len(RAN) > before + 5
    said = serve(f"file:{tmp_path / 'store'}", written(tmp_path / "store", *statements), caplog, enough=enough)
    assert (why or "") in said
    assert "Traceback" not in said


def has_run_the_good_one() -> bool:
    return "mail good" in RAN


@pytest.mark.parametrize("arguments", ["[", "{} {}", '{"to": NaN', '{"__class__": "os.system"}', "[" * 100_000, "7"])
def test_arguments_that_are_none_fail_their_job_and_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, arguments: str
) -> None:
    lines = [*a_job(arguments=f"'{arguments}'"), *a_job("g", arguments='\'{"to": "good"}\'')]
    said = serve(f"file:{tmp_path / 'store'}", written(tmp_path / "store", *lines), caplog, enough=has_run_the_good_one)
    assert "mail()" in said
    assert "Traceback" not in said


def test_a_job_of_a_task_that_is_not_registered_waits_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evil = tmp_path / "evil"
    lines = [
        *a_job(task="os:system", arguments=f"'{json.dumps({'command': f'touch {evil}'})}'"),
        *a_job("g", arguments='\'{"to": "good"}\''),
    ]
    serve(f"file:{tmp_path / 'store'}", written(tmp_path / "store", *lines), caplog, enough=has_run_the_good_one)
    assert not evil.exists()
    assert set(RAN) == {"often", "mail good"}
    with closing(sqlite3.connect(tmp_path / "store" / "crons.db")) as db:
        assert db.execute("SELECT state, attempts FROM runs WHERE id = 99").fetchone() == ("pending", 0)


@pytest.fixture
def keys() -> Iterator[tuple[redis.Redis, str]]:
    client = redis.Redis.from_url(shared().url, decode_responses=True)
    yield client, f"a{uuid4().hex}"
    client.close()


def each_hash(client: Any, app: str, field: str, value: str) -> None:
    for key in client.scan_iter(f"{{{app}}}*"):
        if client.type(key) == "hash" and client.hexists(key, field):
            client.hset(key, field, value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mark", "9" * 30),
        ("mark", "soon"),
        ("mark", "-1e999"),
        ("claims", "many"),
        ("slot", "9" * 5000),
        ("waited", "[["),
        ("waited", "7"),
        ("worker", "\udcff"),
        ("started", "{}"),
        ("fence", "\0"),
    ],
)
def test_a_hash_of_redis_that_can_not_be_read_stops_no_request(
    keys: tuple[redis.Redis, str], caplog: pytest.LogCaptureFixture, field: str, value: str
) -> None:
    client, app = keys

    def harm() -> None:
        each_hash(client, app, field, value.encode(errors="surrogateescape"))  # type: ignore[arg-type]

    async def use() -> None:
        served = application(shared().url, app)
        async with Lifespan(served):
            for _ in range(3):
                await visit(served)
                await asyncio.sleep(0.01)
            await asyncio.to_thread(harm)
            for _ in range(8):
                (start, _) = await visit(served)
                assert start["status"] == 200
                await asyncio.sleep(0.01)

    with caplog.at_level(logging.WARNING, logger="pseudocron"):
        asyncio.run(use())
    assert "Traceback" not in caplog.text


def test_a_job_of_redis_whose_task_was_renamed_is_not_called(
    keys: tuple[redis.Redis, str], caplog: pytest.LogCaptureFixture
) -> None:
    client, app = keys
    crons = Crons(backend=shared().url, app=app, cron_max_time=0.01)

    @crons.task
    async def mail(to: str = "") -> None:
        RAN.append(f"mail {to}")

    async def use() -> None:
        RAN.clear()
        served = PseudoCronMiddleware(hello, crons=crons)
        async with Lifespan(served):
            await mail.options(delay=0.1).defer("evil")
            await asyncio.to_thread(each_hash, client, app, "name", "os:system")
            async with asyncio.timeout(20):
                while not is_claimed(client, app, "os:system"):
                    await visit(served)
                    await asyncio.sleep(0.01)
            await mail.defer("good")
            async with asyncio.timeout(20):
                while not has_run_the_good_one():
                    await visit(served)
                    await asyncio.sleep(0.01)

    with caplog.at_level(logging.WARNING, logger="pseudocron"):
        asyncio.run(use())
    assert RAN == ["mail good"]
    assert "Traceback" not in caplog.text


def is_claimed(client: Any, app: str, task: str) -> bool:
    hashes = [client.hgetall(key) for key in client.scan_iter(f"{{{app}}}*") if client.type(key) == "hash"]
    return any(kept.get("name") == task and kept.get("state") == "running" for kept in hashes)


@pytest.mark.parametrize("name", ["crons.db", "crons.db-wal", "crons.db-shm", "crons.db-journal", "cron.lock"])
def test_a_link_in_the_folder_is_refused_and_what_it_leads_to_is_left_alone(tmp_path: Path, name: str) -> None:
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    store.mkdir(0o700)
    elsewhere.write_text("mine")
    os.utime(elsewhere, ns=(1, 1))
    (store / name).symlink_to(elsewhere)

    async def start() -> str | None:
        lifespan = Lifespan(application(f"file:{store}"))
        async with lifespan:
            return lifespan.failure

    told = asyncio.run(start())
    assert told is not None
    assert f"'{store / name}' is a symbolic link: remove it, or name the folder where the store is to be" in told
    assert (elsewhere.read_text(), elsewhere.stat().st_mtime_ns) == ("mine", 1)
    assert {path.name for path in store.iterdir()} <= {name, "crons.db"}


def test_all_that_is_made_is_for_this_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    async def use() -> None:
        async with Lifespan(application(f"file:{tmp_path / 'store'}")):
            modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "store").iterdir()}
            assert modes == {"cron.lock": 0o600, "crons.db": 0o600, "crons.db-wal": 0o600, "crons.db-shm": 0o600}
            assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700

    before = os.umask(0)
    try:
        asyncio.run(use())
    finally:
        os.umask(before)
