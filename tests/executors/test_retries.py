"""What is retried: exceptions, groups of them, and what a child process raises and reports."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from worker.world import World

from executors.executing import ended, kill
from pseudocron.backends.model import State
from pseudocron.crons import Crons
from pseudocron.errors import ArgumentError
from pseudocron.executors.child_process import Command
from pseudocron.executors.raised import RaisedInChild, decoded, encoded, name_of
from pseudocron.jobs.retries import is_retryable, requested
from pseudocron.jobs.tasks import Retry
from pseudocron.truncation import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pseudocron.backends.model import Run

    Write = Callable[..., Path]

REFUSED, LOOKED_UP = ConnectionRefusedError("refused"), KeyError("paint")
SOON, LATE = Retry(after=1), Retry(after=60)


class PaintErrors(ExceptionGroup[Exception]):
    """A group of the application's own."""


def through_a_pipe(raised: BaseException) -> BaseException:
    """What the server knows of it if it was raised in a child process."""
    report = decoded(encoded(raised).decode())
    assert report
    return report


def as_it_is(raised: BaseException) -> BaseException:
    return raised


here_and_there = pytest.mark.parametrize("seen", [as_it_is, through_a_pipe], ids=["in process", "in a child"])


@here_and_there
@pytest.mark.parametrize(
    ("raised", "retry_for", "retryable"),
    [
        (REFUSED, (OSError,), True),
        (REFUSED, (KeyError, OSError), True),
        (LOOKED_UP, (OSError,), False),
        (LOOKED_UP, (), False),
        (SystemExit(), (Exception,), False),
        (SystemExit(), (BaseException,), True),
        (ArgumentError(), (Exception,), False),
        (ExceptionGroup("", [REFUSED]), (OSError,), True),
        (ExceptionGroup("", [REFUSED, LOOKED_UP]), (OSError,), False),
        (ExceptionGroup("", [REFUSED, LOOKED_UP]), (OSError, LookupError), True),
        (ExceptionGroup("", [REFUSED, LOOKED_UP]), (Exception,), True),
        (ExceptionGroup("", [REFUSED, ArgumentError()]), (Exception,), False),
        (ExceptionGroup("", [ExceptionGroup("", [LOOKED_UP]), REFUSED]), (OSError,), False),
        (ExceptionGroup("", [ExceptionGroup("", [REFUSED]), REFUSED]), (OSError,), True),
        (PaintErrors("", [LOOKED_UP]), (PaintErrors,), True),
        (ExceptionGroup("", [PaintErrors("", [LOOKED_UP]), REFUSED]), (PaintErrors, OSError), True),
        (BaseExceptionGroup("", [SystemExit(), REFUSED]), (Exception,), False),
    ],
)
def test_what_is_raised_is_retryable_if_retry_for_covers_it(
    seen: Any, raised: BaseException, retry_for: Any, *, retryable: bool
) -> None:
    assert is_retryable(seen(raised), retry_for) is retryable


def test_what_is_not_known_is_retryable() -> None:
    assert is_retryable(None, ())
    assert requested(None) is None


@here_and_there
@pytest.mark.parametrize(
    ("raised", "seconds"),
    [
        (SOON, 1),
        (ExceptionGroup("", [SOON]), 1),
        (ExceptionGroup("", [SOON, LATE, Retry()]), 60),
        (ExceptionGroup("", [LOOKED_UP, ExceptionGroup("", [ExceptionGroup("", [LATE]), SOON])]), 60),
        (Retry(after=0), 0),
    ],
)
def test_the_longest_retry_of_a_group_counts(seen: Any, raised: BaseException, seconds: float) -> None:
    retry = requested(seen(raised))
    assert retry
    assert retry.after == timedelta(seconds=seconds)


@here_and_there
def test_a_retry_without_a_time_is_one(seen: Any) -> None:
    retry = requested(seen(Retry()))
    assert retry
    assert retry.after is None
    assert requested(seen(LOOKED_UP)) is None


# What a child reports


def test_of_many_that_are_alike_a_child_reports_one() -> None:
    report = encoded(ExceptionGroup("", [OSError(number) for number in range(10_000)]))
    assert 0 < len(report) < 1000


def test_what_is_too_long_is_not_reported() -> None:
    monster = type("E" * LIMIT, (Exception,), {})
    assert not encoded(monster())


@pytest.mark.parametrize(
    "report",
    [
        "",
        "{",
        "5",
        "null",
        "[" * 60_000,
        "{}",
        '{"names": null, "after": null, "members": []}',
        '{"names": [], "after": -1, "members": []}',
        '{"names": [], "after": 1e300, "members": []}',
        '{"names": [], "after": null, "members": [5]}',
        '{"names": [], "after": null, "members": []}{}',
    ],
)
def test_a_malformed_report_says_nothing(report: str) -> None:
    assert decoded(report) is None


NAMES = """
import sys
from pseudocron.executors.raised import name_of
class Broken(Exception): pass
if __name__ == "__main__":
    import shop_of_names as imported
    print(name_of(Broken), name_of(imported.Broken))
"""


@pytest.mark.parametrize("argv", [["shop_of_names.py"], ["-m", "shop_of_names"]], ids=["script", "module"])
def test_a_class_of_the_main_module_has_the_name_it_is_imported_by(
    write: Write, tmp_path: Path, argv: list[str]
) -> None:
    write(NAMES, name="shop_of_names.py")
    said = subprocess.run([sys.executable, *argv], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["shop_of_names:Broken"] * 2
    assert name_of(OSError) == "builtins:OSError"


@pytest.fixture
def shop(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module whose tasks run in processes of their own."""
    monkeypatch.syspath_prepend(tmp_path)
    write(SHOP, name="shop_of_retries.py")
    yield importlib.import_module("shop_of_retries")
    del sys.modules["shop_of_retries"]


SHOP = """
import asyncio, os, signal, sys, time
from pseudocron import Crons, Retry

class Empty(LookupError): pass
class Spoilt(Exception): pass

crons = Crons()
OPTIONS = {"executor": "process", "retries": 5, "retry_for": (LookupError, OSError)}

@crons.task(**OPTIONS)
def covered(): raise Empty

@crons.task(**OPTIONS)
def not_covered(): raise Spoilt

@crons.task(**OPTIONS)
def asks(): raise Retry(after=0.2)

@crons.task(**OPTIONS)
async def asks_in_a_group():
    async with asyncio.TaskGroup() as group:
        for seconds in (0.1, 0.2): group.create_task(later(seconds))

async def later(seconds): raise Retry(after=seconds)

@crons.task(**OPTIONS)
def killed(): os.kill(os.getpid(), 9)

@crons.task(**OPTIONS)
def exits(): sys.exit("no paint")

@crons.task(**OPTIONS)
def exits_well(): sys.exit()

@crons.task(**OPTIONS)
def typed(number: int): raise AssertionError

def leaves_at_its_timeout():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    time.sleep(60)

def closes_everything():
    os.closerange(3, 100)
    raise Spoilt

def uses_the_number(path):
    os.closerange(3, 100)
    files = [open(path, "w") for _ in range(20)]
    raise Spoilt

def leaves_a_descendant():
    if not (pid := os.fork()):
        os.setsid()
        time.sleep(60)
        os._exit(0)
    print(pid, flush=True)
    raise Spoilt
"""


def job_after(crons: Crons, task: str, **arguments: Any) -> tuple[Run, World]:
    """What became of a job after its first attempt."""
    world = World(crons)

    async def main() -> Run:
        run_id = await world.defer(task, **arguments)
        await world.poll_all()
        return await world.run(run_id)

    return asyncio.run(main()), world


@pytest.mark.parametrize(
    ("task", "state"),
    [
        ("covered", State.PENDING),
        ("not_covered", State.FAILED),
        ("killed", State.PENDING),
        ("exits", State.FAILED),
        ("exits_well", State.SUCCEEDED),
    ],
)
def test_retry_for_holds_in_a_process_of_its_own(shop: Any, task: str, state: State) -> None:
    job, _ = job_after(shop.crons, task)
    assert (job.state, job.attempts) == (state, 1)


@pytest.mark.parametrize("task", ["asks", "asks_in_a_group"])
def test_a_process_of_its_own_may_ask_for_a_retry(shop: Any, task: str) -> None:
    job, world = job_after(shop.crons, task)
    assert (job.state, job.due) == (State.PENDING, world.clock.now + timedelta(seconds=0.2))


def test_arguments_that_do_not_fit_a_process_wait_for_a_newer_version(shop: Any) -> None:
    job, world = job_after(shop.crons, "typed", number="five")
    assert (job.state, job.attempts, job.due) == (State.PENDING, 0, world.clock.now + timedelta(seconds=10))


@pytest.mark.parametrize("plain", [True, False], ids=["thread", "coroutine"])
def test_a_task_group_may_ask_for_a_retry(*, plain: bool) -> None:
    async def busy() -> None:
        raise Retry(after=60)

    async def wrong() -> None:
        raise ValueError

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(busy())
            group.create_task(wrong())

    crons = Crons()
    crons.task("both", retries=5, retry_for=OSError)((lambda: asyncio.run(both())) if plain else both)
    job, world = job_after(crons, "both")
    assert (job.state, job.due) == (State.PENDING, world.clock.now + timedelta(seconds=60))


@pytest.mark.parametrize(("retry_for", "state"), [(OSError, State.PENDING), (KeyError, State.FAILED)])
def test_a_task_group_is_retried_for_what_is_in_it(retry_for: type[Exception], state: State) -> None:
    crons = Crons()

    async def wrong() -> None:
        raise ConnectionRefusedError

    @crons.task(retries=5, retry_for=retry_for)
    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wrong())

    assert job_after(crons, "both")[0].state is state


def test_a_child_reports_the_classes_of_what_it_raises(shop: Any) -> None:
    raised = ended("shop_of_retries:covered", process=True).raised
    assert isinstance(raised, RaisedInChild)
    assert {"shop_of_retries:Empty", "builtins:LookupError", "builtins:Exception"} < raised.names


def test_only_a_failure_has_what_was_raised(shop: Any) -> None:
    assert ended("shop_of_retries:exits_well", process=True).raised is None
    end = ended("shop_of_retries:leaves_at_its_timeout", process=True, timeout=1.5)
    assert (end.outcome, end.raised) == (State.TIMED_OUT, None)


def test_a_script_reports_nothing(write: Write) -> None:
    end = ended(write("import sys; assert len(sys.argv) == 1; raise KeyError"))
    assert end.outcome is State.FAILED
    assert "KeyError" in (end.error or "")
    assert end.raised is None


def test_a_function_that_closes_all_descriptors_fails_as_any(shop: Any) -> None:
    end = ended("shop_of_retries:closes_everything", process=True)
    assert (end.error or "").endswith("Spoilt")
    assert end.raised is None


def test_a_report_is_not_written_into_a_file_of_the_function(shop: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    end = ended("shop_of_retries:uses_the_number", str(file), process=True)
    assert end.outcome is State.FAILED
    assert not file.read_text()


def test_a_descendant_with_the_pipe_delays_no_end(shop: Any) -> None:
    before = time.monotonic()
    end = ended("shop_of_retries:leaves_a_descendant", process=True)
    took = time.monotonic() - before
    kill(int((end.output or "").split()[0]))
    assert isinstance(end.raised, RaisedInChild)
    assert took < 3


def test_what_a_child_starts_does_not_have_the_pipe(write: Write, tmp_path: Path, shop: Any) -> None:
    write(
        """
        import json, os, subprocess, sys
        def look(path):
            seen = "import json, os; print(json.dumps([os.path.realpath(f'/proc/self/fd/{n}') for n in range(3, 50)]))"
            text = subprocess.run([sys.executable, "-c", seen], close_fds=False, capture_output=True).stdout.decode()
            open(path, "w").write(text)
            assert len(sys.argv) == 1
        """,
        name="shop_that_looks.py",
    )
    path = tmp_path / "seen"
    assert ended("shop_that_looks:look", str(path), process=True).outcome is State.SUCCEEDED
    assert not [file for file in json.loads(path.read_text()) if "pipe:" in file]


def test_a_flood_in_the_pipe_is_ignored(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    script = write("""
        import os, sys
        for _ in range(100):
            os.write(int(sys.argv[-1]), b"x" * 64 * 1024)
        sys.exit(1)
    """)
    argv = [sys.executable, str(script)]
    monkeypatch.setattr("pseudocron.executors.wrapped.command", lambda *_: Command(argv=argv, reports=True))
    before = time.monotonic()
    end = ended(script)
    assert (end.error, end.raised) == ("exit code 1", None)
    assert time.monotonic() - before < 3
