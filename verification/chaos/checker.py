"""States whether a history kept the promises; knows what was seen, and nothing of how that came about."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from verification.chaos.history import Event, History, asked
from verification.chaos.lateness import late
from verification.chaos.leases import too_many

LOST_AT_MOST = 3
"""A run that was lost so often is failed."""

RECOVERED_WITHIN = 6.0
"""Seconds in which a run that was lost or interrupted is taken over, and has ended, when all is well."""

FINAL = frozenset({"succeeded", "failed", "timed_out", "cancelled", "replaced", "expired"})


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


def check(history: History) -> list[Violation]:
    """Return the promises that were not kept."""
    return [Violation(rule, what) for rule, found in RULES.items() for what in found(history)]


# Slots


def no_slot_is_claimed_twice(history: History) -> Iterator[str]:
    """But by the same run, to retry or to recover it, or after the store has forgotten everything."""
    for name, grants in history.grants.items():
        for slot, claims in _grouped(grants, "slot").items():
            for one, other in pairwise(claims):
                if not _may_follow(history, one, other) and not history.forgot_between(one, other):
                    yield f"{name} {slot}: by fence {one['fence']} and by {other['fence']}"


def _may_follow(history: History, one: Event, other: Event) -> bool:
    """Whether a run of a slot may have another attempt: it is retried, or becomes pending when it is lost."""
    if one["run"] != other["run"]:
        return False
    return bool(history.crons[one["cron"]]["at_least_once"]) or (one["run"], one["fence"]) in history.retried


def no_slot_comes_before_its_time(history: History) -> Iterator[str]:
    """By the clock of the store."""
    for claim in history.of("claim"):
        if "cron" in claim and claim["clock"] < claim["slot"]:
            yield f"{claim['cron']} {claim['slot']}: claimed at {claim['clock']}"


def a_slot_runs_at_most_once(history: History) -> Iterator[str]:
    """But to retry it, and unless its cron recovers lost runs."""
    starts = [start for start in history.of("start") if "cron" in start]
    granted = {(claim["run"], claim["fence"]): claim for grants in history.grants.values() for claim in grants}
    for (name, slot), runs in _grouped(starts, "cron", "slot").items():
        if history.crons[name]["at_least_once"]:
            continue
        for one, other in pairwise(sorted(runs, key=lambda start: int(start["fence"]))):
            claims = granted.get((one["run"], one["fence"])), granted.get((other["run"], other["fence"]))
            forgotten = claims[0] and claims[1] and history.forgot_between(claims[0], claims[1])
            if one["fence"] == other["fence"] or not (_may_follow(history, one, other) or forgotten):
                yield f"{name} {slot}: {one['run']} and {other['run']}"


def a_stored_retry_is_executed_once(history: History) -> Iterator[str]:
    """Of a cron: the attempt comes, unless a later slot has replaced it, and it comes once."""
    starts = Counter((event["run"], event["fence"]) for event in history.of("start") if "cron" in event)
    late, ended = _living_late(history), {line["run"]: line for line in history.of("line") if line["reason"] is None}
    followers: dict[tuple[str, int], int] = {}
    for grants in history.grants.values():
        for claims in _grouped(grants, "run").values():
            followers |= {(one["run"], one["fence"]): other["fence"] for one, other in pairwise(claims)}
    for run, fence in history.stored_again:
        line = ended.get(run)
        if line is None or line["epoch"] < history.epoch or run in late:
            continue
        if (run, fence) not in followers and line["outcome"] != "replaced":
            yield f"{run} with fence {fence} was to be retried, and is {line['outcome']}"
        if starts[run, followers.get((run, fence), fence)] > 1:
            yield f"{run} was retried twice, with fence {followers[run, fence]}"


def a_lost_run_is_recovered(history: History) -> Iterator[str]:
    """Of a cron that says so: each slot runs to its end at least once, as far as there was time for that."""
    ended = {event["run"] for event in history.of("end") if "cron" in event}
    ended |= _living_late(history)
    last = {line["run"]: line for line in history.of("line") if line["reason"] is None}
    for name, grants in history.grants.items():
        for slot, claims in _grouped(grants, "slot").items():
            newest = last.get(claims[-1]["run"])
            if newest is None or newest["epoch"] < history.epoch or newest["lost"] >= LOST_AT_MOST:
                continue
            if history.crons[name]["at_least_once"] and ended.isdisjoint(one["run"] for one in claims):
                yield f"{name} {slot}: {newest['outcome']}"


def what_is_lost_is_pending_again_or_over(history: History) -> Iterator[str]:
    """Check that a lost job, or slot of an `at_least_once` cron, is executed again until lost three times; others are
    over.
    """
    for lost in history.of("lost"):
        again = history.crons[lost["cron"]]["at_least_once"] if "cron" in lost else True
        expected = {"failed"} if lost["losses"] >= LOST_AT_MOST else {"pending"} if again else {"lost"}
        if lost["state"] not in expected | ({"cancelled", "replaced"} if "task" in lost else set()):
            yield f"{lost['run']} with fence {lost['fence']}, lost {lost['losses']} times: {lost['state']}"


def _living_late(history: History) -> set[str]:
    """Return the runs that continued so late that no process could have recovered them."""
    late = max((event["at"] for event in history.of("settled")), default=float("inf")) - RECOVERED_WITHIN
    those = (event for event in history.of("claim", "renew", "finishing") if event["at"] > late)
    return {run for event in those for run, _ in event.get("runs", [(event.get("run"), 0)])}


def each_slot_ran_or_is_recorded(history: History) -> Iterator[str]:
    """From the first to the last that anybody dealt with; what came while the store knew nothing is not missed."""
    for name, cron in history.crons.items():
        every = cron["every"]
        known = _places(history, name, every)
        if not known:
            continue
        unknown = set(range(min(known), max(known) + 1)) - known.keys()
        for wipe in history.of("wipe"):
            before = max((place for place, at in known.items() if at <= wipe["asked"]), default=0)
            after = min((place for place, at in known.items() if at >= wipe["at"]), default=0)
            unknown = {place for place in unknown if not before < place < after}
        if unknown:
            yield f"{name}: {[place * every for place in sorted(unknown)[:5]]}, {len(unknown)} in all"


def _places(history: History, name: str, every: int) -> dict[int, float]:
    """Return the slots of a cron that were dealt with, by how many came before them, and when that is known to have
    been.
    """
    known = {claim["slot"] // every: float(claim["asked"]) for claim in history.grants.get(name, ())}
    for skip in history.of("line", "skip"):
        if skip["cron"] == name and skip["reason"] not in {None, "clock_back"}:
            known |= dict.fromkeys(range(-(-skip["first"] // every), skip["slot"] // every + 1), asked(skip))
    return known


# Claims


def fences_grow(history: History) -> Iterator[str]:
    """Of a cron and of a job: what is asked for after an answer has a higher fence than that."""
    for identity, claims in _grouped(history.of("claim"), "cron", "job").items():
        highest, told = 0, sorted(claims, key=lambda claim: float(claim["at"]))
        for claim in claims:  # by when they were asked for
            while told and told[0]["at"] < claim["asked"]:
                highest = max(highest, told.pop(0)["fence"])
            if claim["fence"] <= highest:
                yield f"{identity}: {claim['fence']} after {highest}"
        if len({claim["fence"] for claim in claims}) < len(claims):
            yield f"{identity}: a fence was given twice"


def no_late_holder_writes(history: History) -> Iterator[str]:
    """Check that what was recovered, claimed again or recorded already is not recorded any more."""
    again: dict[Any, list[Event]] = defaultdict(list)
    for claim in history.of("claim"):
        again[claim.get("job") or claim["run"]].append(claim)
    written: set[tuple[str, int]] = set()
    for finish in history.of("finish"):
        for (identity, fence), own in zip(finish["runs"], finish["own"], strict=True):
            if not own:
                continue
            later = [one for one in again[identity] if one["fence"] > fence and one["at"] < finish["asked"]]
            if later or (identity, fence) in written:
                yield f"{identity} with fence {fence}"
            written.add((identity, fence))


def what_runs_was_claimed(history: History) -> Iterator[str]:
    """Nothing starts of which the store has told nobody that it may."""
    claimed = {(claim.get("job") or claim["run"], claim["fence"]) for claim in history.of("claim")}
    for start in history.of("start"):
        if (start["run"], start["fence"]) not in claimed:
            yield f"{start['run']} with fence {start['fence']}"


def no_more_leases_than_max_instances(history: History) -> Iterator[str]:
    """Nor two of a job, nor of two jobs with the same key."""
    claims = history.of("claim")
    jobs = [claim for claim in claims if "job" in claim]
    keyed = [claim for claim in jobs if claim["key"] is not None]
    for name, those in _grouped([claim for claim in claims if "cron" in claim], "cron").items():
        yield from too_many(history, those, history.crons[name]["max_instances"], name)
    for name, those in _grouped(jobs, "task").items():
        if history.tasks[name]["max_instances"] is not None:
            yield from too_many(history, those, history.tasks[name]["max_instances"], name)
    for identity, those in {**_grouped(jobs, "job"), **_grouped(keyed, "task", "key")}.items():
        if len(those) > 1:
            yield from too_many(history, those, 1, str(identity))


# Jobs


def no_acknowledged_job_is_lost(history: History) -> Iterator[str]:
    """Check that a job is stored until it ends; a store that forgets everything may lose what it held."""
    for defer in history.of("defer"):
        job = history.stored.get(defer["job"])
        if job is None:
            yield f"{defer['job']} of {defer['task']} was never there"
        elif job["epoch"] == history.epoch and job["state"] not in FINAL | {"pending"}:
            yield f"{defer['job']} of {defer['task']} is {job['state']}"


def jobs_end_for_a_reason(history: History) -> Iterator[str]:
    """Succeeded if its function came to its end, failed after its retries or when it was lost three times."""
    ended = {event["run"] for event in history.of("end")}
    for job in history.stored.values():
        if job["state"] == "succeeded" and job["job"] not in ended:
            yield f"{job['job']} succeeded without an end"
        tried = job["failures"] > history.tasks[job["task"]]["retries"] or job["lost"] >= LOST_AT_MOST
        if job["state"] in {"failed", "timed_out"} and not tried:
            yield f"{job['job']} {job['state']} after {job['failures']} failures, {job['lost']} losses"


def what_is_cancelled_or_replaced_is_not_claimed(history: History) -> Iterator[str]:
    """From the acknowledgement on."""
    dropped = _dropped(history)
    for claim in history.of("claim"):
        if "job" in claim and dropped.get(claim["job"], float("inf")) < claim["asked"]:
            yield f"{claim['job']} was claimed with fence {claim['fence']}"


def _dropped(history: History) -> dict[str, float]:
    """From when on each job was not wanted any more."""
    dropped = {cancel["job"]: float(cancel["at"]) for cancel in reversed(history.of("cancel")) if cancel.get("job")}
    drops = [event for event in history.of("defer", "cancel") if event.get("key") is not None]
    for those in _grouped(drops, "task", "key").values():
        jobs = [event for event in those if event["what"] == "defer"]
        for job in jobs:
            after = [event["at"] for event in those if event["asked"] > job["at"]]
            dropped[job["job"]] = min([*after, dropped.get(job["job"], float("inf"))])
    return dropped


def what_is_due_starts_on_time(history: History) -> Iterator[str]:
    """Within two seconds, from where nothing is wrong any more."""
    yield from late(history)


def all_comes_to_its_end(history: History) -> Iterator[str]:
    """When nothing goes wrong any more."""
    for settled in history.of("settled"):
        if settled["left"]:
            yield f"{settled['left']} jobs are left"


def _grouped(events: Iterable[Event], *fields: str) -> dict[Any, list[Event]]:
    """By the value of the field, or the values of those of the fields that they have."""
    groups: dict[Any, list[Event]] = defaultdict(list)
    for event in events:
        values = tuple(event[field] for field in fields if field in event)
        groups[values if len(values) > 1 else values[0]].append(event)
    return groups


_ALL = (
    no_slot_is_claimed_twice,
    no_slot_comes_before_its_time,
    a_slot_runs_at_most_once,
    a_stored_retry_is_executed_once,
    a_lost_run_is_recovered,
    what_is_lost_is_pending_again_or_over,
    each_slot_ran_or_is_recorded,
    fences_grow,
    no_late_holder_writes,
    what_runs_was_claimed,
    no_more_leases_than_max_instances,
    no_acknowledged_job_is_lost,
    jobs_end_for_a_reason,
    what_is_cancelled_or_replaced_is_not_claimed,
    what_is_due_starts_on_time,
    all_comes_to_its_end,
)
RULES: Mapping[str, Callable[[History], Iterator[str]]] = {rule.__name__.replace("_", " "): rule for rule in _ALL}
