# ruff: noqa: T201  printing is what is tested
"""What functions print and log is kept with their run."""

from __future__ import annotations

import asyncio
import io
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from pseudocron.backends.model import Run, State
from pseudocron.crons import Crons
from pseudocron.truncation import LIMIT
from worker.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

shop = logging.getLogger("shop.of.output")


def outputs(crons: Crons, *names: str) -> list[str | None]:
    """Return what is kept of one run of each cron."""

    async def main() -> list[str | None]:
        world = World(crons)
        await world.poll_all()
        await world.runs.idle()
        return [line.output for name in names for line in await world.lines(name) if isinstance(line, Run)]

    return asyncio.run(main())


def output_of(function: Callable[..., Any], **options: Any) -> str | None:
    crons = Crons()
    crons.add("cron", function, 60, **options)
    return outputs(crons, "cron")[0]


def test_what_two_runs_print_at_once_is_kept_with_each_and_printed_as_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    crons, meet = Crons(), threading.Barrier(2)

    @crons.every(60)
    def plain() -> None:
        print("plain", "first")
        meet.wait(10)
        print("plain", file=sys.stderr)

    @crons.every(60)
    async def later() -> None:
        print("later", "first")
        await asyncio.to_thread(meet.wait, 10)
        await asyncio.to_thread(print, "later")

    assert outputs(crons, "plain", "later") == ["plain first\nplain\n", "later first\nlater\n"]
    printed = capsys.readouterr()
    assert sorted(printed.out.splitlines()) == ["later", "later first", "plain first"]
    assert printed.err == "plain\n"


def test_a_run_that_prints_nothing_has_no_output() -> None:
    assert output_of(lambda: None) is None


def test_what_a_run_logs_is_kept_once_whatever_handler_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    output_of(print)  # so that the handler finds the streams replaced
    monkeypatch.setattr(shop, "handlers", [logging.StreamHandler(sys.stderr)])
    monkeypatch.setattr(shop, "level", logging.INFO)
    monkeypatch.setattr(logging, "raiseExceptions", False)

    def work() -> None:
        shop.debug("not this")
        shop.info("%d books", 3)
        shop.info("%d books", "a", "b")
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            shop.exception("no books")

    output = output_of(work) or ""
    assert output.startswith(
        "INFO shop.of.output: 3 books\nINFO shop.of.output: %d books\nERROR shop.of.output: no books\nTrace"
    )
    assert output.endswith("ZeroDivisionError: division by zero\n")
    assert output.count("no books") == 1


def test_of_a_long_output_the_last_64_kib_are_kept() -> None:
    def work() -> None:
        for _ in range(100):
            print("x" * 10_000)
        print("ü" * 10)

    output = output_of(work) or ""
    assert output.endswith("x\n" + "ü" * 10 + "\n")
    assert LIMIT - 4 <= len(output.encode()) <= LIMIT


def test_the_output_of_a_failed_run_is_kept_beside_its_error() -> None:
    crons = Crons()

    @crons.every(60)
    def work() -> None:
        print("half of it")
        raise ValueError("no such book")

    async def main() -> None:
        world = World(crons)
        await world.poll_all()
        (line,) = await world.lines()
        assert isinstance(line, Run)
        assert (line.state, line.output) == (State.FAILED, "half of it\n")
        assert "no such book" in (line.error or "")

    asyncio.run(main())


def test_what_is_printed_outside_of_a_run_or_after_it_is_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    left: list[threading.Event] = []

    async def work() -> None:
        loop, done = asyncio.get_running_loop(), threading.Event()
        left.append(done)
        print("within")
        loop.call_later(0.05, print, "behind")
        loop.call_later(0.05, done.set)
        threading.Thread(target=print, args=["of another thread"]).start()

    crons = Crons()
    crons.add("cron", work, 60)

    async def main() -> None:
        world = World(crons)
        await world.poll_all()
        await world.runs.idle()
        await asyncio.to_thread(left[0].wait, 10)
        (line,) = await world.lines()
        assert isinstance(line, Run)
        assert line.output == "within\n"

    asyncio.run(main())
    assert "behind\n" in capsys.readouterr().out


def test_streams_that_are_none_or_replaced_stay_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert output_of(lambda: print("nowhere")) is None
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert output_of(lambda: sys.stdout.writelines(["a", "b"])) == "ab"
    program = "from pseudocron.executors.capture import install; install(); install(); import sys, subprocess;"
    program += "subprocess.run(['echo', 'child'], stdout=sys.stdout); sys.stdout.reconfigure(errors='replace');"
    program += "print(sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.fileno(), file=sys.stdout, flush=True)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "child\nutf-8 False 1\n"
