"""What is suggested in place of a schedule or a zone that is none is valid itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from pseudocron.errors import ScheduleError
from pseudocron.schedule import CronExpression, parse
from pseudocron.schedule.zones import _MEANT

FIXES = [
    ("*/120 * * * *", ["2h"]),
    ("*/90 * * * *", ["1h30m"]),
    ("0/90 * * * *", ["1h30m"]),
    ("0 9-17/48 * * *", ["48h"]),
    ("0 0 */45 * *", ["45d"]),
    ("0 0 1 */18 *", []),
    ("0 0 * * */14", []),
    ("*/99999999999999999999 * * * *", []),
    ("every 6 months", ["0 0 1 */6 *"]),
    ("every 5 months", []),
    ("every 0 months", []),
    ("every other month", ["0 0 1 */2 *"]),
    ("every quarter", ["0 0 1 */3 *"]),
    ("every other day", ["every 2 days"]),
    ("every other week", ["every 2 weeks"]),
    ("every 2 years", []),
    ("every morning", []),
    ("daily", ["@daily"]),
]


@pytest.mark.parametrize(("schedule", "fixes"), FIXES)
def test_a_schedule_that_is_suggested_is_one(schedule: str, fixes: list[str]) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(schedule)
    said = str(caught.value)
    assert re.findall(r"(?:did you mean|for an interval write) '([^']*)'", said) == fixes
    assert "'every 5 minutes'" in said or "at most" in said or fixes
    for fix in fixes:
        parse(fix)


@pytest.mark.parametrize("expression", ["*/60 * * * *", "0 */24 * * *", "0 0 */31 * *", "0 0 1 */12 *", "0 0 * * */7"])
def test_a_step_may_be_as_large_as_its_field(expression: str) -> None:
    assert parse(expression).words


ZONES = [
    ("local", []),
    ("localtime", []),
    ("Europe", []),
    ("CST", ["Asia/Shanghai", "America/Chicago"]),
    ("PST", ["America/Los_Angeles"]),
    ("Asia/Beijing", ["Asia/Shanghai"]),
    ("beijing", ["Asia/Shanghai"]),
    ("Shanghai", ["Asia/Shanghai"]),
    ("new york", ["America/New_York"]),
    ("UTC+8", ["Etc/GMT-8"]),
    ("GMT-03:00", ["Etc/GMT+3"]),
    ("+0800", ["Etc/GMT-8"]),
    ("UTC+25", []),
    ("Asia/Shangai", ["Asia/Shanghai"]),
]


@pytest.mark.parametrize(("zone", "fixes"), [*ZONES, *((f"'{zone}'", None) for zone in _MEANT)])
def test_a_zone_that_is_suggested_is_one(zone: str, fixes: list[str] | None) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(60, zone.strip("'"))
    found = re.findall(r"'([^']*)'", str(caught.value).partition("did you mean ")[2])
    assert found == fixes or (fixes is None and found)
    now = datetime(2024, 5, 1, tzinfo=UTC)
    for fix in found:
        assert CronExpression("0 0 * * *", fix).next(now)
    if zone in {"UTC+8", "+0800"}:
        assert now.astimezone(ZoneInfo(found[0])).utcoffset() == timedelta(hours=8)
