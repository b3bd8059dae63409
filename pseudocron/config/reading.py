"""Reading a configuration in a thread of its own, which may never end, and telling if it takes long."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from pseudocron.clock import monotonic
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

TELL_AFTER = 5.0
"""Seconds after which a read that is under way is told."""


class Reading(Generic[T]):
    """A read in a daemon thread, which neither delays the exit of the process nor a poll.

    Args:
        read: Reads.
        version: What is read.
    """

    def __init__(self, read: Callable[[], T], version: object) -> None:
        self.version = version
        self._read = read
        self._began = monotonic()
        self._ended = threading.Event()
        self._result: T | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="pseudocron-read", daemon=True).start()

    def ends_within(self, seconds: float) -> bool:
        """Return whether it has ended, after waiting for it until so many seconds after its start."""
        return self._ended.wait(max(0.0, self._began + seconds - monotonic()))

    def result(self) -> T:
        """Return what was read, or raise why it could not be; it must have ended."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def _run(self) -> None:
        try:
            self._result = self._read()
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            self._error = error
        self._ended.set()


@contextmanager
def told_if_slow(tell: Callable[[str], None], where: str, file: str | None) -> Iterator[None]:
    """Call a function with a line if what is inside takes longer than 5 seconds; it goes on.

    Args:
        tell: Takes the line, in another thread.
        where: Name of the configuration.
        file: The config file, whose line is told that it is at.
    """
    reader = threading.get_ident()
    told = threading.Timer(TELL_AFTER, lambda: tell(f"{where}{_line(reader, file)}: still being read after 5 s"))
    told.daemon = True
    try:
        told.start()
    except RuntimeError:  # no thread is to be had
        logger.debug("%s: no thread to watch the read", where)
    try:
        yield
    finally:
        told.cancel()


def _line(thread: int, file: str | None) -> str:
    """Return the innermost line of a file that a thread is at, such as `, line 3`, or an empty string."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001  as `faulthandler` does
    while frame is not None and frame.f_code.co_filename != file:
        frame = frame.f_back
    return f", line {frame.f_lineno}" if frame else ""
