"""Supervises one child process; kills its whole process group at its timeout, and when the server is gone.

The server starts it as a file: it imports nothing but the standard library, and is there at once. The first line of
stdin is the spec, a JSON object: `argv`, `cwd` (or null), `stdin` (what the child reads there), `environ`, `timeout`
(seconds or null), `grace` (seconds between SIGTERM and SIGKILL at the timeout), `keep` (bytes of output), `reports`
(whether an argument is added: the write end of a pipe, for what the child raises), `shields` (whether the last
argument is to be the read end of a pipe that gets a byte for each SIGTERM of the supervisor). Stdin then stays open as
the life line: its end means that the server is gone, even by SIGKILL, or wants the child to end. The only argument is
the descriptor of the pipe for the report, a line of JSON: `outcome` (null unless the child was made to end),
`returncode`, `output`, `raised`; or `error` and `in_cwd` if the child could not be started. Stdout and stderr are for
what Python itself has to say.
The texts of both are in Latin-1, each character a byte: what is passed on is in whatever encoding it may be.

A signal that tells the supervisor to end is for the whole service: the server decides when the child has to end, and
holds the life line until then.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
from contextlib import suppress
from math import inf
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HANGUP_GRACE = 0.5  # seconds between SIGTERM and SIGKILL when the server is gone: in one all has to be over
_STEP = 0.02  # seconds between two looks at a group that was told to end: nothing wakes us when it is gone
_BURIAL_STEPS = 25  # for dead or dying members of the group; one that the kernel holds may outlast them
_MOMENT = 0.2  # seconds in which a signal for the whole service has reached all of its processes
_FOR_ALL = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})
_OF_A_SHELL = 128  # its exit code is this and the signal of which its last command died
_CHUNK = 64 * 1024
_PIPE = 1024 * 1024  # bytes that a pipe holds at most, unless root has enlarged it
_AUTOGROUP = "/proc/{}/autogroup"
_LOWEST = 19  # the nice value that yields to everybody
_AUTOGROUP_PAUSE = 0.11  # seconds: on the whole machine, users other than root may write one each 0.1 s
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # of Linux's prctl


class Supervisor:
    """One child process, from its start to its report; it has to be the only one of this process."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._outcome: str | None = None
        self._killed = False
        self._grace, self._keep = spec["grace"], spec["keep"]
        self._output = self._raised = b""
        self._selector = selectors.DefaultSelector()
        self._watch(_signals(), self._on_signals)
        _prctl(_SET_CHILD_SUBREAPER, 1)
        reader, writer = os.pipe()
        told, self._teller = os.pipe()
        self._told: set[int] = set()
        handed = [writer] * spec["reports"] + [told] * spec["shields"]
        self._child = subprocess.Popen(
            [_bytes(word) for word in [*spec["argv"], *map(str, handed)]],
            pass_fds=handed,
            cwd=spec["cwd"] and _bytes(spec["cwd"]),
            env={_bytes(name): _bytes(value) for name, value in spec["environ"].items()},
            bufsize=0,
            stdin=subprocess.PIPE if spec["stdin"] else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_be_humble,  # noqa: PLW1509 - safe in a process of one thread
        )
        self._due = inf if spec["timeout"] is None else monotonic() + spec["timeout"]
        self._renice(_LOWEST)
        os.close(writer)
        os.close(told)
        self._watch(reader, self._on_raised)
        self._watch(sys.stdin.fileno(), self._on_lifeline)
        self._watch(self._child.stdout.fileno(), self._on_output)  # type: ignore[union-attr]
        if self._child.stdin:
            self._input = _bytes(spec["stdin"])
            self._watch(self._child.stdin.fileno(), self._on_readable, selectors.EVENT_WRITE)

    def report(self) -> dict[str, Any]:
        """Wait until the child is over, however it ends, and all of its group with it."""
        while not self._over():
            self._handle(self._patience())
        self._due = inf
        self._bury()
        self._drain()
        for pipe in filter(None, [self._child.stdin, self._child.stdout]):
            pipe.close()
        return {
            "outcome": self._outcome or ("signalled" if self._is_signalled() else None),
            "returncode": self._child.returncode,
            "output": self._output.decode("latin-1"),
            "raised": self._raised.decode("latin-1"),
        }

    def _over(self) -> bool:
        if self._child.poll() is None:
            return False
        _reap()
        # Who was told to end may need its grace longer than its leader does.
        return self._outcome is None or self._killed or not self._signal(0)

    def _patience(self) -> float | None:
        left = max(0.0, min(self._due, self._renice_due) - monotonic())
        return min(left, _STEP) if self._outcome else None if left == inf else left

    def _handle(self, patience: float | None) -> None:
        for key, _ in self._selector.select(patience):
            key.data(key.fd)
        if monotonic() >= self._renice_due:
            self._renice(self._nice)
        if monotonic() >= self._due:
            self._expire()

    def _renice(self, nice: int) -> None:
        """Give the autogroup of the child this priority; retried later if that is too soon after another write."""
        self._nice = nice
        is_settled = self._child.returncode is not None or _set_autogroup(self._child.pid, nice)
        self._renice_due = inf if is_settled else monotonic() + _AUTOGROUP_PAUSE

    def _expire(self) -> None:
        if self._outcome is None:
            self._end("timed_out", self._grace)
        else:
            self._signal(signal.SIGKILL)
            self._killed = True
            self._due = inf

    def _end(self, outcome: str, grace: float) -> None:
        due = monotonic() + grace
        self._due = due if self._outcome is None else min(due, self._due)
        if self._outcome is None:
            self._outcome = outcome
            os.close(self._teller)
        self._renice(0)  # on a busy machine it would need seconds even to die
        self._signal(signal.SIGTERM)

    def _signal(self, signum: int) -> bool:
        # A group without living members is no process (Linux), or one that may not be signalled (macOS).
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signum)
            return True
        return False

    def _watch(self, fd: int, handle: Callable[[int], None], event: int = selectors.EVENT_READ) -> None:
        os.set_blocking(fd, False)
        self._selector.register(fd, event, handle)

    def _on_signals(self, fd: int) -> None:
        for signum in _FOR_ALL.intersection(os.read(fd, _CHUNK)):
            self._told.add(signum)
            if self._outcome is None and signum == signal.SIGTERM:
                with suppress(BrokenPipeError):  # the child is gone, or reads nothing
                    os.write(self._teller, b"t")

    def _is_signalled(self) -> bool:
        """Return whether the child died of a signal that this process has got too, perhaps a moment later."""
        ending = self._child.returncode
        signum = ending - _OF_A_SHELL if ending > _OF_A_SHELL else -ending
        until = monotonic() + _MOMENT
        while signum in _FOR_ALL - self._told and (left := until - monotonic()) > 0:
            self._handle(left)
        return signum in self._told

    def _on_lifeline(self, fd: int) -> None:
        if not os.read(fd, _CHUNK):
            self._selector.unregister(fd)
            self._end("interrupted", _HANGUP_GRACE)

    def _on_output(self, fd: int) -> None:
        chunk = os.read(fd, _CHUNK)
        self._output = (self._output + chunk)[-self._keep :]
        if not chunk:
            self._selector.unregister(fd)

    def _on_readable(self, fd: int) -> None:
        # Bit by bit: a pipe holds only the start of a long text, and there may be no folder for a temporary file.
        try:
            self._input = self._input[os.write(fd, self._input[:_CHUNK]) :]
        except BrokenPipeError:  # the child reads no more
            self._input = b""
        if not self._input:
            self._selector.unregister(fd)
            self._child.stdin.close()  # type: ignore[union-attr]

    def _on_raised(self, fd: int) -> None:
        chunk = os.read(fd, _CHUNK)
        self._raised = (self._raised + chunk)[: self._keep]
        if not chunk:
            self._selector.unregister(fd)

    def _bury(self) -> None:
        # While there are members that the child has left behind, nobody else is given the group's number.
        for _ in range(_BURIAL_STEPS):
            if not self._signal(signal.SIGKILL):
                break
            sleep(_STEP)
            _reap()

    def _drain(self) -> None:
        # No more than a pipe holds: a descendant that has left the group may write on, or never close it.
        for _ in range(_PIPE // _CHUNK):
            self._handle(0)


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _signals() -> int:
    """Catch signals, and return a descriptor from which their numbers can be read."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for signum in (signal.SIGCHLD, *_FOR_ALL):
        if signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN:  # as nohup wants it
            continue
        # A handler, unlike SIG_IGN, is not inherited by the child.
        signal.signal(signum, lambda *_: None)
    return reader


def _set_autogroup(pid: int, nice: int) -> bool:
    """Set the priority of the autogroup of a process.

    With autogroups, as most distributions have them, a nice value counts only between processes of one session, and
    a new session competes with all others as an equal: see sched(7).

    Returns:
        Whether there is nothing more to do: False if another write was less than 0.1 s ago.
    """
    try:
        with open(_AUTOGROUP.format(pid), "wb", buffering=0) as file:  # noqa: PTH123 - pathlib takes its time
            file.write(str(nice).encode())
    except BlockingIOError:
        return False
    except OSError:  # there are no autogroups, it is not allowed, or the process has ended
        return True
    return True


def _be_humble() -> None:
    """Lower the child's priority before its program starts, and let it die with a supervisor that is killed."""
    os.nice(_LOWEST)  # for where there are no autogroups
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    with suppress(AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(option, value)


def _reap() -> None:
    """Collect the dead whose parents have died before: a group is not gone until they are."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _report(spec: Mapping[str, Any]) -> dict[str, Any]:
    try:
        supervisor = Supervisor(spec)
    except (OSError, ValueError) as error:  # a NUL is a ValueError
        in_cwd = spec["cwd"] is not None and getattr(error, "filename", None) == _bytes(spec["cwd"])
        return {"error": getattr(error, "strerror", None) or str(error), "in_cwd": in_cwd}
    return supervisor.report()


def main() -> None:
    """Supervise what the life line names; without a whole line the server was gone before."""
    line = sys.stdin.buffer.readline()
    if line.endswith(b"\n"):
        report = json.dumps(_report(json.loads(line))).encode()
        _fall_silent()
        with suppress(BrokenPipeError), open(int(sys.argv[1]), "wb") as pipe:  # noqa: PTH123 - as above
            pipe.write(report + b"\n")


def _fall_silent() -> None:
    """Close stdout and stderr: the server reads them to their end before it reads the report."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for fd in (1, 2):
        os.dup2(nowhere, fd)
    os.close(nowhere)


if __name__ == "__main__":
    main()
