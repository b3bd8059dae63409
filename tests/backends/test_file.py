"""What only a folder has: modes, other people's files, busy neighbours, forks and sudden deaths."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import environ_with

from backends.worlds import LEASE, NOON
from pseudocron.backends.file import File, schema, store
from pseudocron.backends.file.verbs import micros
from pseudocron.backends.jobs import NewJob
from pseudocron.backends.records import Claim, Proposal, Refusal
from pseudocron.errors import BackendError
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pseudocron.backends.records import Run

HERE = Path(__file__).parent
MAIL = Proposal(name="mail", slot=NOON, worker="host:1", lease=LEASE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def backend(folder: Path, runner: asyncio.Runner) -> Iterator[File]:
    made = File(folder)
    runner.run(made.open())
    yield made
    runner.run(made.close())


def command(script: str, *args: object) -> list[str]:
    return [sys.executable, "-W", "error", str(HERE / script), *map(str, args)]


def run(script: str, *args: object) -> str:
    return subprocess.run(
        command(script, *args),
        env=environ_with(HERE.parent),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
    ).stdout


def refusal(folder: Path) -> str:
    """What opening the store in `folder` complains of."""
    with pytest.raises(BackendError) as raised:
        asyncio.run(File(folder).open())
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)
    return str(raised.value)


async def opened(folder: Path) -> list[Run]:
    """The history of a store that is opened and closed."""
    backend = File(folder)
    await backend.open()
    try:
        return list(await backend.history(limit=1_000_000))
    finally:
        await backend.close()


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o777])
def test_what_is_made_is_for_its_user_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    async def use() -> dict[str, int]:
        backend = File(tmp_path / "above" / "store")
        await backend.open()
        await backend.enter(60)
        await backend.claim(MAIL)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "above").rglob("*")}
        await backend.close()
        return modes

    before = os.umask(umask)
    try:
        modes = asyncio.run(use())
    finally:
        os.umask(before)
    assert modes.pop("store") == (tmp_path / "above").stat().st_mode & 0o777 == 0o700
    assert modes == dict.fromkeys(["cron.lock", "crons.db", "crons.db-wal", "crons.db-shm"], 0o600)


def test_a_folder_that_was_there_keeps_its_mode(folder: Path, request: pytest.FixtureRequest) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    request.getfixturevalue("backend")
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_store_of_a_newer_version_is_named_and_left_alone(folder: Path) -> None:
    asyncio.run(opened(folder))
    with sqlite3.connect(folder / "crons.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = (folder / "crons.db").read_bytes()
    assert f"has version 99, this pseudocron knows {len(schema.MIGRATIONS)}: upgrade pseudocron" in refusal(folder)
    assert (folder / "crons.db").read_bytes() == before


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
from pseudocron.backends.file import File
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


def test_an_older_store_migrates_forward_and_keeps_what_it_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> list[Run]:
        backend = File(folder)
        await backend.open()
        await backend.claim(MAIL)
        await backend.close()
        added = ("ALTER TABLE crons ADD COLUMN colour TEXT",)
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, added))
        return await opened(folder)

    assert [line.slot for line in asyncio.run(use())] == [NOON]
    db = sqlite3.connect(folder / "crons.db")
    assert db.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
    assert db.execute("SELECT name, colour FROM crons").fetchall() == [("mail", None)]
    db.close()


def test_a_store_from_before_there_were_jobs_takes_jobs_and_keeps_what_it_has(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_once() -> None:
        older = File(folder)
        await older.open()
        await older.close()
        with closing(sqlite3.connect(folder / "crons.db")) as db, db:
            db.execute(
                """INSERT INTO runs (run_id, name, slot, fence, attempt, worker, started, outcome, slots)
                VALUES ('r', 'mail', ?, 1, 1, 'host:1', 1, 'succeeded', 1)""",
                (micros(NOON),),
            )

    async def use() -> tuple[list[Run], Collection[str]]:
        backend = File(folder)
        await backend.open()
        await backend.defer([NewJob(job_id="j1", task="mail", arguments="[]", due=NOON)], max_age=60)
        kept = list(await backend.history()), await backend.waiting_tasks()
        await backend.close()
        return kept

    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
        asyncio.run(run_once())
    (line,), tasks = asyncio.run(use())
    assert (line.slot, tasks) == (NOON, {"mail"})


def test_who_only_reads_does_not_wait_for_who_writes(folder: Path, backend: File, runner: asyncio.Runner) -> None:
    async def read() -> list[object]:
        states = await backend.states({"mail": NOON})
        jobs = await backend.jobs(), await backend.job("j1"), await backend.lingering()
        assert await backend.next_due({"mail": None})
        return [states["mail"].mark, *jobs, await backend.waiting_tasks(), len(await backend.history())]

    runner.run(backend.claim(MAIL))
    neighbour = sqlite3.connect(folder / "crons.db", isolation_level=None)
    neighbour.execute("BEGIN IMMEDIATE")
    assert runner.run(read()) == [NOON, [], None, [], set(), 1]
    neighbour.close()


def test_a_claim_waits_for_a_busy_store(folder: Path, backend: File, runner: asyncio.Runner) -> None:
    neighbour = sqlite3.connect(folder / "crons.db", isolation_level=None, check_same_thread=False)
    waits = count(1)

    def random() -> float:
        if next(waits) == 3:
            neighbour.execute("COMMIT")
        return 0.0

    patient = File(folder, host=Host(random=random))
    runner.run(patient.open())
    neighbour.execute("BEGIN IMMEDIATE")
    assert isinstance(runner.run(patient.claim(MAIL)), Claim)
    assert next(waits) == 4
    runner.run(patient.close())
    neighbour.close()


def test_a_store_that_stays_busy_is_named(
    folder: Path, backend: File, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    neighbour = sqlite3.connect(folder / "crons.db", isolation_level=None)
    neighbour.execute("BEGIN IMMEDIATE")
    with pytest.raises(BackendError, match=r"crons\.db' is busy: another process has held it"):
        runner.run(backend.claim(MAIL))
    neighbour.execute("ROLLBACK")
    neighbour.close()
    assert isinstance(runner.run(backend.claim(MAIL)), Claim)


def test_a_claim_that_fails_halfway_has_changed_nothing(folder: Path, backend: File, runner: asyncio.Runner) -> None:
    neighbour = sqlite3.connect(folder / "crons.db", isolation_level=None)
    neighbour.execute("CREATE TRIGGER full BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(BackendError, match=r"crons\.db' can't be used: disk full"):
        runner.run(backend.claim(MAIL))
    neighbour.execute("DROP TRIGGER full")
    neighbour.close()
    claim = runner.run(backend.claim(MAIL))
    assert isinstance(claim, Claim)
    assert claim.fence == 1


def test_what_is_committed_is_on_the_disk(backend: File) -> None:
    assert backend._store._db is not None
    assert backend._store._db.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert backend._store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_closed_backend_says_so(backend: File, runner: asyncio.Runner) -> None:
    runner.run(backend.close())
    with pytest.raises(BackendError, match="is closed: open the backend first"):
        runner.run(backend.claim(MAIL))


def test_a_store_deleted_by_hand_is_made_anew_and_shared_as_before(
    folder: Path, backend: File, runner: asyncio.Runner
) -> None:
    other = File(folder)
    runner.run(other.open())
    runner.run(backend.claim(MAIL))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert isinstance(runner.run(other.claim(MAIL)), Claim)
    assert runner.run(backend.claim(MAIL)) is Refusal.TAKEN
    runner.run(other.close())
    assert len(runner.run(backend.history())) == 1


def test_a_child_that_inherits_an_open_store_loses_nothing_when_its_parent_closes(folder: Path) -> None:
    granted = run("heir.py", folder).split()
    assert granted == ["1", "2", "3"]
    assert [line.slot for line in asyncio.run(opened(folder))] == [
        NOON + timedelta(seconds=second) for second in (3, 2, 1)
    ]


def test_a_process_killed_amid_its_claims_loses_none_that_it_was_granted(folder: Path) -> None:
    with subprocess.Popen(
        command("claimer.py", folder), env=environ_with(HERE.parent), stdout=subprocess.PIPE
    ) as claimer:
        assert claimer.stdout
        granted = [claimer.stdout.readline() for _ in range(200)]
        claimer.kill()
        granted += claimer.stdout.readlines()
    kept = {line.run_id for line in asyncio.run(opened(folder))}
    acknowledged = {line.decode().strip() for line in granted if line.endswith(b"\n")}
    assert len(acknowledged) >= 200
    assert acknowledged <= kept
    assert len(kept) <= len(acknowledged) + 1


@pytest.mark.alone
def test_a_crowd_on_busy_cores_enters_once_and_claims_once_in_each_of_500_slots(tmp_path: Path) -> None:
    run("rush.py", tmp_path, 16, 500)
    lines = [line.split() for line in (tmp_path / "history").read_text().splitlines()]
    slots = [int(moment) for what, moment in lines if what == "slot"]
    gates = sorted(int(moment) for what, moment in lines if what == "gate")
    assert len(slots) == len(set(slots)) >= 500
    assert len(gates) >= 250
    assert min(later - sooner for sooner, later in pairwise(gates)) >= 10_000
