"""Who holds a lease, and is gone: on one machine the others need not wait for the rest of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import pytest
from support import Lifespan, environ_with, hello, until, visit

from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends.file import File
from pseudocron.backends.file.holders import is_gone, this_process
from pseudocron.backends.jobs import JobState
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pseudocron.backends.jobs import Job
    from pseudocron.backends.records import Run

HERE = Path(__file__).parent
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells who is gone")


@dataclass
class Successor:
    """Another process of the same folder, with a clock of its own."""

    folder: Path
    now: datetime

    def lost(self, later: timedelta = timedelta()) -> tuple[Sequence[Run], Sequence[Job]]:
        """What it finds lost after so long."""
        self.now += later
        return asyncio.run(self._reap())

    async def _reap(self) -> tuple[Sequence[Run], Sequence[Job]]:
        backend = File(self.folder, host=Host(now=lambda: self.now))
        await backend.open()
        try:
            return (await backend.reap()).lost, await backend.reap_jobs()
        finally:
            await backend.close()

    def gate(self, *verbs: str) -> list[float]:
        """What these verbs of the gate give, with a time of 60 s, one after another."""
        return asyncio.run(self._gate(verbs))

    async def _gate(self, verbs: Sequence[str]) -> list[float]:
        backend = File(self.folder, host=Host(now=lambda: self.now))
        await backend.open()
        try:
            return [float(await getattr(backend, verb)(60)) for verb in verbs]
        finally:
            await backend.close()

    def rename(self, process: str) -> None:
        """Let the leases be held by another."""
        for table in ("runs", "running"):
            self.write(f"UPDATE {table} SET process = ?", process)  # noqa: S608 - our own names

    def write(self, sql: str, *values: str) -> None:
        with closing(sqlite3.connect(self.folder / "crons.db")) as db, db:
            db.execute(sql, values)


@contextmanager
def holding(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a slot and a job, for an hour."""
    command = [sys.executable, "-W", "error", str(HERE / "holder.py"), str(folder)]
    env = environ_with(HERE.parent)
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout
            assert holder.stdout.readline() == "holds\n"
            yield holder
        finally:
            holder.kill()


def test_who_is_killed_is_found_lost_a_second_later(tmp_path: Path) -> None:
    successor = Successor(tmp_path / "store", datetime.now(UTC))
    with holding(successor.folder) as holder:
        assert successor.lost() == ([], [])
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet buried
        assert successor.lost() == ([], [])
        (run,), (job,) = successor.lost(later=SECOND)
    assert (run.name, job.task, job.state, job.lost) == ("mail", "mail", JobState.PENDING, 1)


@pytest.mark.parametrize("no_more", ["DELETE FROM running", "UPDATE runs SET lease = NULL"])
def test_a_fresh_gate_turns_stale_when_the_holder_of_a_lease_is_killed(tmp_path: Path, no_more: str) -> None:
    """Of a run, or of a job."""
    successor = Successor(tmp_path / "store", datetime.now(UTC))
    with holding(successor.folder) as holder:
        successor.write(no_more)
        assert successor.gate("enter", "fresh_for") == [1, 60]
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        assert successor.gate("fresh_for", "enter", "fresh_for") == [0, 1, 0]
        assert successor.gate("enter") == [1]
        successor.lost()
        assert successor.gate("fresh_for") == [1], "the poll has found out, and its children have a second"
        successor.now += SECOND
        assert successor.gate("fresh_for", "enter") == [0, 1]
        assert successor.lost() != ([], [])
        successor.gate("enter")
        assert successor.gate("fresh_for", "fresh_for") == [60, 60]


def test_a_fresh_gate_stays_so_while_the_holder_of_a_lease_is_stopped(tmp_path: Path) -> None:
    successor = Successor(tmp_path / "store", datetime.now(UTC))
    with holding(successor.folder) as holder:
        os.kill(holder.pid, signal.SIGSTOP)
        assert successor.gate("enter", "fresh_for") == [1, 60]


def test_the_job_of_a_killed_process_starts_again_within_two_seconds(tmp_path: Path) -> None:
    """Its lease lasts an hour, and the successor has polled before: only the gate tells it."""
    crons = Crons(backend=f"file:{tmp_path / 'store'}")
    ran: list[float] = []
    crons.task(name="mail")(lambda: ran.append(time.monotonic()))
    app = PseudoCronMiddleware(hello, crons=crons)

    async def main(kill: Callable[[], None]) -> float:
        async with Lifespan(app), asyncio.timeout(20):
            await visit(app)
            await until(lambda: crons_are_polled(tmp_path))
            kill()
            killed = time.monotonic()
            while not ran:
                await visit(app)
                await asyncio.sleep(0.05)
            return killed

    with holding(tmp_path / "store") as holder:
        killed = asyncio.run(main(holder.kill))
    assert 1.0 < ran[0] - killed < 4.0


def crons_are_polled(folder: Path) -> bool:
    return (folder / "store" / "cron.lock").stat().st_mtime > time.time() - 50


def test_a_visitor_has_not_to_wait_for_the_next_look_of_an_idle_schedule(tmp_path: Path) -> None:
    crons = Crons(backend=f"file:{tmp_path / 'store'}")  # nothing is ever due, so that it is a minute away
    ran: list[str] = []
    crons.task(name="mail")(lambda: ran.append("mail"))
    app = PseudoCronMiddleware(hello, crons=crons)

    async def come_by() -> None:
        async with Lifespan(app), asyncio.timeout(20):
            while not ran:
                await visit(app)
                await asyncio.sleep(0.05)

    with holding(tmp_path / "store") as holder:
        holder.kill()
    asyncio.run(come_by())
    assert ran == ["mail"]


def test_who_was_killed_and_buried_is_found_too(tmp_path: Path) -> None:
    successor = Successor(tmp_path / "store", datetime.now(UTC))
    with holding(successor.folder) as holder:
        holder.kill()
    successor.lost()
    (run,), (job,) = successor.lost(later=SECOND)
    assert (run.name, job.task) == ("mail", "mail")


def test_who_is_stopped_keeps_its_leases(tmp_path: Path) -> None:
    successor = Successor(tmp_path / "store", datetime.now(UTC))
    with holding(successor.folder) as holder:
        os.kill(holder.pid, signal.SIGSTOP)
        assert successor.lost() == ([], [])
        assert successor.lost(later=10 * SECOND) == ([], [])


def test_of_another_machine_or_container_only_the_lease_tells(tmp_path: Path) -> None:
    successor = Successor(tmp_path / "store", datetime.now(UTC))
    with holding(successor.folder) as holder:
        holder.kill()
    successor.rename(f"another machine/{holder.pid}@1")
    assert successor.lost() == ([], [])
    assert successor.lost(later=10 * SECOND) == ([], [])


def test_a_number_that_another_process_has_now_is_gone() -> None:
    own = this_process()
    assert own
    assert not is_gone(own)
    assert is_gone(f"{own}1")


@pytest.mark.parametrize(
    "said", ["", "x", None, b"/1@1", 7, "{}/-1@1", "{}/0@x", "{}/" + "9" * 5000 + "@1", "{}/1", "{}/²@1"]
)
def test_what_names_no_process_is_not_gone(said: object) -> None:
    where = str(this_process()).rpartition("/")[0]
    assert not is_gone(said.replace("{}", where) if isinstance(said, str) else said)


def test_where_proc_is_that_of_another_container_nobody_is_told() -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    if which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("no namespace can be made here")
    tell = "from pseudocron.backends.file.holders import this_process; print(this_process())"
    said = subprocess.run(
        [*unshare, sys.executable, "-W", "error", "-c", tell],
        env=environ_with(HERE.parent),
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout == "None\n"


def test_a_child_that_was_forked_is_another_process() -> None:
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(told, str(this_process()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(heard, 1000).decode()
    os.close(heard)
    os.close(told)
    assert said != this_process()
    assert is_gone(said)
