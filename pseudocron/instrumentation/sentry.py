"""Check-ins for Sentry's crons, by `sentry-sdk`: each run says when it starts and how it ended."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from sentry_sdk.crons import MonitorStatus, capture_checkin

from pseudocron.hooks import EventKind
from pseudocron.schedule import CronExpression, Interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentry_sdk.types import MonitorConfig

    from pseudocron.cron import Cron
    from pseudocron.crons import Crons
    from pseudocron.hooks import Event

_STATUSES = {
    EventKind.STARTED: MonitorStatus.IN_PROGRESS,
    EventKind.SUCCEEDED: MonitorStatus.OK,
    EventKind.FAILED: MonitorStatus.ERROR,
    EventKind.LOST: MonitorStatus.ERROR,
}

_UNITS = (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1)))

LONGEST_SLUG = 50
"""Characters that Sentry takes as the name of a monitor."""


def instrument(crons: Crons, *, slugs: Mapping[str, str] | None = None) -> None:
    """Let each run of a cron check in, after `sentry_sdk.init`; jobs have no schedule, and do not.

    A monitor that Sentry does not know yet is made, with the schedule of the cron if Sentry can have such a one.

    Args:
        crons: Whose runs check in.
        slugs: Names of monitors by the names of crons; else the cron's own in lower case, with hyphens.
    """

    def check_in(event: Event) -> None:
        if event.is_job or event.name not in crons:
            return
        capture_checkin(
            monitor_slug=(slugs or {}).get(event.name) or slug(event.name),
            check_in_id=event.run_id,
            status=_STATUSES[event.kind],
            duration=event.duration,
            monitor_config=monitor(crons[event.name]),
        )

    for kind in _STATUSES:
        crons._hooks.on(kind, check_in)


def slug(name: str) -> str:
    """Return a cron's name as Sentry takes it."""
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:LONGEST_SLUG] or "cron"


def monitor(cron: Cron) -> MonitorConfig | None:
    """Return what Sentry should expect of a cron, or None for a schedule that it can't have, such as one of seconds."""
    schedule = cron.schedule
    if isinstance(schedule, CronExpression):
        config: MonitorConfig = {"schedule": {"type": "crontab", "value": schedule.text}, "timezone": schedule.tz}
    elif isinstance(schedule, Interval) and (whole := _whole(schedule.every)):
        value, unit = whole
        config = {"schedule": {"type": "interval", "value": value, "unit": unit}}  # type: ignore[typeddict-item]
    else:
        return None
    if cron.timeout is not None:
        config["max_runtime"] = max(1, round(cron.timeout / 60))
    return config


def _whole(every: timedelta) -> tuple[int, str] | None:
    """Return an interval in the largest unit of which it is a whole number, or None if there is none."""
    return next(((every // size, unit) for unit, size in _UNITS if not every % size), None)
