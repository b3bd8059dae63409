from __future__ import annotations

import struct
import zoneinfo
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest

from pseudocron.errors import ScheduleError
from pseudocron.schedule import parse
from schedule.slot_oracle import Window, random_expression

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)
SUMMER, WINTER = NEW_YEAR - timedelta(days=300), NEW_YEAR - timedelta(minutes=75)
HEADER = b"TZif2" + bytes(15)
KINDS = struct.pack(">lbblbb4s", 0, 0, 0, 7200, 1, 0, b"AAA\0")
# The format of RFC 8536: a part for old readers, left empty, then the two changes.
FILE = HEADER + struct.pack(">6l", 0, 0, 0, 0, 2, 4) + KINDS
FILE += HEADER + struct.pack(">6l", 0, 0, 0, 2, 2, 4)
FILE += struct.pack(">2q2b", int(SUMMER.timestamp()), int(WINTER.timestamp()), 1, 0) + KINDS + b"\n\n"


@pytest.fixture
def eve(tmp_path: Path) -> Iterator[str]:
    """A zone, as no country has it yet, whose clock is set back from 00:45 on New Year to 22:45, at 22:45 UTC."""
    (tmp_path / "Test").mkdir()
    (tmp_path / "Test" / "Eve").write_bytes(FILE)
    zoneinfo.reset_tzpath([tmp_path])
    yield "Test/Eve"
    zoneinfo.reset_tzpath()


def test_what_was_shown_before_new_year_is_not_shown_again_after_it(eve: str) -> None:
    window = Window(eve, NEW_YEAR - timedelta(hours=40), NEW_YEAR + timedelta(hours=40))
    assert window.repeated.bit_count() == 120
    random, checked = Random(24), 0
    while checked < 500:
        expression = random_expression(random)
        try:
            schedule = parse(expression.text, eve)
        except ScheduleError:
            continue
        slots = window.slots(expression)
        start = NEW_YEAR + timedelta(minutes=random.randint(-180, 180))
        end = start + timedelta(minutes=random.randint(0, 240))
        expected = slots.between(start, end)
        assert schedule.last(start, end, limit=500) == expected, (expression.text, start)
        assert schedule.count(start, end) == len(expected), (expression.text, start)
        checked += 1
