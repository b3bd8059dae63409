"""Who holds a lease, and is gone: on one machine the others need not wait for the rest of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from shutil import which
from typing import TYPE_CHECKING, TypeVar

import pytest
from support import Lifespan, environ_with, hello, until, visit

from backends import using
from backends.file.programs import TESTS, holding
from backends.using import SECOND
from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends.file.backend import File
from pseudocron.backends.file.liveness import is_gone, this_process
from pseudocron.backends.questions import Capacity, Poll, Polled, Take
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

T = TypeVar("T")

NOTHING = Take({}, {}, Capacity(0, 0, 0), "host:2", using.LEASE)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells who is gone")


@dataclass
class Successor:
    """Another process of the same folder, with a clock of its own."""

    folder: Path
    now: datetime

    def do(self, verb: Callable[[File], Awaitable[T]]) -> T:
        async def use() -> T:
            backend = File(self.folder, host=Host(now=lambda: self.now))
            await backend.open()
            try:
                return await verb(backend)
            finally:
                await backend.close()

        return asyncio.run(use())

    def poll(self, *, force: bool = True) -> Polled | None:
        return self.do(lambda backend: backend.poll(Poll(NOTHING, force=force)))

    def lost(self, later: timedelta = timedelta()) -> list[str]:
        """The names of what a poll finds lost after so long."""
        self.now += later
        polled = self.poll()
        assert polled
        return [run.name for run in polled.lost]

    def stale_in(self) -> float:
        return self.do(lambda backend: backend.stale_in())

    def write(self, sql: str, *values: str) -> None:
        with closing(sqlite3.connect(self.folder / "crons.db")) as db, db:
            db.execute(sql, values)


@pytest.fixture
def successor(tmp_path: Path) -> Successor:
    return Successor(tmp_path / "store", datetime.now(UTC))


KINDS = [("slot", "mail"), ("job", "send")]


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_who_is_killed_is_found_lost_a_second_later(successor: Successor, kind: str, name: str) -> None:
    with holding(successor.folder, kind) as holder:
        assert successor.lost() == []
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet buried
        assert successor.lost() == []
        assert successor.lost(later=SECOND) == [name]


@pytest.mark.parametrize("kind", ["slot", "job"])
def test_a_fresh_gate_turns_stale_when_the_holder_of_a_lease_is_killed(successor: Successor, kind: str) -> None:
    with holding(successor.folder, kind) as holder:
        assert successor.poll()
        assert successor.stale_in() == pytest.approx(60, abs=1)
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        assert successor.stale_in() == 0
        assert successor.poll(force=False) is not None
        assert successor.stale_in() == 1, "the poll has found out, and its children have a second"
        assert successor.poll(force=False) is None
        successor.now += SECOND
        assert successor.stale_in() == 0
        polled = successor.poll(force=False)
        assert polled
        assert polled.lost
        assert (successor.stale_in() == 0) == (kind == "job"), "the job is pending again"
        assert successor.poll()
        assert (successor.stale_in() > 50) == (kind == "slot")


def test_a_fresh_gate_stays_so_while_the_holder_of_a_lease_is_stopped(successor: Successor) -> None:
    with holding(successor.folder, "job") as holder:
        os.kill(holder.pid, signal.SIGSTOP)
        assert successor.poll()
        assert successor.stale_in() > 50
        assert successor.poll(force=False) is None


def crons_of(folder: Path) -> tuple[Crons, list[float]]:
    """What takes the jobs over, and when it has."""
    crons, ran = Crons(backend=f"file:{folder}"), list[float]()
    crons.task(name="send")(lambda: ran.append(time.monotonic()))
    return crons, ran


def test_the_job_of_a_killed_process_starts_again_within_two_seconds(tmp_path: Path) -> None:
    """Its lease lasts an hour, and the successor has polled before: only the gate tells it."""
    crons, ran = crons_of(tmp_path / "store")
    app = PseudoCronMiddleware(hello, crons=crons)

    async def main(kill: Callable[[], None]) -> float:
        async with Lifespan(app), asyncio.timeout(20):
            await visit(app)
            await until(lambda: dated_ahead(tmp_path / "store"))
            kill()
            killed = time.monotonic()
            while not ran:
                await visit(app)
                await asyncio.sleep(0.05)
            return killed

    with holding(tmp_path / "store", "job") as holder:
        killed = asyncio.run(main(holder.kill))
    assert 1.0 < ran[0] - killed < 4.0


def dated_ahead(folder: Path) -> bool:
    """Whether a poll has left the gate fresh for long."""
    return (folder / "cron.lock").stat().st_mtime > time.time() + 30


def test_a_visitor_has_not_to_wait_for_the_next_poll_of_an_idle_schedule(tmp_path: Path) -> None:
    crons, ran = crons_of(tmp_path / "store")  # nothing is ever due, so that it is a minute away
    app = PseudoCronMiddleware(hello, crons=crons)

    async def come_by() -> None:
        async with Lifespan(app), asyncio.timeout(20):
            while not ran:
                await visit(app)
                await asyncio.sleep(0.05)

    with holding(tmp_path / "store", "job") as holder:
        holder.kill()
    began = time.monotonic()
    asyncio.run(come_by())
    assert len(ran) == 1
    assert ran[0] - began < 4.0


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_who_was_killed_and_buried_is_found_too(successor: Successor, kind: str, name: str) -> None:
    with holding(successor.folder, kind) as holder:
        holder.kill()
    assert successor.lost() == []
    assert successor.lost(later=SECOND) == [name]


def test_who_is_stopped_keeps_its_leases(successor: Successor) -> None:
    with holding(successor.folder, "job") as holder:
        os.kill(holder.pid, signal.SIGSTOP)
        assert successor.lost() == []
        assert successor.lost(later=10 * SECOND) == []


def test_of_another_machine_or_container_only_the_lease_tells(successor: Successor) -> None:
    with holding(successor.folder, "job") as holder:
        holder.kill()
    successor.write("UPDATE living SET process = ?", f"another machine/{holder.pid}@1")
    assert successor.lost() == []
    assert successor.lost(later=10 * SECOND) == []
    assert successor.lost(later=timedelta(hours=1)) == ["send"]


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
    tell = "from pseudocron.backends.file.liveness import this_process; print(this_process())"
    said = subprocess.run(
        [*unshare, sys.executable, "-W", "error", "-c", tell],
        env=environ_with(TESTS),
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
