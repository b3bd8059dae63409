"""How long an execution has to end, in seconds."""

from __future__ import annotations

TIMEOUT = 5.0
"""For a coroutine that is cancelled at its timeout."""

CANCEL = 2.0
"""For a run that is cut off: a drain can't wait long."""

TRACE = 2.0
"""For a traceback with lines of source; then one without is made."""
