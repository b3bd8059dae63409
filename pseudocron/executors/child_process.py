"""The server's end of a child process: command line, environment, life line, and what the report means."""

from __future__ import annotations

import json
import os
import signal
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from threading import Lock
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

from pseudocron.backends.model import State
from pseudocron.errors import TargetError
from pseudocron.executors.ended import Ended
from pseudocron.executors.raised import decoded
from pseudocron.targets import Script, Shell
from pseudocron.truncation import LIMIT, readable, tail, timed_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pseudocron.targets import Function, Target

_TIMEOUT_GRACE = 5.0  # seconds between SIGTERM and SIGKILL when the timeout is over
_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
_RUN_SCRIPT = str(Path(__file__).with_name("run_script.py"))
_LAST_LINES = 20  # of the output, enough to say why a process failed
_IO_ENCODING = "utf-8:surrogateescape"  # the output is read as UTF-8; a locale without a letter must not fail the run

_NOTHING: Mapping[str, str] = MappingProxyType({})

_lifelines: set[IO[bytes]] = set()


def _let_go() -> None:
    # A fork of the server would hold the life lines open beyond the server's death.
    while _lifelines:
        _lifelines.pop().close()


os.register_at_fork(after_in_child=_let_go)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line.

    Args:
        argv: The program and its arguments.
        stdin: What it reads from its standard input.
        reports: Whether it takes the descriptor of a pipe as its last argument but one, and reports there what it
            raises.
        shields: Whether it takes the descriptor of a `Shield` as its last argument.
    """

    argv: list[str]
    stdin: str = ""
    reports: bool = False
    shields: bool = False


class Child:
    """One child process under its supervisor.

    Args:
        command: Gives what it runs, or raises; asked off the event loop.
        environ: What it finds in its environment of its run.
        timeout: Seconds that it may take, or None.
        env: What it finds there besides the server's environment.
        cwd: Its working folder; the server's if None.
    """

    def __init__(
        self,
        *,
        command: Callable[[], Command],
        environ: Mapping[str, str],
        timeout: float | None,
        env: Mapping[str, str] = _NOTHING,
        cwd: Path | None = None,
    ) -> None:
        self._command = command
        self._env = env
        self._cwd = None if cwd is None else str(cwd)
        self._environ = environ
        self._timeout = timeout
        self._lock = Lock()
        self._lifeline: IO[bytes] | None = None
        self._hung_up = False

    def run(self) -> Ended:
        """Start it and wait for its end; blocks. `OSError` if there can be no further process."""
        command = self._command()
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as reports:
            with _supervisor(writer) as supervisor:
                self._pick_up(supervisor.stdin, self._spec(command))  # type: ignore[arg-type]
                said = supervisor.stdout.read()  # type: ignore[union-attr]
                report = reports.readline()
                self.hang_up()
            return self._result(command, report, said, supervisor.returncode)

    def hang_up(self) -> None:
        """Let it be killed, with its whole process group, within a second; from any thread, at any time."""
        self._hung_up = True
        # Never waited for, as the event loop calls this: a thread that has the lock hangs up when it releases it.
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    def _close(self) -> None:
        if self._lifeline:
            _lifelines.discard(self._lifeline)
            self._lifeline.close()

    def _pick_up(self, lifeline: IO[bytes], spec: bytes) -> None:
        with self._lock:
            self._lifeline = lifeline
            _lifelines.add(lifeline)
            with suppress(BrokenPipeError):  # the supervisor is gone; what it said tells why
                while spec and not self._hung_up:
                    spec = spec[lifeline.write(spec) :]
        if self._hung_up:
            self.hang_up()

    def _spec(self, command: Command) -> bytes:
        environ = {**os.environ, "PYTHONUNBUFFERED": "1", **self._env}
        if command.argv[0] == sys.executable:  # for a program of another interpreter it would be the wrong one
            own = self._env.get("PYTHONPATH")
            environ["PYTHONPATH"] = os.pathsep.join(filter(None, [own, _python_path()]))
            environ.setdefault("PYTHONIOENCODING", _IO_ENCODING)
        run = {name: value.encode().decode("latin-1") for name, value in self._environ.items()}
        spec = {
            "argv": [_transcoded(word) for word in command.argv],
            "cwd": None if self._cwd is None else _transcoded(self._cwd),
            "stdin": command.stdin,
            "environ": {_transcoded(name): _transcoded(value) for name, value in environ.items()} | run,
            "timeout": self._timeout,
            "grace": _TIMEOUT_GRACE,
            "keep": LIMIT,
            "reports": command.reports,
            "shields": command.shields,
        }
        return json.dumps(spec).encode() + b"\n"

    def _result(self, command: Command, line: bytes, said: bytes, returncode: int) -> Ended:
        try:
            report = json.loads(line)
        except ValueError:
            error = tail(f"the supervisor of the process ended with {_ending(returncode)}\n{tail(said)}".rstrip())
            return Ended(outcome=State.FAILED, error=error)
        if "error" in report:
            return Ended(outcome=State.FAILED, error=self._unstartable(command.argv[0], report))
        ended = _judged(report, self._timeout)
        return ended._replace(raised=decoded(report["raised"])) if ended.outcome is State.FAILED else ended

    def _unstartable(self, program: str, report: Mapping[str, Any]) -> str:
        if report["in_cwd"]:
            return f"cwd: can't enter {self._cwd!r}: {report['error']}"
        fix = "" if program == sys.executable else " (it must be a .py, or executable and name its interpreter with #!)"
        return f"can't start {program!r}: {report['error']}{fix}"


def _supervisor(report: int) -> Popen[bytes]:
    """Start a supervisor that writes its report into a descriptor, which is closed here.

    What it writes to stdout and stderr comes from Python, its settings (`PYTHONDEVMODE`) and its site: it says why a
    supervisor has failed, and nothing else is read from it.
    """
    try:
        return Popen(
            [sys.executable, "-P", _SUPERVISOR, str(report)],
            pass_fds=[report],
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            bufsize=0,
            start_new_session=True,  # a signal to the server's process group is not for the child
        )
    finally:
        os.close(report)


def command(target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Command:
    """Return the command that runs a target.

    A `.py` script runs in this interpreter, another file by itself, both with `args` as text and `kwargs` as
    `--key=value`; a command line runs in `/bin/sh`. A function is called with the arguments by a child that imports it;
    `TargetError` if that can't be.
    """
    if isinstance(target, Shell):
        return Command(argv=["/bin/sh", "-c", target.line])
    if isinstance(target, Script):
        path = str(target.path.absolute())
        is_python = target.path.suffix == ".py"
        interpreter = [sys.executable, _RUN_SCRIPT] if is_python else []
        options = (f"--{key}={value}" for key, value in kwargs.items())
        return Command(argv=[*interpreter, path, *map(str, args), *options], shields=is_python)
    # Not on the command line, which every user of the machine can read.
    argv = [sys.executable, "-P", "-m", "pseudocron.executors.run_function"]
    return Command(argv=argv, stdin=_call(target, args, kwargs), reports=True, shields=True)


def _call(target: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    module, _, name = target.ref.partition(":")
    if module == "__main__" or not name or "<" in target.ref:
        raise TargetError(
            f"{target.ref!r} can't be imported by a child process: define it on the top level of a module"
        )
    try:
        return json.dumps([target.ref, args, kwargs])
    except (TypeError, ValueError) as error:
        raise TargetError(f"{target.ref!r}: what a child process is called with must be JSON: {error}") from error


def _transcoded(text: str) -> str:
    """Return the bytes of a text as the operating system has them, each as one character.

    What the encoding of the locale does not have, such as a Chinese word in Latin-1, is UTF-8.
    """
    try:
        return os.fsencode(text).decode("latin-1")
    except UnicodeEncodeError:
        return text.encode(errors="surrogateescape").decode("latin-1")


def _python_path() -> str:
    """Return what this process can import, besides what every interpreter like it can.

    The standard library is left out: a child hands its environment on, and another Python must not find it.
    """
    entries = (os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100 - '' is the current folder
    return os.pathsep.join(entry for entry in entries if entry not in _inherent())


@cache
def _inherent() -> frozenset[str]:
    """Return where every interpreter like this one looks for modules."""
    paths = sysconfig.get_paths()
    library = paths["stdlib"]
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    beside = (os.path.join(library, "lib-dynload"), os.path.join(os.path.dirname(library), archive))  # noqa: PTH118, PTH120
    return frozenset({library, paths["platstdlib"], paths["purelib"], paths["platlib"], *beside})


def _judged(report: Mapping[str, Any], timeout: float | None) -> Ended:
    output = readable(report["output"].encode("latin-1"))
    match report["outcome"], report["returncode"]:
        case "timed_out", _:
            return Ended(outcome=State.TIMED_OUT, error=timed_out(timeout), output=output)
        case "interrupted", _:
            return Ended(outcome=State.INTERRUPTED, error="its supervisor was told to end it", output=output)
        case "signalled", returncode:
            error = f"{_ending(returncode)}, as the whole service was told to end; under systemd: set KillMode=mixed"
            return Ended(outcome=State.INTERRUPTED, error=error, output=output)
        case _, 0:
            return Ended(outcome=State.SUCCEEDED, output=output)
        case _, returncode:
            last = output.rstrip().splitlines()[-_LAST_LINES:]
            return Ended(outcome=State.FAILED, error="\n".join([_ending(returncode), *last]), output=output)


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"exit code {returncode}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-returncode).name}"
    return f"killed by signal {-returncode}"  # a real-time signal has no name
