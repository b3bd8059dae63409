"""The logger of the package, which never raises: what a handler does wrong is no matter of the code that logs."""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, TextIO

from pseudocron.errors import PseudoCronError, show

if TYPE_CHECKING:
    from collections.abc import Callable

    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


COMPLAIN_AGAIN = 60.0
"""Seconds between two log lines about the same trouble."""


class _Fallback(logging.StreamHandler[TextIO]):
    """A handler for applications that have configured no logging: warnings and errors, with time, level and logger.

    Python itself would write the bare message. As soon as any other handler gets a line, this one writes nothing.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self, logging.WARNING)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The standard error of the moment, which tests and servers replace."""
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, unless another handler gets it."""
        at: logging.Logger | None = logging.getLogger(record.name)
        while at is not None:
            if any(handler is not self for handler in at.handlers):
                return
            at = at.parent if at.propagate else None
        super().emit(record)


class _HarmlessLogger(_Adapter):
    """A logger whose handlers and filters may raise without harm."""

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        """Log as `Logger.log` does. What a handler raises is printed, as `Handler.handleError` prints it."""
        try:
            super().log(level, msg, *args, stacklevel=2 + options.pop("stacklevel", 0), **options)
        except Exception:  # noqa: BLE001 - a run must not fail, or stay claimed for ever, as its log line could not be written
            if logging.raiseExceptions:
                with suppress(Exception):  # stderr may be closed
                    traceback.print_exc(file=sys.stderr)


logger = _HarmlessLogger(logging.getLogger("pseudocron"))
logger.logger.addHandler(_Fallback())


class Complaints:
    """Logs what keeps a process from polling, once a minute, and how many polls were skipped since.

    Args:
        monotonic: Seconds that never go back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._complained = -inf
        self._skipped = 0

    def log(self, trouble: object, *, traceback: bool = False) -> None:
        """Log trouble that has kept this process from polling once more, of an error that is not ours its traceback."""
        if isinstance(trouble, Exception) and not isinstance(trouble, PseudoCronError):
            trouble, traceback = show(trouble, 1000), True
        self._skipped += 1
        if self._monotonic() - self._complained >= COMPLAIN_AGAIN:
            self._complained = self._monotonic()
            more = f" ({self._skipped} polls skipped since the last message)" if self._skipped > 1 else ""
            logger.error("poll failed: %s%s", trouble, more, exc_info=traceback)
            self._skipped = 0
