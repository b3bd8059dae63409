"""What happened, in one order: what the store was asked and said, which code ran, what went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from os import getpid
from socket import gethostname
from typing import Any

BEGINNING = datetime(2024, 5, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Args:
        at: Seconds from the beginning, as no clock in the simulation tells them.
        clock: The clock of the store then.
        who: The process, by its number; of the store and of the weather -1.
        what: A verb of the store, or a word of our own.
        given: What the verb was called with, or whom it is about.
        got: What it gave, or raised.
    """

    at: float
    clock: datetime
    who: int
    what: str
    given: tuple[Any, ...] = ()
    got: Any = None

    def __str__(self) -> str:
        got = "" if self.got is None else f" -> {self.got}"
        return f"{self.at:10.3f} #{self.who} {self.what} {', '.join(map(str, self.given))}{got}"


@dataclass(slots=True)
class History:
    """All that happened, the earliest first."""

    events: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        self.events.append(event)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def digest(self) -> str:
        """Return a digest that is the same for the same history, and for no other."""
        text = "\n".join(map(str, self.events)).replace(f"{gethostname()}:{getpid()}", "worker")
        # The order in which a set is told is not part of what happened.
        return sha256(re.sub(r"\{[^{}:]*\}", lambda said: "".join(sorted(said[0])), text).encode()).hexdigest()
