"""Each rule is seen to fail: for each there are histories that break it, and no other rule."""

from __future__ import annotations

import ast
from inspect import getsource
from textwrap import dedent
from typing import Any

import pytest

from verification.chaos import checker
from verification.chaos.checker import RULES, check
from verification.chaos.history import Event, History

SECOND = 1_000_000
LEASE = 2.0


def whole() -> list[Event]:
    """What a cron that recovers, one that does not, and some jobs left behind when all went well."""
    return [
        {"what": "store", "at": 0.0, "lease": LEASE, "kind": "redis"},
        {"what": "cron", "at": 0.0, "name": "beat", "every": SECOND, "at_least_once": False, "max_instances": 1},
        {"what": "cron", "at": 0.0, "name": "again", "every": SECOND, "at_least_once": True, "max_instances": 1},
        {"what": "cron", "at": 0.0, "name": "shaky", "every": SECOND, "at_least_once": False, "max_instances": 1},
        {"what": "task", "at": 0.0, "name": "send", "retries": 1, "max_instances": 2},
        {"what": "task", "at": 0.0, "name": "quick", "retries": 1, "max_instances": None},
        *run("beat", 10, at=10.0, fence=1),
        *run("beat", 11, at=11.0, fence=2),
        {"what": "skip", "at": 12.5, "asked": 12.4, "cron": "beat", "reason": "overlap"} | slots(12, 12),
        *run("beat", 13, at=13.0, fence=3),
        *run("again", 10, at=10.0, fence=1, ends=False),
        *loss("again", 10, at=12.8, fence=1),
        *run("again", 10, at=13.0, fence=2, run="again-1", attempt=2),
        *retried("shaky", 10, at=10.0),
        *job("a", at=10.0, key="k"),
        *job("b", at=12.0, key="k"),
        *job("c", at=14.0),
        {"what": "settled", "at": 30.0, "left": 0},
    ]


def slots(first: int, last: int) -> Event:
    return {"first": first * SECOND, "slot": last * SECOND}


def run(cron: str, slot: int, *, at: float, fence: int, ends: bool = True, **more: Any) -> list[Event]:
    """A slot from its claim to its record, and its line in the store's history."""
    whose = {"cron": cron, "run": f"{cron}-{fence}", "fence": fence, "slot": slot * SECOND}
    whose |= {"attempt": 1, **more}
    line = whose | slots(slot, slot) | {"epoch": 0, "reason": None, "outcome": "succeeded" if ends else "lost"}
    line |= {"lost": 0, "attempt": fence}
    return [
        {"what": "claim", "at": at + 0.1, "asked": at, "clock": slot * SECOND, **whose},
        {"what": "start", "at": at + 0.2, **whose},
        *([{"what": "end", "at": at + 0.3, **whose}, *finish(whose["run"], fence, at + 0.4)] if ends else []),
        {"what": "line", "at": 40.0, "asked": 40.0, **line},
    ]


def retried(cron: str, slot: int, *, at: float, after: float = 1, dropped: float = 0) -> list[Event]:
    """A slot that fails, and succeeds when it is retried, or is dropped before that."""
    first = [event for event in run(cron, slot, at=at, fence=1) if event["what"] not in {"end", "line"}]
    first = [event | ({"again": [True], "states": ["pending"]} if "runs" in event else {}) for event in first]
    if dropped:
        line = run(cron, slot, at=at, fence=1)[-1] | {"outcome": "replaced"}
        drop = {"what": "drop", "at": dropped, "asked": dropped, "cron": cron, "run": f"{cron}-1", "state": "replaced"}
        return [*first, drop, line]
    return [*first, *run(cron, slot, at=at + after, fence=2, run=f"{cron}-1", attempt=2)]


def loss(cron: str, slot: int, *, at: float, fence: int) -> list[Event]:
    """The lease of a slot that is to be recovered is over."""
    whose = {"cron": cron, "run": f"{cron}-{fence}", "fence": fence, "slot": slot * SECOND}
    return [{"what": "lost", "at": at + 0.1, "asked": at, "state": "pending", "losses": 1, **whose}]


def granted(cron: str, slot: int, *, at: float, fence: int, **more: Any) -> list[Event]:
    """A slot that is claimed, and whose code never starts."""
    return [event for event in run(cron, slot, at=at, fence=fence, **more) if event["what"] in {"claim", "line"}]


def finish(identity: object, fence: int, at: float) -> list[Event]:
    runs = [[identity, fence]]
    return [
        {"what": "finishing", "at": at, "runs": runs, "again": [False]},
        {"what": "finish", "at": at + 0.1, "asked": at, "runs": runs, "own": [True], "states": ["succeeded"]},
    ]


def job(name: str, *, at: float, key: str | None = None) -> list[Event]:
    """A job from its acknowledgement to its end in the store."""
    told = {"run": name, "fence": 1, "attempt": 1}
    state = {"state": "succeeded", "attempts": 1, "failures": 0, "lost": 0, "reason": None, "epoch": 0}
    return [
        {"what": "defer", "at": at + 0.1, "asked": at, "job": name, "task": "send", "key": key, "delay": 0.0},
        claim_of_job(name, at=at + 0.2, key=key),
        {"what": "start", "at": at + 0.4, "name": "send", **told},
        {"what": "end", "at": at + 0.5, "name": "send", **told},
        *finish(name, 1, at + 0.6),
        {"what": "job", "at": 40.0, "asked": 40.0, "job": name, "task": "send", **state},
    ]


def claim_of_job(name: str, *, at: float, fence: int = 1, key: str | None = None) -> Event:
    whose = {"job": name, "task": "send", "key": key, "fence": fence, "attempt": fence}
    return {"what": "claim", "at": at + 0.1, "asked": at, "clock": 0, **whose}


def is_of(identity: str, fence: int, event: Event) -> bool:
    """Whether an event is of an attempt, other than what the store holds of it in the end."""
    of = event.get("runs", [[event.get("run"), event.get("fence")]])
    return [identity, fence] in of and event["what"] != "line"


def changed(what: str, change: Event, **whose: Any) -> list[Event]:
    """The whole one, but that the events that are meant are otherwise."""
    meant = {"what": what, **whose}
    return [event | change if meant.items() <= event.items() else event for event in whole()]


def without(**whose: Any) -> list[Event]:
    return [event for event in whole() if not whose.items() <= event.items()]


def without_retries() -> list[Event]:
    return [event for event in whole() if event["what"] == "cron" or "shaky" not in str(event)]


def quick(*claims: Event) -> list[Event]:
    """A job of the task without a limit that is acknowledged in second 15.1, and so claimed."""
    defer = {"what": "defer", "at": 15.1, "asked": 15.0, "job": "q", "task": "quick", "key": None, "delay": 0.5}
    state = {"state": "pending", "attempts": 1, "failures": 0, "lost": 0, "reason": None, "epoch": 0}
    return [defer, *claims, {"what": "job", "at": 40.0, "asked": 40.0, "job": "q", "task": "quick", **state}]


def claim_quick(at: float, fence: int = 1) -> Event:
    return claim_of_job("q", at=at, fence=fence) | {"task": "quick"}


def fault(kind: str, at: float, **more: Any) -> Event:
    return {"what": "fault", "kind": kind, "asked": at, "at": at, **more}


WIPE: Event = {"what": "wipe", "at": 20.0, "asked": 19.0}
BROKEN: dict[str, list[list[Event]]] = {
    "no slot is claimed twice": [
        [*whole(), *granted("beat", 11, at=21.0, fence=9)],
        [*whole(), *granted("again", 10, at=21.0, fence=9)],
        [*whole(), *granted("beat", 11, at=21.0, fence=9, run="beat-2")],
        [*whole(), WIPE, *granted("beat", 11, at=15.0, fence=9)],
    ],
    "no slot comes before its time": [changed("claim", {"clock": 11 * SECOND - 1}, run="beat-2")],
    "a slot runs at most once": [
        [*whole(), {"what": "start", "at": 21.0, "cron": "beat", "run": "beat-2", "fence": 2, "slot": 11 * SECOND}]
    ],
    "a stored retry is executed once": [
        [
            event
            | ({"fence": 1, "outcome": "pending"} if (event["what"], event.get("run")) == ("line", "shaky-1") else {})
            for event in whole()
            if not is_of("shaky-1", 2, event)
        ],
        [*whole(), {"what": "start", "at": 12.0, "cron": "shaky", "run": "shaky-1", "fence": 2, "slot": 0}],
    ],
    "a lost run is recovered": [[event for event in whole() if not is_of("again-1", 2, event)]],
    "what is lost is pending again or over": [
        changed("lost", {"state": "lost"}),
        changed("lost", {"losses": 3}),
        changed("lost", {"cron": "beat"}),
    ],
    "each slot ran or is recorded": [without(what="skip"), [*without(run="beat-2"), WIPE]],
    "fences grow": [
        [*whole(), *run("beat", 14, at=14.0, fence=3, run="beat-x")],
        [*whole(), claim_of_job("c", at=20.0, fence=0)],
        [*whole(), WIPE, *run("beat", 14, at=21.0, fence=0)],
        [*whole(), claim_of_job("x", at=20.0), claim_of_job("x", at=20.05)],
    ],
    "no late holder writes": [[*whole(), *finish("again-1", 1, 14.0)], [*whole(), *finish("c", 1, 21.0)]],
    "what runs was claimed": [without(what="claim", run="beat-2")],
    "no more leases than max instances": [
        [*whole(), *run("again", 11, at=13.2, fence=3)],
        [*changed("finish", {"own": [False]}, runs=[["c", 1]]), claim_of_job("c", at=14.3, fence=2)],
        [*whole(), claim_of_job("x", at=14.3), claim_of_job("y", at=14.3)],
        [*whole(), claim_of_job("x", at=12.3, key="k")],
    ],
    "no acknowledged job is lost": [without(what="job", job="c"), changed("job", {"state": "running"}, job="c")],
    "jobs end for a reason": [
        without(what="end", run="c"),
        changed("job", {"state": "failed"}, job="c"),
    ],
    "what is cancelled or replaced is not claimed": [
        [*whole(), claim_of_job("a", at=13.0, fence=2, key="k")],
        [*whole(), {"what": "cancel", "at": 14.15, "asked": 14.12, "job": "c"}],
        [*whole(), {"what": "cancel", "at": 12.15, "asked": 12.12, "task": "send", "key": "k"}],
    ],
    "what is due starts on time": [
        [*whole(), *quick(claim_quick(17.7))],
        [*whole(), *quick(claim_quick(15.7), *finish("q", 1, 16.0), claim_quick(18.4, 2))],
        [*whole(), *quick(claim_quick(15.7), claim_quick(19.9, 2))],
        [*whole(), fault("worker killed", 15.7, pids=[7]), *quick(claim_quick(20.8))],
        [*without_retries(), *retried("shaky", 10, at=10.0, after=3.6)],
        [*without_retries(), *retried("shaky", 10, at=10.0, dropped=13.7)],
    ],
    "all comes to its end": [changed("settled", {"left": 1})],
}


def broken(*events: Event) -> set[str]:
    return {violation.rule for violation in check(History([{"pid": 1} | event for event in events]))}


def test_a_whole_history_breaks_no_rule() -> None:
    assert broken(*whole()) == set()


def rules() -> set[str]:
    """The names of all functions of the checker that find something in a history."""
    functions = (node for node in ast.parse(getsource(checker)).body if isinstance(node, ast.FunctionDef))
    return {node.name.replace("_", " ") for node in functions if ast.unparse(node.returns or node) == "Iterator[str]"}


def places(rule: str) -> int:
    """In how many places a rule reports something."""
    nodes = ast.walk(ast.parse(dedent(getsource(RULES[rule]))))
    return sum(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes)


def test_every_rule_has_its_broken_histories() -> None:
    assert BROKEN.keys() == RULES.keys() == rules()


@pytest.mark.parametrize("rule", BROKEN)
def test_every_place_that_reports_a_rule_has_its_broken_history(rule: str) -> None:
    assert len(BROKEN[rule]) >= places(rule)


@pytest.mark.parametrize(
    ("rule", "events"),
    [pytest.param(rule, one, id=f"{rule} {n}") for rule, those in BROKEN.items() for n, one in enumerate(those)],
)
def test_a_broken_history_breaks_its_rule_and_no_other(rule: str, events: list[Event]) -> None:
    assert broken(*events) == {rule}


def test_a_run_that_ended_late_need_not_be_recovered() -> None:
    lost = run("again", 11, at=29.0, fence=3, ends=False)
    assert broken(*whole(), *lost) == set()
    assert broken(*changed("settled", {"at": 40.0}), *lost) == {"a lost run is recovered"}


def test_a_result_that_the_store_refuses_is_not_written() -> None:
    refused = [event | {"own": [False]} if event["what"] == "finish" else event for event in finish("again-1", 1, 14.0)]
    assert broken(*whole(), *refused) == set()


def test_a_slot_that_came_while_the_store_was_wiped_is_not_missed() -> None:
    wipe: Event = {"what": "wipe", "asked": 10.9, "at": 12.0}
    assert broken(*without(run="beat-2"), wipe) == set()
    assert broken(*without(run="beat-2"), wipe | {"asked": 13.2, "at": 13.4}) == {"each slot ran or is recorded"}


def test_after_a_wipe_a_slot_may_be_claimed_again_and_a_job_be_gone() -> None:
    events = changed("job", {"state": "pending"}, job="c")
    assert "no acknowledged job is lost" not in broken(*events, WIPE)
    assert broken(*whole(), WIPE, *run("beat", 11, at=21.0, fence=9)) == set()


def test_in_a_folder_the_lease_of_a_dead_process_is_in_nobodys_way() -> None:
    gone = claim_of_job("x", at=15.0) | {"pid": 7}
    beside = claim_of_job("x", at=15.5, fence=2) | {"pid": 8}
    folder = [event | {"kind": "file"} if event["what"] == "store" else event for event in whole()]
    rule = "no more leases than max instances"
    assert rule in broken(*whole(), gone, beside)
    assert rule not in broken(*folder, gone, beside)
    signs: list[Event] = [{"what": "end", "at": 16.5, "pid": pid, "run": "x"} for pid in (7, 8)]
    assert rule in broken(*folder, gone, beside, *signs)


def test_a_forgotten_lease_is_in_nobodys_way_nor_is_one_of_a_stepped_clock() -> None:
    beside = run("again", 11, at=13.3, fence=3)
    late = without(runs=[["again-1", 2]])
    assert "no more leases than max instances" in broken(*late, *beside)
    for what in ("wipe", "clock"):
        assert "no more leases than max instances" not in broken(*late, WIPE | {"what": what, "asked": 13.2}, *beside)


@pytest.mark.parametrize(
    "why",
    [
        [claim_quick(17.5)],
        [claim_quick(17.7), fault("worker killed", 15.7, pids=[7])],
        [
            claim_quick(19.5),
            fault("host told to stop", 15.7, pids=[7]),
            {"what": "enter", "asked": 15.4, "at": 15.5, "pid": 7},
        ],
        [claim_quick(25.0), fault("worker stopped", 17.4, pids=[7])],
        [claim_quick(21.6), fault("worker killed", 15.7, pids=[7]), fault("Redis killed", 17.6)],
    ],
)
def test_what_a_fault_takes_excuses_a_late_start(why: list[Event]) -> None:
    assert broken(*whole(), *quick(*why)) == set()
