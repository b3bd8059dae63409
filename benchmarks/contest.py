"""Jobs deferred and drained by pseudocron and its peers: each a program in a process and a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

from benchmarks.contestants.taking_part import DIGITS, NOTES, READY
from benchmarks.measuring import Row, ratios, side_by_side, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Measured = Mapping[str, Any]
    Beside = Callable[[Path], AbstractContextManager[Mapping[str, str]]]

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
"""The interpreter of the peers' environment, which `make bench` makes."""
NUMBER, FEW = 10_000, 2_000
"""How many jobs; APScheduler does the few at the same rate, and takes long enough for them."""
ROUNDS = 3


_NOBODY: Mapping[str, Rate] = MappingProxyType({})


def nothing(_folder: Path) -> AbstractContextManager[Mapping[str, str]]:
    """Run nothing beside the contestant, as for most."""
    return nullcontext({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One that defers or drains.

    Args:
        name: Who it is, for the table.
        program: The module that does it.
        verb: What it does there.
        fill: How the same program fills the store that is to be drained.
        check: How it asserts afterwards that its store knows of every end, if it remembers them.
        python: The interpreter.
        number: How many jobs.
        processes: How many of its programs drain at once.
        under: What its programs are started by, such as `strace`.
        environ: What else stands in its environment.
        beside: What runs beside it, on its folder, and what stands in its environment of that.
    """

    name: str
    program: str
    verb: str = "defer"
    fill: str = "defer"
    check: str = ""
    python: Path = PEERS
    number: int = NUMBER
    processes: int = 1
    under: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    beside: Beside = nothing

    @contextmanager
    def at(self, folder: Path) -> Iterator[Contestant]:
        """Yield the contestant with what runs beside it, until the block ends."""
        with self.beside(folder) as environ:
            yield replace(self, environ={**self.environ, **environ})

    def start(self, verb: str, folder: Path) -> subprocess.Popen[str]:
        """Begin to do something with the store in a folder."""
        if not self.python.exists():
            raise FileNotFoundError(f"{self.python} is missing: `make bench` makes the peers' environment")
        argv = [*self.under, str(self.python), "-m", f"benchmarks.contestants.{self.program}", verb, str(self.number)]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **self.environ}
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, cwd=folder, env=environ, stdin=pipe, stdout=pipe, text=True)

    def do(self, verb: str, folder: Path) -> Measured:
        """Do it, and wait for the answer."""
        with self.start(verb, folder) as process:
            return _answer(process)


OURS = Contestant(
    name="pseudocron",
    program="with_pseudocron",
    fill="defer_many",
    check="succeeded",
    python=Path(sys.executable),
)
HUEY = Contestant(name="huey", program="with_huey")
APSCHEDULER = Contestant(name="APScheduler", program="with_apscheduler", number=FEW)


@dataclass(slots=True)
class Rate:
    """How many jobs a second one contestant does, a figure a round, their CPU, and what its store promises.

    Args:
        figures: Jobs a second.
        cpu: Microseconds of CPU of all its processes, for each job, if they tell them.
        store: The journal, and what a commit waits for.
    """

    figures: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    store: str = ""

    def __str__(self) -> str:
        cpu = f", {median(self.cpu):,.0f} us of CPU each" if self.cpu else ""
        return f"{median(self.figures):,.0f}/s{cpu} ({self.store})"


def deferred(one: Contestant) -> Measured:
    """Defer into a new store."""
    with tempfile.TemporaryDirectory() as name, one.at(folder := Path(name)) as there:
        return there.do(there.verb, folder)


@contextmanager
def copied(full: Path) -> Iterator[Path]:
    """Copy a folder, and yield the copy until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(full, folder, dirs_exist_ok=True))


def drained(one: Contestant, full: Path) -> Measured:
    """Drain a copy of a full store, from the word to begin until all is run; each job must have run once."""
    with copied(full) as folder, one.at(folder) as there:
        measured = _drain(there, folder)
        runs = sorted((folder / NOTES).read_text(encoding="ascii").splitlines())
        assert runs == [f"{number:0{DIGITS}}" for number in range(one.number)], f"{one.name}: not each job once"
        if one.check:
            there.do(one.check, folder)
    return measured


def _drain(one: Contestant, folder: Path) -> Measured:
    with ExitStack() as stack:
        programs = [stack.enter_context(one.start(one.verb, folder)) for _ in range(one.processes)]
        for program in programs:
            assert _pipe(program.stdout).readline().strip() == READY
        began = time.monotonic()
        for program in programs:
            print("begin", file=_pipe(program.stdin), flush=True)
        answers = [_answer(program) for program in programs]
    taken = {"seconds": max(answer["ended"] for answer in answers) - began}
    if all("cpu" in answer for answer in answers):
        taken["cpu"] = sum(answer["cpu"] for answer in answers)
    return {**answers[0], **taken}


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _answer(process: subprocess.Popen[str]) -> Measured:
    line = _pipe(process.stdout).readline()
    assert line, f"{process.args!r} ended without an answer"
    return dict(json.loads(line))


def fill(contestants: Sequence[Contestant], stack: ExitStack) -> dict[str, Path]:
    """Fill a store for each contestant, until the stack is closed; those that fill alike share one."""
    folders: dict[tuple[str, str], Path] = {}
    for one in contestants:
        if (one.program, one.fill) not in folders:
            folder = folders[one.program, one.fill] = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            with one.at(folder) as there:
                there.do(one.fill, folder)
    return {one.name: folders[one.program, one.fill] for one in contestants}


def rates(contestants: Sequence[Contestant], measure: Callable[[Contestant], Measured]) -> dict[str, Rate]:
    """How fast they are, by their names, in turns."""
    found = {one.name: Rate() for one in contestants}

    def arm(one: Contestant) -> Callable[[], float]:
        def rate() -> float:
            measured = measure(one)
            found[one.name].store = measured["store"]
            if "cpu" in measured:
                found[one.name].cpu.append(measured["cpu"] / one.number * 1e6)
            return float(one.number / measured["seconds"])

        return rate

    figures = side_by_side({one.name: arm(one) for one in contestants}, rounds=ROUNDS)
    for name, rate in found.items():
        rate.figures = figures[name]
    return found


def row(
    what: str, ours: Rate, peers: Mapping[str, Rate], *, goal: float | None, beside: Mapping[str, Rate] = _NOBODY
) -> Row:
    """Ours against the best of the peers in the same round; those beside promise less, and are only named."""
    best = [max(figures) for figures in zip(*(peer.figures for peer in peers.values()), strict=True)]
    against = ratios(ours.figures, best)
    theirs = ", ".join(f"{name} {peer}" for name, peer in {**peers, **beside}.items())
    return Row(
        what=what,
        goal="none" if goal is None else f"{goal:g} times the best peer",
        measured=f"{spread(against)}: {ours} of {theirs}",
        met=None if goal is None else median(against) >= goal,
    )
