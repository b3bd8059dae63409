"""A lock file dates itself, admits one, and says clearly when it can't."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import portalocker
import pytest

from pseudocron import lockfile
from pseudocron.errors import BackendError
from pseudocron.lockfile import NANO, LockFile

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON = 1_714_564_800 * NANO


@dataclass
class Clock:
    now: int = NOON

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cron.lock"


@pytest.fixture
def lock(path: Path, clock: Clock) -> LockFile:
    return LockFile(path, now_ns=clock)


def python(*args: str | Path) -> str:
    command = [sys.executable, "-W", "error", *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def held(path: Path) -> Iterator[int]:
    """The lock, as another process has it."""
    fd = os.open(path, os.O_RDWR)
    portalocker.lock(fd, portalocker.LOCK_EX | portalocker.LOCK_NB)
    try:
        yield fd
    finally:
        os.close(fd)


def date(path: Path, moment: int) -> None:
    os.utime(path, ns=(moment, moment))


def test_a_missing_file_is_stale_and_looking_does_not_make_it(lock: LockFile, path: Path) -> None:
    assert lock.fresh_for(60) == 0
    assert not path.exists()


def test_entering_dates_the_file_to_the_nanosecond(lock: LockFile, path: Path, clock: Clock) -> None:
    clock.now += 123_456_789
    assert lock.enter(60)
    assert path.stat().st_mtime_ns == NOON + 123_456_789


def test_a_file_is_fresh_until_it_is_as_old_as_max_age(lock: LockFile, clock: Clock) -> None:
    assert lock.enter(60)
    clock.now += 60 * NANO - 1
    assert lock.fresh_for(60) == pytest.approx(1e-9)
    assert not lock.enter(60)
    clock.now += 1
    assert lock.fresh_for(60) == 0
    assert lock.enter(60)


def test_a_file_dated_in_the_future_is_stale_however_little(lock: LockFile, path: Path) -> None:
    lock.enter(60)
    date(path, NOON + 1)
    assert lock.fresh_for(60) == 0
    assert lock.enter(60)
    assert path.stat().st_mtime_ns == NOON


def test_a_file_dated_this_very_instant_is_fresh(lock: LockFile) -> None:
    lock.enter(60)
    assert lock.fresh_for(60) == 60
    assert not lock.enter(60)


def test_deleting_or_back_dating_the_file_by_hand_admits_one(lock: LockFile, path: Path) -> None:
    lock.enter(60)
    path.unlink()
    assert lock.fresh_for(60) == 0
    assert [lock.enter(60), lock.enter(60)] == [True, False]
    date(path, NOON - 61 * NANO)
    assert lock.fresh_for(60) == 0
    assert [lock.enter(60), lock.enter(60)] == [True, False]


def test_a_plain_touch_by_hand_makes_the_file_fresh(path: Path) -> None:
    path.touch()
    assert not LockFile(path).enter(60)


def test_who_can_not_get_the_lock_does_not_enter(lock: LockFile, path: Path, clock: Clock) -> None:
    lock.enter(60)
    clock.now += 60 * NANO
    with held(path):
        assert not lock.enter(60)
    assert lock.enter(60)


def test_a_lowered_file_turns_stale_exactly_when_due(lock: LockFile, clock: Clock) -> None:
    lock.enter(60)
    lock.lower(NOON + 10 * NANO, 60)
    clock.now += 10 * NANO - 1
    assert not lock.enter(60)
    clock.now += 1
    assert lock.enter(60)


def test_a_file_is_never_lowered_to_a_later_instant(lock: LockFile) -> None:
    lock.enter(60)
    for due in (10, 20, 90):
        lock.lower(NOON + due * NANO, 60)
    assert lock.fresh_for(60) == 10


def test_lowering_leaves_a_stale_file_stale(lock: LockFile, path: Path) -> None:
    lock.lower(NOON + 10 * NANO, 60)
    assert not path.exists()
    lock.enter(60)
    date(path, NOON + 60 * NANO)
    lock.lower(NOON + 10 * NANO, 60)
    assert lock.fresh_for(60) == 0


def test_lowering_waits_for_the_lock(lock: LockFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.enter(60)
    with held(path) as fd:
        monkeypatch.setattr(time, "sleep", lambda _: portalocker.unlock(fd))
        lock.lower(NOON + 10 * NANO, 60)
    assert lock.fresh_for(60) == 10


def test_lowering_that_never_gets_the_lock_says_so(lock: LockFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockfile, "PATIENCE", 0.02)
    lock.enter(60)
    with held(path), pytest.raises(BackendError, match=r"cron\.lock': locked by another process"):
        lock.lower(NOON + 10 * NANO, 60)
    assert lock.fresh_for(60) == 60


def test_a_file_deleted_before_it_was_locked_is_made_and_locked_anew(
    lock: LockFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock.enter(60)
    date(path, 1)
    try_lock, deletions = lockfile._try_lock, [path]

    def too_late(fd: int) -> bool:
        while deletions:
            deletions.pop().unlink()
        return try_lock(fd)

    monkeypatch.setattr(lockfile, "_try_lock", too_late)
    assert lock.enter(60)
    assert lock.fresh_for(60) == 60


def test_a_file_deleted_again_and_again_is_given_up(
    lock: LockFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(_fd: int) -> bool:
        path.unlink()
        return True

    monkeypatch.setattr(lockfile, "_try_lock", too_late)
    assert not lock.enter(60)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_file_is_for_its_user_alone_whatever_the_umask(lock: LockFile, path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        lock.enter(60)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_file_stays_and_nothing_else_is_left(lock: LockFile, path: Path, clock: Clock) -> None:
    lock.enter(60)
    first = path.stat().st_ino
    clock.now += 60 * NANO
    lock.enter(60)
    lock.lower(clock.now + NANO, 60)
    assert path.stat().st_ino == first
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_in_its_place_is_named(lock: LockFile, path: Path) -> None:
    path.mkdir()
    for use in (lambda: lock.fresh_for(60), lambda: lock.enter(60), lambda: lock.lower(NOON, 60)):
        with pytest.raises(BackendError, match=r"^can't use the lock file '.*cron\.lock': .+$") as raised:
            use()
        assert "\n" not in str(raised.value)


def test_a_file_in_place_of_its_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackendError, match=r"file/cron\.lock': Not a directory"):
        LockFile(tmp_path / "file" / "cron.lock").enter(60)


def test_a_missing_folder_is_named_by_who_enters(tmp_path: Path) -> None:
    lock = LockFile(tmp_path / "none" / "cron.lock")
    assert lock.fresh_for(60) == 0
    with pytest.raises(BackendError, match="No such file or directory"):
        lock.enter(60)


FORBIDDEN = """
import os, sys
from pathlib import Path
from pseudocron.errors import BackendError
from pseudocron.lockfile import LockFile, _portalocker

_portalocker()
os.umask(0)
os.chmod(sys.argv[1], 0o400)
if os.getuid() == 0:
    os.setuid(65534)  # root may do everything
try:
    LockFile(Path(sys.argv[1])).enter(60)
except BackendError as error:
    print(error)
"""


def test_a_file_that_is_not_ours_to_write_is_named(path: Path) -> None:
    path.touch()
    assert "cron.lock': Permission denied" in python("-c", FORBIDDEN, path)


FORKED = """
import os, sys
from pathlib import Path
from pseudocron.lockfile import LockFile

lock = LockFile(Path(sys.argv[1]))
lock.enter(60)
ours, theirs = os.pipe()
with lock._locked(make=True) as fd:
    child = os.fork()
    if child == 0:
        os.close(theirs)
        os.read(ours, 1)
        os._exit(0)
os.utime(sys.argv[1], ns=(0, 0))
print(lock.enter(60))
os.close(theirs)
os.wait()
"""


def test_a_child_forked_under_the_lock_does_not_keep_it(path: Path) -> None:
    assert python("-c", FORKED, path) == "True\n"


def open_descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_no_descriptor_leaks(lock: LockFile, path: Path, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    def use() -> None:
        clock.now += 60 * NANO
        lock.enter(60)
        lock.enter(60)
        with held(path):
            lock.enter(60)
        with pytest.raises(BackendError):
            LockFile(tmp_path / "folder").enter(60)

    use()
    before = open_descriptors()
    use()
    assert open_descriptors() == before


@pytest.mark.alone
def test_of_sixteen_processes_that_find_it_stale_at_once_exactly_one_enters(path: Path) -> None:
    entered = python(Path(__file__).with_name("stampede.py"), path, "16", "300")
    assert entered.split() == ["1"] * 300


def test_a_file_dated_in_the_future_is_not_fresh_later_for_what_is_due_now(tmp_path: Path) -> None:
    now = [1_000 * NANO]
    file = LockFile(tmp_path / "cron.lock", now_ns=lambda: now[0])
    assert file.enter(60)
    now[0] -= 100 * NANO  # the clock is set back
    file.lower(now[0] + 10 * NANO, 60)
    assert file.fresh_for(60) == 0, "what is due later does not make it fresh"
    file.lower(now[0], 60)
    now[0] += 101 * NANO
    assert file.fresh_for(60) == 0, "what was due waits no longer, when the clock has come to that date"
