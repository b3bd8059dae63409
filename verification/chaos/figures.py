"""What a history amounts to: counts, and the time until work went on after each fault; and tables of both."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from math import ceil
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from verification.chaos.checker import Violation
    from verification.chaos.history import Event, History

Figures: TypeAlias = dict[str, Any]

KILLED, STOPPED, TOLD = ("worker killed", "host killed", "tick killed"), ("worker stopped",), ("host told to stop",)
RESTARTED = ("Redis restarted", "Redis killed", "Redis restarted empty")

ROWS = {
    "minutes": "minutes",
    "killed": "processes killed (`SIGKILL`)",
    "stopped": "processes stopped for longer than a lease (`SIGSTOP`)",
    "told": "processes told to stop (`SIGTERM`)",
    "restarts": "Redis restarts",
    "other": "other faults",
    "jobs": "jobs acknowledged",
    "slots": "slots claimed",
    "retries": "attempts of slots that were retried",
    "recovered": "losses of slots that were run again",
    "lost": "acknowledged jobs lost",
    "duplicates": "slots claimed twice",
    "broken": "promises broken in any other way",
    "repeated": "jobs run again, their process having died or been stopped",
    "forgotten": "jobs that a Redis restarted empty had forgotten",
    "again": "slots claimed again after that, with a higher fence",
}


def figures(history: History, violations: Sequence[Violation]) -> Figures:
    """Return the counts of one history, and the seconds until work continued, by the kind of fault."""
    rules = Counter(violation.rule for violation in violations)
    lost, duplicates = rules.pop("no acknowledged job is lost", 0), rules.pop("no slot is claimed twice", 0)
    faults = history.of("fault")
    ended = Counter(job["state"] in {"pending", "running"} and job["epoch"] < history.epoch for job in _acked(history))
    starts = Counter((start["run"], "cron" in start) for start in history.of("start"))
    granted = {(name, grant["slot"], grant["run"]) for name, those in history.grants.items() for grant in those}
    slots = {(name, slot) for name, slot, _ in granted}
    return {
        "kind": history.of("store")[0]["kind"],
        "minutes": round((history.of("settled")[0]["at"] - history.of("store")[0]["at"]) / 60, 1),
        "killed": _struck(faults, KILLED),
        "stopped": _struck(faults, STOPPED),
        "told": _struck(faults, TOLD),
        "restarts": sum(fault["kind"] in RESTARTED for fault in faults),
        "other": sum(fault["kind"] not in {*KILLED, *STOPPED, *TOLD, *RESTARTED} for fault in faults),
        "jobs": len(history.of("defer")),
        "slots": len(slots),
        "retries": sum(
            (claim["run"], claim["fence"]) in history.retried for claim in history.of("claim") if "cron" in claim
        ),
        "recovered": sum("cron" in lost and lost["state"] == "pending" for lost in history.of("lost")),
        "lost": lost,
        "duplicates": duplicates,
        "broken": rules.total(),
        "repeated": sum(times > 1 and not is_cron for (_, is_cron), times in starts.items())
        - sum(_retried(history).values()),
        "forgotten": ended[True],
        "again": len(granted) - len(slots),
        "violations": [str(violation) for violation in violations[:100]],
        "recovery": recovery(history),
    }


def _acked(history: History) -> Iterator[Event]:
    return (history.stored[defer["job"]] for defer in history.of("defer") if defer["job"] in history.stored)


def _retried(history: History) -> Counter[str]:
    """Return the jobs that were run more than once because they had asked for it, and not for another reason."""
    attempts = defaultdict(list)
    for start in history.of("start"):
        if start.get("name") == "flaky":
            attempts[start["run"]].append(start["attempt"])
    return Counter(job for job, tries in attempts.items() if sorted(tries) == [1, 2])


def _struck(faults: Sequence[Event], kinds: Sequence[str]) -> int:
    return sum(len(fault["pids"]) for fault in faults if fault["kind"] in kinds)


def recovery(history: History) -> dict[str, dict[str, list[float]]]:
    """After each kind of fault: seconds until anything was started, and until what had struck it went on.

    Of a fault of processes these count from its beginning, of another from when it was mended.
    """
    starts = [start["at"] for start in history.of("start")]
    later, held = _claimed_later(history), _held(history)
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: {"any": [], "own": []})
    for fault in history.of("fault"):
        following = bisect_right(starts, fault["at"])
        if following < len(starts):
            found[fault["kind"]]["any"].append(starts[following] - fault["at"])
        own = found[fault["kind"]]["own"]
        for claim in (claim for pid in fault.get("pids", ()) for claim in held[pid]):
            if claim["at"] < fault["at"] < claim["until"]:
                again = later[claim.get("job") or claim["run"]]
                place = bisect_left(again, fault["at"])
                own += [again[place] - fault["at"]] if place < len(again) else []
    return dict(found)


def _claimed_later(history: History) -> dict[str, list[float]]:
    """When each run was claimed."""
    later = defaultdict(list)
    for claim in history.of("claim"):
        later[claim.get("job") or claim["run"]].append(claim["at"])
    return defaultdict(list, {whose: sorted(those) for whose, those in later.items()})


def _held(history: History) -> dict[int, list[Event]]:
    """Return what each process had claimed, and until when it held it."""
    recorded = {
        (identity, fence): finish["asked"]
        for finish in history.of("finish")
        for (identity, fence), own in zip(finish["runs"], finish["own"], strict=True)
        if own
    }
    held = defaultdict(list)
    for claim in history.of("claim"):
        until = recorded.get((claim.get("job") or claim["run"], claim["fence"]), float("inf"))
        held[claim["pid"]].append(claim | {"until": until})
    return held


def tables(found: Sequence[Figures]) -> str:
    """All of it as Markdown."""
    kinds = [figures["kind"] for figures in found]
    lines = [f"| | {' | '.join(kinds)} | together |", f"| --- |{' ---: |' * (len(kinds) + 1)}"]
    for row, words in ROWS.items():
        values = [figures[row] for figures in found]
        together = max(values) if row == "minutes" else sum(values)
        lines.append(f"| {words} | {' | '.join(f'{value:,}' for value in (*values, together))} |")
    return "\n".join([*lines, "", *_recoveries({figures["kind"]: figures["recovery"] for figures in found})])


def _recoveries(found: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> Iterator[str]:
    yield "| store | fault | times | anything starts: median | p95 | most | what it held goes on: median | p95 | most |"
    yield f"| --- | --- |{' ---: |' * 7}"
    for store, faults in found.items():
        for kind, seconds in sorted(faults.items()):
            cells = [cell for which in ("any", "own") for cell in _spread(seconds[which])]
            yield f"| {store} | {kind} | {len(seconds['any'])} | {' | '.join(cells)} |"


def _spread(seconds: Sequence[float]) -> tuple[str, str, str]:
    """Return the median, the 95th percentile and the maximum, in seconds."""
    if not seconds:
        return "", "", ""
    ordered = sorted(seconds)
    p95 = ordered[ceil(0.95 * len(ordered)) - 1]
    return f"{median(ordered):.2f}", f"{p95:.2f}", f"{ordered[-1]:.2f}"
