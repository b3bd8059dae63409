"""A URL names a backend; a wrong one is told what is wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pseudocron.backends import connect
from pseudocron.backends.file.backend import File
from pseudocron.crons import Crons
from pseudocron.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from pseudocron.backends.contract import Backend


async def paused(backend: Backend, name: str) -> bool:
    await backend.open()
    try:
        return (await backend.states([name])).crons[name].paused
    finally:
        await backend.close()


async def pause(backend: Backend, name: str) -> None:
    await backend.open()
    await backend.pause(name, paused=True)
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


@pytest.mark.parametrize(("said", "synchronous"), [(None, 2), ("power", 2), ("process", 1)])
def test_a_commit_waits_for_the_disk_unless_outliving_a_process_is_enough(
    tmp_path: Path, said: Any, synchronous: int
) -> None:
    backend = Crons(backend=f"file:{tmp_path}/store", durability=said)._connect()
    assert isinstance(backend, File)

    async def main() -> int:
        await backend.open()
        db = backend._store._writer._db
        assert db is not None
        (found,) = await asyncio.to_thread(lambda: db.execute("PRAGMA synchronous").fetchone())
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


@pytest.mark.parametrize("app", ["", "..", "a/b", ".hidden", "a b", "näme"])
def test_an_app_that_can_not_name_a_folder_is_refused(tmp_path: Path, app: str) -> None:
    with pytest.raises(ConfigError, match="is not a name of letters"):
        connect("file:store", app=app, folder=tmp_path)
