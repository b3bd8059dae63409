"""A URL names a backend; a wrong one is told what is wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest

from pseudocron import backends
from pseudocron.backends import Options, connect
from pseudocron.backends.contract import Backend
from pseudocron.backends.file.backend import File, Memory
from pseudocron.crons import Crons
from pseudocron.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


async def paused(backend: Backend, name: str) -> bool:
    await backend.open()
    try:
        return (await backend.states([name])).crons[name].paused
    finally:
        await backend.close()


async def pause(backend: Backend, name: str) -> None:
    await backend.open()
    await backend.pause(name, True)
    await backend.close()


def test_a_relative_folder_counts_from_the_given_one(tmp_path: Path) -> None:
    asyncio.run(pause(connect("file:a/b", folder=tmp_path), "mail"))
    assert (tmp_path / "a" / "b" / "crons.db").is_file()


def test_an_absolute_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    asyncio.run(pause(connect(f"file:{tmp_path}/store", folder=tmp_path / "elsewhere"), "mail"))
    assert (tmp_path / "store" / "crons.db").is_file()
    assert not (tmp_path / "elsewhere").exists()


def test_two_processes_that_name_the_same_folder_share_it(tmp_path: Path) -> None:
    asyncio.run(pause(connect("file:store", folder=tmp_path), "mail"))
    assert asyncio.run(paused(connect("file:store", folder=tmp_path), "mail"))


def test_two_applications_in_a_folder_know_nothing_of_each_other(tmp_path: Path) -> None:
    asyncio.run(pause(connect("file:store", app="shop", folder=tmp_path), "mail"))
    assert not asyncio.run(paused(connect("file:store", folder=tmp_path), "mail"))
    assert not asyncio.run(paused(connect("file:store", app="blog", folder=tmp_path), "mail"))
    assert asyncio.run(paused(connect("file:store", app="shop", folder=tmp_path), "mail"))
    assert (tmp_path / "store" / "shop" / "crons.db").is_file()


def asked(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA synchronous").fetchone()[0])


@pytest.mark.parametrize(("said", "synchronous"), [(None, 2), ("power", 2), ("process", 1)])
def test_a_commit_waits_for_the_disk_unless_outliving_a_process_is_enough(
    tmp_path: Path, said: Any, synchronous: int
) -> None:
    backend = Crons(backend=f"file:{tmp_path}/store", durability=said)._connect()
    assert isinstance(backend, File)

    async def main() -> int:
        await backend.open()
        found = await backend._read(lambda txn: txn.db.execute("PRAGMA synchronous").fetchone()[0])
        await backend.close()
        return int(found)

    assert asyncio.run(main()) == synchronous


def test_a_store_in_memory_may_be_told_what_it_shall_outlive() -> None:
    asyncio.run(pause(Crons(backend="memory:", durability="process")._connect(), "mail"))


def test_memory_is_new_with_every_call(tmp_path: Path) -> None:
    asyncio.run(pause(connect("memory:", folder=tmp_path), "mail"))
    assert not asyncio.run(paused(connect("memory:", folder=tmp_path), "mail"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "fiel:x",
            r"backend 'fiel:x': is unknown, must begin with 'file:', 'memory:' or 'redis://', did you mean 'file'\?",
        ),
        ("crons", "backend 'crons': is unknown, must begin with 'file:', 'memory:' or 'redis://'"),
        ("file", r"backend 'file': is unknown, must begin with .*"),
        ("file:", r"backend 'file:': names no folder, did you mean 'file:\.pseudocron'\?"),
        ("memory:x", r"backend 'memory:x': takes nothing behind the colon, did you mean 'file:x'\?"),
    ],
)
def test_a_url_that_names_no_backend_is_refused(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        connect(url, folder=tmp_path)


# Stores of other packages


class Ours(Memory):
    """A store that an application has made."""

    made_of: tuple[str, Options] | None = None


def test_an_object_is_used_as_it_is(tmp_path: Path) -> None:
    ours = Ours()
    assert connect(ours, folder=tmp_path, app="..") is ours
    crons = Crons(backend=ours)
    assert crons._connect() is ours
    assert crons.settings.backend is ours
    assert backends.named(ours) == "Ours"


def test_a_class_in_place_of_an_object_is_told_in_one_line(tmp_path: Path) -> None:
    message = r"is a class, must be an object of it: Ours\(\.\.\.\)$"
    with pytest.raises(ConfigError, match=message) as caught:
        connect(Ours, folder=tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=message):
        Crons(backend=Ours)


def open_ours(url: str, options: Options) -> object:
    """What a package provides."""
    if url == "ours:broken":
        raise ValueError("no such store")
    ours = Ours(keep=options.keep)
    ours.made_of = url, options
    return object() if url == "ours:other" else ours


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that adds a scheme."""
    ours = EntryPoint(name="ours", group=backends.PLUGINS, value=f"{__name__}:open_ours")
    monkeypatch.setattr(backends, "_plugins", lambda: [ours])


@pytest.mark.usefixtures("plugin")
def test_another_package_may_add_a_scheme(tmp_path: Path) -> None:
    backend = connect("ours:there", app="shop", folder=tmp_path, keep=7, durability="process", cron_max_time=9)
    assert isinstance(backend, Ours)
    assert backend.made_of
    url, options = backend.made_of
    assert url == "ours:there"
    assert (options.app, options.folder, options.keep) == ("shop", tmp_path, 7)
    assert (options.durability, options.cron_max_time) == ("process", 9)
    assert Crons(backend="ours:there").settings.backend == "ours:there"


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("our:x", "is unknown, must begin with 'file:', 'memory:', 'ours:' or 'redis://', did you mean 'ours'"),
        ("ours:broken", ":open_ours: .*no such store"),
        ("ours:other", ":open_ours: returned .*, must be a Backend"),
    ],
)
def test_what_a_package_can_not_open_is_told_with_its_name(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        connect(url, folder=tmp_path)


NAMELESS = r"other applications can reach it; name this one by Crons\(app=\.\.\.\), APP or PSEUDOCRON_APP$"


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ("redis://me:secret@h/0", r"'redis://\*\*\*@h/0'"),
        ("rediss://h/0", "'rediss://h/0'"),
        ("unix:///run/redis.sock", "'unix:///run/redis.sock'"),
        (lambda: None, r"'the client of <lambda>\(\)'"),
    ],
)
def test_a_store_that_others_can_reach_needs_a_name(store: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=rf"^backend {words}: {NAMELESS}"):
        Crons(backend=store)._connect()
    Crons(backend=store, app="pseudocron")._connect()
    monkeypatch.setenv("PSEUDOCRON_APP", "shop")
    Crons(backend=store)._connect()


@pytest.mark.usefixtures("plugin")
def test_a_server_of_another_package_needs_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ours, "has_own_clock", True)
    with pytest.raises(ConfigError, match=rf"^backend 'ours:there': {NAMELESS}"):
        Crons(backend="ours:there")._connect()
    Crons(backend="ours:there", app="shop")._connect()


@pytest.mark.parametrize("app", ["", "..", "a/b", ".hidden", "a b", "näme"])
def test_an_app_that_can_not_name_a_folder_is_refused(tmp_path: Path, app: str) -> None:
    with pytest.raises(ConfigError, match="is not a name of letters"):
        connect("file:store", app=app, folder=tmp_path)
