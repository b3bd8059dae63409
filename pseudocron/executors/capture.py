"""What functions print and log, kept with their run, as the output of a script is.

`sys.stdout` and `sys.stderr` are replaced by objects that pass everything on, and the factory of log records is
wrapped. Which run writes is known by its context, so a run that writes nothing costs nothing. What a logger does not
let pass makes no record, and is not kept.
"""

from __future__ import annotations

import logging
import sys
import traceback
from threading import Lock
from typing import TYPE_CHECKING, Any

from pseudocron.context import running
from pseudocron.log import logger
from pseudocron.truncation import LIMIT, tail

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pseudocron.backends.questions import End

_STREAMS = ("stdout", "stderr")


class Output:
    """The last 64 KiB of what one run writes, from any thread."""

    __slots__ = ("_lock", "_parts", "_size")

    def __init__(self) -> None:
        self._lock = Lock()
        self._parts: list[str] = []
        self._size = 0

    def write(self, text: str) -> None:
        """Add a text."""
        with self._lock:
            self._parts.append(text)
            self._size += len(text)
            if self._size > 2 * LIMIT:
                self._parts = ["".join(self._parts)[-LIMIT:]]
                self._size = LIMIT

    def added_to(self, end: End) -> End:
        """Return an end with this output, and that of a child process behind it."""
        with self._lock:
            return end._replace(output=tail("".join([*self._parts, end.output or ""])))


class Tee:
    """A text stream that keeps what a run writes into it, besides passing it on.

    Args:
        stream: The stream.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, as the stream does."""
        written: int = self._stream.write(text)
        run = running.get(None)
        # A handler that writes a log record: the record itself is kept already.
        if run is not None and sys._getframe(1).f_globals.get("__name__") != "logging":  # noqa: SLF001 - the way
            run._write(text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts, as the stream does."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


installed: dict[str, Any] = dict.fromkeys(_STREAMS)
"""What was last put in the place of `sys.stdout` and `sys.stderr`."""


def install() -> None:
    """Keep from now on what runs print and log, also if somebody has replaced the streams since the last time."""
    for name in _STREAMS:
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Tee):
            stream = Tee(stream)
            setattr(sys, name, stream)
        installed[name] = stream
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _Factory):
        logging.setLogRecordFactory(_Factory(factory))


class _Factory:
    """A factory of log records that keeps those of runs.

    Args:
        make: The factory that makes them.
    """

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._make(*args, **kwargs)
        run = running.get(None)
        if run is not None and record.name != logger.name:  # our own lines are about the run, and not its output
            run._write(_text(record))
        return record


def _text(record: logging.LogRecord) -> str:
    """Return a record as text. Not by a formatter: it would leave its text of the exception in the record."""
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 - the handlers report it
        message = str(record.msg)
    raised = record.exc_info[1] if record.exc_info else None
    trace = traceback.format_exception(raised) if raised else []
    return "".join([f"{record.levelname} {record.name}: {message}\n", *trace])
