"""How long a lock file is waited for, and what somebody else may do to it meanwhile."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import portalocker
import pytest
from backends.waiting import Time

from pseudocron import lockfile
from pseudocron.errors import BackendError
from pseudocron.lockfile import NANO, LockFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = 1_714_564_800 * NANO


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cron.lock"


@pytest.fixture
def lock(path: Path) -> LockFile:
    made = LockFile(path, now_ns=lambda: NOON)
    assert made.enter(60)
    return made


@contextmanager
def held(path: Path) -> Iterator[None]:
    with path.open("r+") as file:
        portalocker.lock(file, portalocker.LOCK_EX)
        yield
        portalocker.unlock(file)


def test_lowering_waits_for_the_lock_for_a_second(lock: LockFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockfile, "time", waited := Time())
    monkeypatch.setattr(lockfile, "monotonic", waited.monotonic)
    with held(path), pytest.raises(BackendError, match="locked by another process for over 1 s"):
        lock.lower(NOON + 10 * NANO, 60)
    assert 1.0 <= sum(waited.slept) < 1.1
    assert set(waited.slept) == {0.002}


def test_lowering_a_stale_file_waits_for_no_lock(lock: LockFile, path: Path) -> None:
    lock.lower(NOON - NANO, 60)
    began = time.monotonic()
    with held(path):
        lock.lower(NOON + 10 * NANO, 60)
        lock.lower(NOON - NANO, 60)
    assert time.monotonic() - began < 0.5
    assert lock.fresh_for(60) == 0


@pytest.mark.parametrize(("dated", "left"), [(NOON - 55 * NANO, 5), (NOON + NANO, 0)])
def test_what_another_has_dated_before_the_lock_was_had_is_not_dated_anew(
    lock: LockFile, path: Path, monkeypatch: pytest.MonkeyPatch, dated: int, left: float
) -> None:
    try_lock = lockfile._try_lock

    def after_another(fd: int) -> bool:
        os.utime(path, ns=(dated, dated))
        return try_lock(fd)

    monkeypatch.setattr(lockfile, "_try_lock", after_another)
    lock.lower(NOON + 10 * NANO, 60)
    assert path.stat().st_mtime_ns == dated
    assert lock.fresh_for(60) == left
