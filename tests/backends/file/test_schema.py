"""A store is made once, whoever makes it; one of another version is named, and left alone."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from backends.file.helpers import job
from pseudocron.backends.file.backend import File
from pseudocron.backends.file.schema import FULL_LOG, VERSION
from pseudocron.backends.model import State
from pseudocron.errors import BackendError

OPEN = """
import asyncio, sys
from pathlib import Path
{0}
from pseudocron.backends.file.backend import File
backend = File(Path(sys.argv[1]))
sys.stdin.readline()
asyncio.run(backend.open())
"""

NEWER = f"""
import types
import pseudocron.backends.file
source = Path(pseudocron.backends.file.__file__).with_name("schema.py").read_text()
newer = types.ModuleType("pseudocron.backends.file.schema")
exec(source.replace("VERSION = {VERSION}", "VERSION = {VERSION + 1}"), newer.__dict__)
sys.modules[newer.__name__] = newer
"""


def opened(folder: Path) -> File:
    backend = File(folder)
    asyncio.run(backend.open())
    return backend


def change(folder: Path, *statements: str) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    db = sqlite3.connect(folder / "crons.db")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def run_at_once(folder: Path, *modules: str) -> list[str]:
    """Let processes open a store at the same moment; return what each said against it."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN.format(module), folder],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for module in modules
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    return [process.communicate()[1] for process in processes]


def test_processes_that_make_a_store_at_once_make_one(tmp_path: Path) -> None:
    assert run_at_once(tmp_path / "store", *[""] * 6) == [""] * 6
    backend = opened(tmp_path / "store")
    assert backend.defer_blocking([job()])
    asyncio.run(backend.close())


@pytest.mark.parametrize("_", range(3))
def test_two_versions_that_make_a_store_at_once_do_not_spoil_it(tmp_path: Path, _: int) -> None:
    errors = run_at_once(tmp_path / "store", "", NEWER, "", NEWER)
    ours, newer = {bool(error) for error in errors[::2]}, {bool(error) for error in errors[1::2]}
    assert {True, False} == ours | newer, "one version has made it, the other is refused"
    assert len(ours) == len(newer) == 1
    if not ours.pop():
        backend = opened(tmp_path / "store")
        assert backend.defer_blocking([job()])
        asyncio.run(backend.close())


def test_an_overwritten_user_version_is_corrected(tmp_path: Path) -> None:
    asyncio.run(opened(tmp_path).close())
    change(tmp_path, "PRAGMA user_version = 5")
    asyncio.run(opened(tmp_path).close())
    db = sqlite3.connect(tmp_path / "crons.db")
    assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    db.close()


def test_a_store_of_the_old_kind_is_refused_and_left_alone(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "crons.db")
    db.executescript("CREATE TABLE crons (name TEXT PRIMARY KEY, mark INTEGER); PRAGMA user_version = 5")
    db.close()
    before = (tmp_path / "crons.db").read_bytes()
    with pytest.raises(BackendError, match=r"crons\.db' has version 5, of an older pseudocron.*: move it away"):
        opened(tmp_path)
    assert (tmp_path / "crons.db").read_bytes() == before


@pytest.mark.parametrize(("version", "fix"), [(VERSION + 1, "upgrade pseudocron"), (VERSION - 1, "move it away")])
def test_a_store_of_another_version_is_refused(tmp_path: Path, version: int, fix: str) -> None:
    asyncio.run(opened(tmp_path).close())
    change(tmp_path, f"UPDATE meta SET version = {version}", f"PRAGMA user_version = {version}")  # noqa: S608
    with pytest.raises(BackendError, match=f"has version {version}, this pseudocron reads {VERSION}: {fix}"):
        opened(tmp_path)


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    change(tmp_path / "store", "CREATE TABLE cookies (host TEXT)")
    before = (tmp_path / "store" / "crons.db").read_bytes()
    with pytest.raises(BackendError, match="is a database of another program: move it away, or name another folder"):
        opened(tmp_path / "store")
    assert (tmp_path / "store" / "crons.db").read_bytes() == before


def test_the_log_has_its_full_size_at_once_and_holds_nothing(tmp_path: Path) -> None:
    backend = opened(tmp_path / "store")
    assert (tmp_path / "store" / "crons.db-wal").stat().st_size >= FULL_LOG
    db = sqlite3.connect(tmp_path / "store" / "crons.db")
    assert db.execute("SELECT count(*) FROM machines").fetchone() == (0,)
    db.close()
    assert backend.defer_blocking([job()])
    asyncio.run(backend.close())
    assert (tmp_path / "store" / "crons.db").stat().st_size < FULL_LOG / 4


def test_a_full_disk_refuses_what_it_can_not_store_and_nothing_else(tmp_path: Path) -> None:
    """As where `RLIMIT_FSIZE` is reached, which takes no disk to fill."""
    code = """
import asyncio, resource, signal, sys
sys.path.insert(0, "tests")
from pathlib import Path
from backends.file.helpers import job
from pseudocron.backends.file.backend import File
from pseudocron.backends.model import State
from pseudocron.errors import BackendError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Path(sys.argv[1])
backend = File(store)
asyncio.run(backend.open())
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, ((store / "crons.db-wal").stat().st_size, most))
stored, errors = 0, []
async def defer():
    return await asyncio.gather(*(backend.defer([job(), job()]) for _ in range(64)), return_exceptions=True)
for _ in range(1000):
    answers = asyncio.run(defer())
    stored += sum(len(answer) for answer in answers if isinstance(answer, list))
    errors += [answer for answer in answers if isinstance(answer, BaseException)]
    if errors:
        break
assert errors and all(isinstance(error, BackendError) for error in errors), errors
assert asyncio.run(backend.counts(10**6))[State.PENDING] == stored
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
assert asyncio.run(backend.defer([job()]))
assert asyncio.run(backend.counts(10**6))[State.PENDING] == stored + 1
print(errors[0])
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "store"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "crons.db' can't be used" in done.stdout
    assert resource.getrlimit(resource.RLIMIT_FSIZE)
    backend = opened(tmp_path / "store")
    assert asyncio.run(backend.counts())[State.PENDING]
    asyncio.run(backend.close())
