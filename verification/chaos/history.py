"""What was seen of real processes, as JSON lines: what each event says, how it is written down and read again.

Every event has a `what`, and `at`: the true time in seconds, which no nemesis changes. What is asked of the store has
`asked` too, so that it happened between the two. Slots are microseconds since the epoch.

    cron, task                      what there is to run, with its options; `store` has the length of the leases
    claim                           of a `cron`'s slot or of a `job`: run, fence, attempt, and the store's `clock`
    renew, finishing, finish        of `runs`, by [identity, fence]; `finishing` before it is asked, with whether each
                                    is to be attempted `again`; `finish` with the `states` that the store has answered
    lost, drop                      of a run, in its new state, when its lease was over or it was not wanted any more
    skip                            slots that were recorded as missed
    start, end                      the application's own function, by identity and fence
    defer, cancel                   what a client was answered; the `delay` of a job in seconds
    enter                           a process has entered the gate
    fault                           what the nemesis did; `pids` whom it concerned; `asked` when it began
    wipe, clock                     the store has forgotten everything; the store's own clock was stepped
    job, line                       what the store held of a job, and in its history, before a wipe or in the end
    settled                         what was left undone when nothing had gone wrong for a while
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Event: TypeAlias = dict[str, Any]


def asked(event: Event) -> float:
    """When it was asked for, or else when it happened."""
    return float(event["asked"] if "asked" in event else event["at"])


def _ends(event: Event, what: str) -> Iterator[tuple[tuple[str, int], Any]]:
    """Return the attempts that end, each with its record."""
    return zip(event["runs"], event[what], strict=True)


class Notes:
    """Writes events to a file that others write to as well, each by one call.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, what: str, **told: Any) -> None:
        """Add an event that happens now, unless `at` is given."""
        event = {"what": what, "at": time.time(), "pid": os.getpid(), **told}
        os.write(self._file, json.dumps(event).encode() + b"\n")

    def read(self) -> Iterator[Event]:
        """All that was written down."""
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


class History:
    """Events, by what they are, each kind in the order in which it was asked or happened.

    Args:
        events: In any order.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._by_what: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            self._by_what[event["what"]].append(event)
        for those in self._by_what.values():
            those.sort(key=asked)

    def of(self, *whats: str) -> list[Event]:
        """Those of some kinds."""
        return [event for what in whats for event in self._by_what.get(what, ())]

    @cached_property
    def crons(self) -> dict[str, Event]:
        """The crons by their names."""
        return {event["name"]: event for event in self.of("cron")}

    @cached_property
    def tasks(self) -> dict[str, Event]:
        """The tasks by their names."""
        return {event["name"]: event for event in self.of("task")}

    @cached_property
    def grants(self) -> dict[str, list[Event]]:
        """The granted slots of each cron, those too of which only the store's own history tells, by their fences."""
        known = {(event["run"], event["fence"]): event for event in self.of("claim") if "cron" in event}
        for line in self.of("line"):
            if line["reason"] is None and (line["run"], line["fence"]) not in known:
                known[line["run"], line["fence"]] = line | self._bounds(line["epoch"])
        grants = defaultdict(list)
        for grant in sorted(known.values(), key=lambda one: int(one["fence"])):
            grants[grant["cron"]].append(grant)
        return grants

    @cached_property
    def retried(self) -> set[tuple[str, int]]:
        """The attempts of slots after which their process wanted another one, by run and fence."""
        told = self.of("finishing")
        return self._slots & {(run, fence) for event in told for (run, fence), again in _ends(event, "again") if again}

    @cached_property
    def stored_again(self) -> set[tuple[str, int]]:
        """Those of them of which the store has said that the run is pending again."""
        told = self.of("finish")
        states = {(run, fence): state for event in told for (run, fence), state in _ends(event, "states")}
        return self._slots & {attempt for attempt, state in states.items() if state == "pending"}

    @cached_property
    def _slots(self) -> set[tuple[str, int]]:
        return {(grant["run"], grant["fence"]) for grants in self.grants.values() for grant in grants}

    @cached_property
    def last_signs(self) -> dict[int, float]:
        """When each process was last heard of."""
        signs = sorted((event["at"], event["pid"]) for event in self.of("claim", "renew", "finishing", "start", "end"))
        return {pid: float(at) for at, pid in signs}

    @cached_property
    def stored(self) -> dict[str, Event]:
        """What the store held last of each job."""
        return {event["job"]: event for event in sorted(self.of("job"), key=lambda event: int(event["epoch"]))}

    @cached_property
    def epoch(self) -> int:
        """The number of the last memory of the store, which nobody wiped."""
        return len(self.of("wipe"))

    def forgot_between(self, one: Event, other: Event) -> bool:
        """Whether the store may have granted the one, forgotten it, and then granted the other."""
        return any(one["asked"] <= wipe["asked"] and wipe["at"] <= other["at"] for wipe in self.of("wipe"))

    def _bounds(self, epoch: int) -> Event:
        """When what was stored in an epoch was stored, as far as that is known."""
        wipes = self.of("wipe")
        return {
            "asked": wipes[epoch - 1]["at"] if epoch else 0.0,
            "at": wipes[epoch]["asked"] if epoch < len(wipes) else float("inf"),
        }
