"""Folders and files that a store can't be in: named at the start, and left as they are."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from servers.serving import Server
from support import Clock, Lifespan, hello, until, visit

from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends.file import commits
from pseudocron.backends.file.backend import Memory
from pseudocron.errors import show, unspoken
from pseudocron.process import process_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the store is to be; its configuration has a cron that is due with every look."""
    (tmp_path / "crons.py").write_text('crons = {"often": (int, 0.001)}')
    return tmp_path / ".pseudocron"


def start(store: Path) -> str | None:
    """What the server is told, in one line, if the application can't start."""

    async def use() -> str | None:
        lifespan = Lifespan(PseudoCronMiddleware(hello, crons=store.parent / "crons.py"))
        async with lifespan:
            told = lifespan.failure
            assert told is None or told.isprintable()
            return told

    return asyncio.run(use())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://:hush hush@host/0", "redis://***@host/0"),
        ("redis://me:hu/sh@host/0", "redis://***@host/0"),
        ("rediss://host/0?ssl_password=hush hush&db=1", "rediss://host/0?ssl_password=***&db=1"),
        ("redis://host/0?password=hush", "redis://host/0?password=***"),
        ("of redis://me:hush@host and unix://b?password=hush it", "of redis://***@host and unix://b?password=***"),
    ],
)
def test_no_password_of_a_url_is_shown(url: str, told: str) -> None:
    assert unspoken(url) == told
    assert show(url) == repr(told)


def test_whatever_opening_a_store_raises_is_the_failure_of_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(_: object) -> None:
        raise TypeError("of redis://me:hush@host\nand more")

    monkeypatch.setattr(Memory, "open", fail)

    async def use() -> str | None:
        async with Lifespan(PseudoCronMiddleware(hello, crons=Crons(backend=Memory()))) as lifespan:
            return lifespan.failure

    assert asyncio.run(use()) == "Memory: can't be opened: TypeError: of redis://***@host and more"


def a_folder(mode: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        path.chmod(mode)

    return make


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_folder_of_folders(path: Path) -> None:
    (path / "cron.lock").mkdir(parents=True)


def a_pipe_for_a_lock(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "cron.lock")


def a_lock_that_leads_nowhere(path: Path) -> None:
    path.mkdir()
    (path / "cron.lock").symlink_to("gone")


def no_database(path: Path) -> None:
    path.mkdir()
    (path / "crons.db").write_bytes(b"not a database" * 100)


def another_version(path: Path) -> None:
    path.mkdir()
    db = sqlite3.connect(path / "crons.db")
    db.execute("PRAGMA user_version = 99")
    db.close()


WRONG: list[tuple[Callable[[Path], None], str]] = [
    (
        a_file,
        "can't be used: Not a folder: '{path}', move it away or name another",
    ),
    (lambda path: path.symlink_to("gone"), "/crons.db' (its folder is a link to 'gone') can't be used: Not a folder"),
    (lambda path: path.symlink_to(path), "(its folder is a link to '{path}') can't be used: Not a folder: '{path}'"),
    (a_folder(0o777), "others may write to its folder (mode 0777), run 'chmod go-w {path}' or name a folder below it"),
    (a_folder(0o770), "others may write to its folder (mode 0770), run 'chmod go-w {path}'"),
    (a_folder(0o1777), "others may write to its folder (mode 1777), run 'chmod go-w {path}'"),
    (a_folder_of_folders, "can't use the lock file '{path}/cron.lock': Is a directory; mend its path or mode"),
    (a_pipe_for_a_lock, "can't use the lock file '{path}/cron.lock': not a file; mend its path or mode"),
    (a_lock_that_leads_nowhere, "can't be used: '{path}/cron.lock' is a symbolic link: remove it"),
    (no_database, "can't be read (file is not a database): it is left alone, mend it or move it away"),
    (another_version, "has version 99, of an older pseudocron, this one reads 11: move it away"),
]


def contents(path: Path) -> dict[str, tuple[int, str | bytes | None]]:
    """All that is in a place: modes, links, and the bytes of files."""
    found: dict[str, tuple[int, str | bytes | None]] = {}
    for each in [path, *sorted(path.rglob("*"))]:
        inside = str(each.readlink()) if each.is_symlink() else each.read_bytes() if each.is_file() else None
        found[str(each)] = (each.lstat().st_mode, inside)
    return found


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_it_stops_the_start_with_one_line_and_is_left_as_it_was(
    store: Path, make: Callable[[Path], None], message: str
) -> None:
    make(store)
    before = contents(store)
    told = start(store)
    assert told is not None
    assert message.replace("{path}", str(store)) in told
    assert str(store) in told
    after = contents(store)
    assert {path: after[path] for path in before} == before


def test_a_store_that_is_busy_at_the_start_is_opened_later(
    store: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start(store) is None
    monkeypatch.setattr(commits, "PATIENCE", 0.05)
    config = store.parent / "crons.py"
    app = PseudoCronMiddleware(hello, crons=config, ticker=True)

    async def main() -> None:
        writer.execute("BEGIN IMMEDIATE")
        async with Lifespan(app) as lifespan:
            assert lifespan.failure is None
            assert (await visit(app))[0]["status"] == 200
            writer.execute("COMMIT")
            await until(lambda: process_of(config).runtime()._poller)
            await until(lambda: process_of(config).runtime().runs)

    caplog.set_level(logging.WARNING)
    with closing(sqlite3.connect(store / "crons.db", isolation_level=None)) as writer:
        asyncio.run(main())
    assert f"poll failed: store '{store}/crons.db' is busy" in caplog.text


def test_the_mend_that_is_named_mends_it(store: Path) -> None:
    a_folder(0o777)(store)
    assert start(store)
    store.chmod(0o755)
    assert start(store) is None


def test_a_folder_below_one_that_all_may_write_to_will_do(store: Path) -> None:
    a_folder(0o1777)(store)
    (store.parent / "crons.py").write_text('BACKEND = "file:.pseudocron/ours"\ncrons = {}')
    assert start(store) is None
    assert (store / "ours" / "crons.db").is_file()


def test_a_link_to_a_folder_is_followed_and_what_it_leads_to_is_what_counts(store: Path) -> None:
    shared = store.with_name("shared")
    a_folder(0o700)(shared)
    store.symlink_to(shared)
    assert start(store) is None
    assert (shared / "crons.db").is_file()
    assert store.is_symlink()
    shared.chmod(0o777)
    told = start(store)
    assert told is not None
    assert f"(its folder is a link to '{shared}') can't be used: others may write to its folder (mode 0777)" in told


@pytest.mark.parametrize(("make", "message"), [WRONG[0], WRONG[3], WRONG[6]])
def test_a_server_does_not_start_and_prints_the_line(
    tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    server = Server(tmp_path, '{"often": ("jobs:in_a_thread", 1)}')
    make(tmp_path / ".pseudocron")
    server.uvicorn()
    assert server.process.wait(30) == 3
    assert message.replace("{path}", str(tmp_path / ".pseudocron")) in server.log
    assert "Traceback" not in server.log


def spoil_the_lock(store: Path) -> None:
    (store / "cron.lock").unlink()
    (store / "cron.lock").mkdir()


def spoil_the_state(store: Path) -> None:
    for path in store.glob("crons.db*"):
        path.unlink()
    (store / "crons.db").write_bytes(b"no database" * 1000)


def replace_the_folder(store: Path) -> None:
    store.rename(store.with_name("aside"))
    a_folder(0o777)(store)


@pytest.mark.parametrize("spoil", [spoil_the_lock, spoil_the_state, replace_the_folder])
def test_while_running_requests_are_served_and_it_is_said_once_a_minute(
    store: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    config = store.parent / "crons.py"
    app = PseudoCronMiddleware(hello, crons=config, wait=10)
    clock = Clock()

    async def come() -> None:
        clock.forward(2)
        process_of(config).deadline = -1
        assert [message.get("status") for message in await visit(app)] == [200, None]

    async def main() -> None:
        process_of(config)._host = clock.host
        async with Lifespan(app) as lifespan:
            assert lifespan.failure is None
            await come()
            assert all("no poll within the last 120 s" in message for message in caplog.messages)
            caplog.clear()
            spoil(store)
            before = contents(store)
            for lines in (1, 2, 3):
                for _ in range(30):
                    await come()
                assert len(caplog.messages) == lines
            assert contents(store).items() >= before.items()
        for line in caplog.messages:
            assert line.startswith("poll failed: ")
            assert str(store) in line
            assert line.isprintable()

    caplog.set_level(logging.WARNING)
    asyncio.run(main())
