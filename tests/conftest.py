"""What every test runs under."""

from __future__ import annotations

from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_SH, LOCK_UN, flock
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Lets a test that is marked `alone` wait for the others, and them for it.

    Around all else, so that neither fixtures of a module nor the time limit of a test begin before it has the machine.
    """
    if not hasattr(item.config, "workerinput"):  # there are no others
        return (yield)
    of_all_workers = item.config._tmp_path_factory.getbasetemp().parent  # type: ignore[attr-defined]
    with the_machine(of_all_workers, alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def the_machine(folder: Path, *, alone: bool) -> Iterator[None]:
    """Have it, alone or with others."""
    with (folder / "queue").open("w") as queue, (folder / "machine").open("w") as machine:
        flock(queue, LOCK_EX)  # else those who share would pass by, again and again, the one who waits
        flock(machine, LOCK_EX if alone else LOCK_SH)
        flock(queue, LOCK_UN)
        try:
            yield
        finally:
            flock(machine, LOCK_UN)  # a forked child that is left has the file open too


@pytest.fixture(autouse=True)
def no_blocking_on_the_event_loop() -> Iterator[None]:
    """Fail on any blocking call that pseudocron makes on an event loop, an `os.stat` included."""
    with blockbuster_ctx("pseudocron") as guard:
        for blocking in guard.functions.values():  # a loop of our own, on which nothing of the application runs
            blocking.can_block_in("pseudocron/backends/redis/thread.py", "_run")
            blocking.can_block_in("pseudocron/backends/redis/loop_thread.py", "_run")
            blocking.can_block_in("pseudocron/backends/file/embedded.py", {"open", "read", "write"})  # in memory
        yield


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKEND", "DURABILITY", "APP", "TZ", "DRAIN", "CONCURRENCY", "LEASE", "HISTORY", "ENABLED", "CRONS"):
        monkeypatch.delenv(f"PSEUDOCRON_{name}", raising=False)
    for name in ("CRON_MAX_TIME", "COLUMNS"):  # the width too, which a shell may export
        monkeypatch.delenv(name, raising=False)
