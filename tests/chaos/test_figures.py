"""What a history amounts to."""

from __future__ import annotations

from chaos.test_checker import WIPE, claim_of_job, job, run, whole
from verification.chaos.checker import check
from verification.chaos.figures import figures, recovery, tables
from verification.chaos.history import Event, History


def fault(kind: str, at: float, *pids: int) -> Event:
    return {"what": "fault", "kind": kind, "asked": at, "at": at, "pids": pids}


def by(pid: int, *events: Event) -> list[Event]:
    return [event | {"pid": pid} for event in events]


def test_what_a_killed_process_held_goes_on_when_it_is_claimed_again() -> None:
    held = by(7, *job("x", at=15.0)[:3], *run("again", 15, at=15.0, fence=8, ends=False))
    ended = by(7, *job("y", at=15.0), *run("beat", 15, at=15.0, fence=9))
    after = by(8, claim_of_job("x", at=18.0, fence=2), *run("again", 15, at=19.0, fence=9, run="again-8"))
    history = History([*by(1, *whole()), *held, *ended, *after, fault("worker killed", 16.0, 7)])
    (found,) = recovery(history).values()
    assert [round(seconds, 1) for seconds in found["any"]] == [3.2]
    assert sorted(round(seconds, 1) for seconds in found["own"]) == [2.1, 3.1]


def test_kills_stops_and_restarts_are_counted_and_what_was_forgotten() -> None:
    forgotten = [event | {"state": "pending"} if event["what"] == "job" else event for event in job("x", at=15.0)]
    faults = [fault("host killed", 16.0, 7, 8), fault("worker stopped", 17.0, 7), fault("Redis killed", 18.0)]
    again = run("beat", 11, at=21.0, fence=9)
    history = History(by(1, *whole(), *forgotten, WIPE, *again) + faults)
    found = figures(history, check(history))
    counts = {row: found[row] for row in ("killed", "stopped", "restarts", "jobs", "slots", "forgotten", "again")}
    expected = {"killed": 2, "stopped": 1, "restarts": 1, "jobs": 4, "slots": 5, "forgotten": 1, "again": 1}
    assert counts == expected
    assert "| processes killed (`SIGKILL`) | 2 | 2 |" in tables([found])
