"""How instants, spans and long texts look to one reader, in whose time zone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from markupsafe import Markup

from pseudocron.report import span
from pseudocron.schedule.zones import wrong_with

if TYPE_CHECKING:
    from starlette.requests import Request

COOKIE = "pseudocron_zone"
_ZONE = re.compile(r"[A-Za-z][\w+-]*(/[\w+-]+)*", re.ASCII)
_LONGEST_ZONE = 64
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, and when.

    Args:
        zone: His time zone.
        now: The present, aware UTC.
    """

    zone: tzinfo
    now: datetime

    def moment(self, instant: datetime | None, none: str = "never") -> Markup | str:
        """Return an instant in the reader's time, as a `<time>` that holds all of it but shows no date of today."""
        if instant is None:
            return none
        there = self._there(instant)
        full = there.isoformat(sep=" ", timespec="seconds")
        short = self.brief(instant)
        machine = instant.isoformat(timespec="milliseconds")
        return Markup('<time datetime="{}" title="{}">{}</time>').format(machine, full, short)

    def brief(self, instant: datetime) -> str:
        """Return an instant in the reader's time for a sentence, without the date if that is today."""
        there, today = self._there(instant), self._there(self.now)
        return f"{there:%H:%M:%S}" if there.date() == today.date() else f"{there:%Y-%m-%d %H:%M}"

    def ago(self, instant: datetime) -> str:
        """Return how long ago an instant was, or in how long it will be."""
        seconds = (self.now - instant).total_seconds()
        return f"{_rough(seconds)} ago" if seconds >= 0 else f"in {_rough(-seconds)}"

    def _there(self, instant: datetime) -> datetime:
        try:
            return instant.astimezone(self.zone)
        except OverflowError:  # the last hours of the calendar
            return instant


def reader(request: Request, now: datetime) -> Reader:
    """Return the reader, in the zone that the browser has sent, else in UTC. Blocks: a zone is read from a file."""
    name = request.cookies.get(COOKIE, "")
    if len(name) > _LONGEST_ZONE or not _ZONE.fullmatch(name) or wrong_with(name):
        return Reader(UTC, now)
    return Reader(ZoneInfo(name), now)


def seconds(value: float | None) -> str:
    """Return seconds as a span in a table, or a hyphen for None."""
    return "-" if value is None else span(value)


def indented(arguments: str) -> str:
    """Return JSON indented for people to read, or other text as it is."""
    try:
        # Half of a surrogate pair, which no page can show, as a question mark.
        return json.dumps(json.loads(arguments), indent=2, ensure_ascii=False).encode(errors="replace").decode()
    except (ValueError, RecursionError):
        return arguments


def _rough(value: float) -> str:
    return f"{value:.0f} s" if value < 59.5 else span(value)
