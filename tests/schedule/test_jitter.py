from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pseudocron.schedule import parse
from pseudocron.schedule.jitter import jittered

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOURLY = parse("@hourly")
SCRIPT = """
from datetime import datetime, timedelta
from pseudocron.schedule import parse
from pseudocron.schedule.jitter import jittered
noon = datetime.fromisoformat("2024-05-01T12:00+00:00")
for n in range(20):
    print(jittered("digest", noon + timedelta(hours=n), jitter=600, schedule=parse("@hourly")).isoformat())
"""


@given(st.text(), st.floats(0, 10**9), st.sampled_from([parse(0.001), parse(10), HOURLY, parse("@yearly")]))
def test_a_delay_is_within_the_jitter_and_ends_before_the_next_slot(name: str, jitter: float, schedule: object) -> None:
    schedule = parse(schedule)
    slot = schedule.next(NOON)
    assert slot is not None
    following = schedule.next(slot)
    assert following is not None
    start = jittered(name, slot, jitter=jitter, schedule=schedule)
    assert slot <= start < following
    assert start - slot <= timedelta(seconds=jitter)


def test_delays_differ_by_name_and_slot_and_use_the_whole_span() -> None:
    slots = [NOON + timedelta(hours=n) for n in range(200)]
    delays = [jittered(name, slot, jitter=600, schedule=HOURLY) - slot for name in ("a", "b") for slot in slots]
    assert len(set(delays)) == 400
    assert min(delays) < timedelta(seconds=30)
    assert max(delays) > timedelta(seconds=570)
    middle = sum(delays, timedelta()) / len(delays)
    assert timedelta(seconds=240) < middle < timedelta(seconds=360)


def test_without_jitter_a_run_starts_at_its_slot() -> None:
    assert jittered("a", NOON, jitter=0, schedule=HOURLY) == NOON


def test_the_same_instant_in_another_zone_has_the_same_delay() -> None:
    shanghai = datetime.fromisoformat("2024-05-01T20:00+08:00")
    assert jittered("a", NOON, jitter=60, schedule=HOURLY) == jittered("a", shanghai, jitter=60, schedule=HOURLY)


def test_every_process_computes_the_same() -> None:
    slots = [NOON + timedelta(hours=n) for n in range(20)]
    here = [jittered("digest", slot, jitter=600, schedule=HOURLY).isoformat() for slot in slots]
    for seed in ("1", "2"):
        environ = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo"}
        there = subprocess.run([sys.executable, "-c", SCRIPT], env=environ, capture_output=True, text=True, check=True)
        assert there.stdout.split() == here
