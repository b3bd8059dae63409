"""The folder of a store: its modes, and other people's files in it, which are named and left alone."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from itertools import count
from typing import TYPE_CHECKING

import pytest

from backends import using
from pseudocron.backends.file import schema
from pseudocron.backends.file.backend import File
from pseudocron.backends.file.schema import VERSION
from pseudocron.backends.model import Kind
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pseudocron.backends.model import Run


def refusal(folder: Path) -> str:
    """What opening the store in `folder` complains of."""
    with pytest.raises(BackendError) as raised:
        asyncio.run(File(folder).open())
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)
    return str(raised.value)


async def opened(folder: Path) -> Sequence[Run]:
    """The jobs of a store that is opened and closed."""
    async with using.opened(f"file:{folder}") as backend:
        return await using.jobs(backend)


def write(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "crons.db")) as db, db:
        db.execute(statement)


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o777])
def test_what_is_made_is_for_its_user_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    async def use() -> dict[str, int]:
        async with using.opened(f"file:{tmp_path}/above/store") as backend:
            assert (await using.claim(backend)).kind is Kind.SLOT
            return {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "above").rglob("*")}

    before = os.umask(umask)
    try:
        modes = asyncio.run(use())
    finally:
        os.umask(before)
    assert modes.pop("store") == (tmp_path / "above").stat().st_mode & 0o777 == 0o700
    assert modes == dict.fromkeys(["cron.lock", "crons.db", "crons.db-wal", "crons.db-shm"], 0o600)


def test_a_folder_that_was_there_keeps_its_mode(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    asyncio.run(opened(folder))
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE meta SET version = 99", f"has version 99, this pseudocron reads {VERSION}: upgrade pseudocron"),
        ("UPDATE meta SET version = 3", f"has version 3, this pseudocron reads {VERSION}: move it away, and"),
        ("PRAGMA application_id = 7", f"has version {VERSION}, of an older pseudocron, this one reads {VERSION}: move"),
    ],
)
def test_a_store_of_another_version_is_named_and_left_alone(folder: Path, statement: str, message: str) -> None:
    asyncio.run(opened(folder))
    write(folder, statement)
    before = (folder / "crons.db").read_bytes()
    assert message in refusal(folder)
    assert (folder / "crons.db").read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 5", f"has version 5, of an older pseudocron, this one reads {VERSION}: move it away"),
        ("CREATE TABLE mine (a)", "is a database of another program: move it away, or name another folder"),
        ("PRAGMA application_id = 7", "is a database of another program"),
    ],
)
def test_a_database_that_is_not_ours_is_named_and_left_alone(folder: Path, statement: str, message: str) -> None:
    folder.mkdir()
    write(folder, statement)
    before = (folder / "crons.db").read_bytes()
    assert message in refusal(folder)
    assert (folder / "crons.db").read_bytes() == before


def test_a_version_that_an_older_pseudocron_has_overwritten_is_set_right(folder: Path) -> None:
    asyncio.run(opened(folder))
    write(folder, "PRAGMA user_version = 5")
    assert asyncio.run(opened(folder)) == []
    with closing(sqlite3.connect(folder / "crons.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_a_store_that_another_process_makes_at_the_same_moment_is_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the other one is done, what is read of its file is all from before that, or from after it."""
    read, moments = schema._pragma, count()

    def pragma(db: sqlite3.Connection, name: str) -> int:
        value = read(db, name)
        if next(moments) == 0:
            with closing(sqlite3.connect(folder / "crons.db", timeout=0)) as other, suppress(sqlite3.OperationalError):
                schema.create(other, "other")
        return value

    monkeypatch.setattr(schema, "_pragma", pragma)
    assert asyncio.run(opened(folder)) == []
    assert next(moments) > 2


def test_a_file_that_is_no_store_is_named_and_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "crons.db").write_text("crons = {}\n" * 100)
    assert "can't be read (file is not a database): it is left alone" in refusal(folder)
    assert (folder / "crons.db").read_text() == "crons = {}\n" * 100


def test_a_damaged_store_is_named_and_left_alone(folder: Path) -> None:
    asyncio.run(opened(folder))
    content = (folder / "crons.db").read_bytes()
    damaged = content[:4096] + b"\xa5" * (len(content) - 4096)
    (folder / "crons.db").write_bytes(damaged)
    with pytest.raises(BackendError, match=r"crons\.db' can't be read \(database disk image is malformed\)"):
        asyncio.run(opened(folder))
    assert (folder / "crons.db").read_bytes() == damaged


def test_a_file_in_place_of_the_folder_is_named(folder: Path) -> None:
    folder.write_text("mine")
    assert refusal(folder).endswith(f"can't be used: Not a folder: '{folder}', move it away or name another folder")
    assert f"Not a folder: '{folder}'" in refusal(folder / "below")
    assert folder.read_text() == "mine"


def test_a_folder_in_place_of_the_file_is_named(folder: Path) -> None:
    (folder / "crons.db").mkdir(parents=True)
    assert "can't be used: unable to open database file" in refusal(folder)


FORBIDDEN = """
import asyncio, concurrent.futures.thread, os, sys  # another user may not read the interpreter
from pathlib import Path
from pseudocron.backends.file.backend import File
from pseudocron.errors import BackendError

os.chmod(sys.argv[1], 0o500)
if os.getuid() == 0:
    os.setuid(65534)  # root may do everything
try:
    asyncio.run(File(Path(sys.argv[1])).open())
except BackendError as error:
    print(error)
"""


def test_a_folder_that_is_not_ours_to_write_is_named(folder: Path) -> None:
    folder.mkdir()
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORBIDDEN, str(folder)], check=True, capture_output=True, text=True
    ).stdout
    assert f"store '{folder}/crons.db' can't be used: Permission denied" in told
    assert told.endswith(", let this user write to it or name another folder\n")


def test_a_store_deleted_by_hand_is_made_anew_and_shared_as_before(
    folder: Path, backend: File, runner: asyncio.Runner
) -> None:
    other = File(folder)
    runner.run(other.open())
    before = runner.run(using.claim(backend))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    (job_id,) = runner.run(using.defer(other))
    assert runner.run(backend.run(job_id))
    assert [one.run_id for one in runner.run(using.claim_jobs(backend))] == [job_id]
    assert not runner.run(using.claim_jobs(other))
    assert runner.run(other.run(before.run_id)) is None
    runner.run(other.close())
