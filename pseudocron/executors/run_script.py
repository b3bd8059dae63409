"""Runs one Python script in its child process, as `python SCRIPT ARGUMENTS` does: `run_script.py SCRIPT ARGUMENTS FD`.

systemd sends SIGTERM to every process of a service by default, so also to the scripts, whose drain only begins then.
FD is a pipe from the supervisor, by which the script learns of such a signal that it is not alone with it. It is run
as a file, and imports nothing but the standard library, so that a script starts as quickly as by itself.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress

_WAIT = 0.5  # seconds until a SIGTERM for the whole service has reached the supervisor too
_CHUNK = 1024  # bytes


class Shield:
    """Ignores SIGTERM that is for the whole service; dies of any other, as without a shield.

    Code that handles SIGTERM by itself gets every one. Forks and programs that it starts are not shielded.

    Args:
        pipe: The descriptor from which a byte can be read for each SIGTERM that the supervisor has got, and whose end
            means that the supervisor wants the process to end.
    """

    def __init__(self, pipe: int) -> None:
        os.set_inheritable(pipe, False)
        self._pipe = pipe
        signal.signal(signal.SIGTERM, self._on_signal)
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=self._drop)

    def _on_signal(self, signum: int, _: object) -> None:
        if not self._is_for_all():
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    def _drop(self) -> None:
        """Let a fork die of the signal: its parent may want it to end, and right after its start."""
        if signal.getsignal(signal.SIGTERM) == self._on_signal:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _unblock()

    def _is_for_all(self) -> bool:
        is_told, patience = False, _WAIT
        with suppress(OSError, ValueError):  # the script has closed the descriptor
            while select.select([self._pipe], [], [], patience)[0]:
                if not os.read(self._pipe, _CHUNK):
                    return False
                is_told, patience = True, 0.0  # what follows may be the end
        return is_told


def _block() -> None:
    # A fork forgets the signals that Python has not handled yet.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def main() -> None:
    """Run the script in a module `__main__` of its own, and let its traceback begin with itself."""
    Shield(int(sys.argv.pop()))
    del sys.argv[0]
    path = sys.argv[0]
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(path))  # noqa: PTH120 - pathlib takes its time, as does
    with open(path, "rb") as file:  # noqa: PTH123
        source = file.read()
    module = sys.modules["__main__"] = type(sys)("__main__")
    loader = type(__loader__)("__main__", path)  # type: ignore[name-defined]
    vars(module).update(__builtins__=__builtins__, __file__=path, __cached__=None, __loader__=loader)
    if sys.version_info < (3, 14):
        module.__annotations__ = {}
    try:
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))  # noqa: S102 - what the user wants run
    except Exception as error:  # noqa: BLE001 - shown as Python shows it
        trace = error.__traceback__ and error.__traceback__.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        sys.exit(1)


if __name__ == "__main__":
    main()
