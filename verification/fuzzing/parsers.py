"""Whoever writes schedules, configurations and arguments by chance gets an answer, or one line."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pseudocron import Crons
from pseudocron.config.files import _toml
from pseudocron.config.origin import Origin
from pseudocron.config.settings import IN_FILES, gather
from pseudocron.errors import ArgumentError, PseudoCronError, ScheduleError
from pseudocron.jobs.propagation import detach
from pseudocron.schedule import parse
from pseudocron.schedule.expressions import ALIASES
from pseudocron.schedule.jitter import jittered
from pseudocron.schedule.phrases import _ENDINGS, _FILLERS, _KNOWN
from verification.fuzzing.inputs import Bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
DAY = timedelta(days=1)
END = datetime.max.replace(tzinfo=UTC)
ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "America/Nuuk", "Nowhere/Atall", "", "..")

PHRASES = (
    *sorted(_KNOWN | _ENDINGS | _FILLERS),
    *("*", "*/5", "0", "L", "LW", "mon#2", "friL", "5-5/2", "6-0", "0-59", "jan", "DEC", "1,2", "-", "/", "#"),
    *("09:30", ":15", "2:30pm", "24th", "day", "1st", ",", "and", "@", *ALIASES, "0 0 29 2 *", "30 9 * * "),
)
TOML = (
    *("[crons.a]", "[[crons]]", "[crons", "]", "[", "\n", "=", " = ", "run", "schedule", "'''", '"""', "{", "}", "."),
    *('"builtins:print"', '"every 5 minutes"', "backend", "tz", '"UTC"', "1979-05-27T07:32:00Z", "#", "\\u0000", ","),
    *("crons", *IN_FILES, "timeout", "args", "kwargs", "jitter", "[crons.b]\nrun='builtins:print'\nschedule=5\n"),
)
ENTRIES = (
    *("run", "script", "schedule", "builtins:print", "json:nothing", "no.such:thing", "a.py", "/", "..", "every day"),
    *("tz", "last_run", "next_run", "timeout", "coalesce", "misfire_grace_time", "max_instances", "jitter", "retries"),
    *(
        "at_least_once",
        "executor",
        "tolerance",
        "enabled",
        "ping",
        "args",
        "kwargs",
        "process",
        "https://a.test/",
        "http://[",
        "UTC",
    ),
    *("memory:", "file:", "file:x", "redis://", "redis://:a@h", "redis://h:99999999/", "unix:", "power", "2024-05-01"),
    "2024-05-01T08:00:00+08:00",
)
JSON = (
    '{"to":',
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    "null",
    "true",
    "NaN",
    "Infinity",
    '"a"',
    '{"@pseudocron":',
    "\\ud800",
)
VALUES = ("x", "y", "1", "red", "2024-05-01T08:00:00", "2024-05-01", "1e9999999", "-", *("0" * 32, "a" * 32), "NaN")


def schedule(data: bytes) -> None:
    """Check that a text is a schedule that has slots, or a `ScheduleError`."""
    bytes_ = Bytes(data)
    tz, text = bytes_.pick(ZONES), bytes_.text(PHRASES)
    try:
        found = parse(text, tz)
    except ScheduleError as error:
        assert_is_a_line(error)
        return
    assert found.words.strip()
    for now in (NOW, bytes_.pick((END, END.replace(year=1), END.replace(year=9900)))):
        slot, before = found.next(now), found.latest(END.replace(year=1), now)
        assert slot is None or (slot > now and jittered("a", slot, jitter=1e9, schedule=found) >= slot)
        assert before is None or before <= now
    if bytes_.one() == 255:  # as it takes long
        found.count(NOW, END)
    assert len(found.last(NOW - 9 * DAY, NOW, limit=100)) <= 100
    assert found.count(NOW - 9 * DAY, NOW, limit=20) <= 9 * 86400 * 1000


def toml(data: bytes) -> None:
    """Check that a file of TOML is a configuration, or a `ConfigError`; it is not read from disk."""
    text = Bytes(data).text(TOML, 40) if data[:1] < b"\xd0" else data.decode(errors="replace")
    with refused():
        contents = _toml(text, "crons.toml")
        assert not isinstance(contents.crons, Crons)
        read(contents.crons, file=contents.settings)


def mapping(data: bytes) -> None:
    """Check that a mapping of entries is a configuration, or a `PseudoCronError`."""
    bytes_ = Bytes(data)
    entries: dict[Any, object] = {}
    while bytes_.left and len(entries) < 6:
        name = bytes_.value(ENTRIES, depth=0)
        entry = bytes_.value(ENTRIES)
        if bytes_.one() % 2:
            entry = {
                "run": "builtins:print",
                "schedule": "every 5 minutes",
                bytes_.pick(ENTRIES): bytes_.value(ENTRIES),
            }
        entries[name] = entry
    with refused():
        read(entries)


def settings(data: bytes) -> None:
    """Check that settings from all sources are settings, or a `ConfigError`."""
    bytes_ = Bytes(data)
    names = [*sorted(IN_FILES), "ENABLED"]
    environ = {f"PSEUDOCRON_{bytes_.pick(names)}": bytes_.text(ENTRIES, 3) for _ in range(bytes_.one() % 3)}
    file = {bytes_.pick(names): bytes_.value(ENTRIES) for _ in range(bytes_.one() % 3)}
    given = {bytes_.pick(names).lower(): bytes_.value(ENTRIES, 1) for _ in range(bytes_.one() % 2)}
    with refused():
        gather(given, file=file, where="crons.toml", folder=Path(), environ=environ)


class Colour(Enum):
    """An argument of a task."""

    RED = "red"


@dataclass
class Point:
    """Another one."""

    x: int
    y: float = 0


crons = Crons(backend="memory:")


@crons.task
def paint(
    to: Point,
    when: datetime | timedelta | None = None,
    colours: set[Colour] | tuple[int, ...] = frozenset(),  # type: ignore[assignment]
    *more: UUID,
    **others: Mapping[str, Decimal] | bool,
) -> None:
    """Nobody calls it: its arguments are read."""


def arguments(data: bytes) -> None:
    """Check that stored arguments are those of the task, or an `ArgumentError`."""
    bytes_ = Bytes(data)
    text = bytes_.text(JSON, 30)
    if bytes_.one() < 192:
        text = json.dumps({name: bytes_.value(VALUES) for name in ("to", "when", "colours", "more", "others")})
    stored, context = detach(text)
    assert all(isinstance(word, str) for word in context.values())
    try:
        paint._unpack(stored)
    except ArgumentError as error:
        assert_is_a_line(error)


def read(entries: Mapping[Any, object], **more: Any) -> None:
    found = Crons.read(entries, where="crons.toml", origin=Origin(Path(os.devnull)), **more)
    _ = found.settings, list(found), found.tasks


@contextmanager
def refused() -> Iterator[None]:
    """Accept an error that is told in one line."""
    try:
        yield
    except PseudoCronError as error:
        assert_is_a_line(error)


def assert_is_a_line(error: PseudoCronError) -> None:
    said = str(error)
    assert len(said) < 2000, len(said)
    assert said.isprintable(), said
