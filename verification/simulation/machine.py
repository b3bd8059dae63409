"""A simulated host: its clock, and the line from it to the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from verification.simulation.history import BEGINNING
from verification.simulation.scenario import Fault, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

ON_A_LINE: Mapping[Kind, str] = {Kind.CUT: "cut_until", Kind.LOSE: "lossy_until", Kind.SLOW: "slow_until"}
"""Until when what is wrong with the line of a machine, by its attribute."""


@dataclass(slots=True)
class Machine:
    """A host, which outlives its processes: how far its clock is off, and until when its line does not do well."""

    time: Callable[[], float]
    off: float = 0.0
    is_plain: bool = False
    """Whether each process on it executes, and has all crons and tasks."""

    cut_until: float = 0.0
    lossy_until: float = 0.0
    slow_until: float = 0.0

    def suffer(self, fault: Fault) -> None:
        """Step the clock, or spoil the line for some time."""
        if fault.kind is Kind.CLOCK:
            self.off += fault.size
        else:
            setattr(self, ON_A_LINE[fault.kind], self.time() + fault.size)

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.time() + self.off)
