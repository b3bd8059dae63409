"""The logger of the package, which never raises: what a handler does wrong is no matter of the code that logs."""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


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
