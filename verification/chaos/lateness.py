"""When each job was due, and by when it had to be claimed, whatever went wrong meanwhile."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from verification.chaos.history import Event, History

WITHIN = 2.0
"""Seconds: 1, and half of one each for the gap to the next visit and for the poll; 0.3 is the most that was seen."""

PAUSE, CRON_PAUSE = 0.2, 1.0
"""Seconds before a retry of a job, as the application has them, and of a cron at most; a job handed back is due now."""

ENTERED = 2.0
"""Seconds for which the gate stays fresh where a process is gone in the middle of a poll, whatever `CRON_MAX_TIME`."""

STEP = 8.0
"""Seconds by which the clock of a folder is set back at most: what was due by it waits for it."""

POLL = 1.0
"""Seconds that a poll takes at most."""

TAKES: Mapping[str, float] = {
    "crons edited": 0.0,
    "crons broken": 0.0,
    "host told to stop": 1.0,  # its drain
    "worker stopped": 4.0 + ENTERED,  # it may hold the lock of the store until it goes on
    "tick killed": ENTERED,
    "clock stepped": STEP,
}
"""Seconds from the end of a fault until all is well; others take a lease, as the answer to a claim may be lost."""

Span = tuple[float, float]


def late(history: History) -> Iterator[str]:
    """Jobs of tasks without a limit, and without a key, and retries of slots, that were claimed too late.

    A retry that was dropped for the next slot had to be claimed too, if there was time for that.
    """
    faults = _faults(history)
    for job, (due, claim) in (*_claimed(history), *_retried(history)):
        since = due
        for begin, end in faults:
            if begin <= since + WITHIN and end > since:
                since = end
        if claim["asked"] > since + WITHIN:
            yield f"{job}: due at {due:.3f}, could start since {since:.3f}, claimed at {claim['asked']:.3f}"


def _faults(history: History) -> Sequence[Span]:
    """From the beginning of each fault until all is well, in their order."""
    (store,) = history.of("store")
    entered = defaultdict(list)
    for event in history.of("enter"):
        entered[event["pid"]].append(event["asked"])
    spans = []
    for fault in history.of("fault"):
        polls = [at for pid in fault.get("pids", ()) for at in entered[pid] if fault["asked"] - POLL < at < fault["at"]]
        takes = TAKES.get(fault["kind"], store["lease"] + 1.0)
        spans.append((fault["asked"], fault["at"] + (max(takes, ENTERED) if polls else takes)))
    return sorted(spans)


def _claimed(history: History) -> Iterator[tuple[str, tuple[float, Event]]]:
    """Each claim of a job, and when that was due: after the defer, a result that was not the last, or a lease."""
    (store,) = history.of("store")
    deferred = {event["job"]: event["at"] + event["delay"] for event in history.of("defer")}
    again, signs = _results(history), _signs(history)
    claims = defaultdict(list)
    for claim in history.of("claim"):
        if "job" in claim and claim["key"] is None and history.tasks[claim["task"]]["max_instances"] is None:
            claims[claim["job"]].append(claim)
    for job, those in claims.items():
        those.sort(key=lambda claim: int(claim["fence"]))
        if job in deferred and those[0]["fence"] == 1:
            yield job, (deferred[job], those[0])
        for one, other in pairwise(those):
            held = job, one["fence"]
            yield job, (again[held] + PAUSE if held in again else signs[held] + store["lease"], other)


def _retried(history: History) -> Iterator[tuple[str, tuple[float, Event]]]:
    """Each claim of a stored retry of a slot, or else when it was dropped, and when it was due."""
    results = _results(history)
    claims: dict[str, list[Event]] = defaultdict(list)
    for claim in history.of("claim", "drop"):
        if "cron" in claim:
            claims[claim["run"]].append(claim)
    for run, fence in history.stored_again:
        after = [one for one in claims[run] if one.get("fence", fence + 1) > fence]
        if after and not history.crons[after[0]["cron"]]["at_least_once"]:
            yield run, (results[run, fence] + CRON_PAUSE, min(after, key=lambda one: float(one["asked"])))


def _results(history: History) -> dict[tuple[str, int], float]:
    """When the store took each result."""
    return {
        (identity, fence): finish["at"]
        for finish in history.of("finish")
        for (identity, fence), own in zip(finish["runs"], finish["own"], strict=True)
        if own
    }


def _signs(history: History) -> dict[tuple[str, int], float]:
    """When each lease of a job was last given or renewed."""
    signs: dict[tuple[str, int], float] = {
        (one["job"], one["fence"]): one["at"] for one in history.of("claim") if "job" in one
    }
    for event in history.of("renew"):
        for identity, fence in event["runs"]:
            signs[identity, fence] = max(event["at"], signs.get((identity, fence), 0.0))
    return signs
