"""The monotonic clock of the process: the only one that pseudocron compares its own moments with."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Libraries that set the time in tests replace `time.monotonic`, also where a module has imported it by name, but not
# where it was copied to an object. A deadline that one clock has set and another one reads may lie decades ahead.
monotonic: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_MONOTONIC) if hasattr(time, "clock_gettime") else partial(time.monotonic)
)
"""Return seconds that never go back, whatever freezegun or time-machine make of the time."""
