"""Durations may be written in words wherever schedules may: options of entries, tasks and jobs, and settings."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support import hello

from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.errors import ConfigError
from pseudocron.jobs.options import read_job_options
from pseudocron.jobs.tasks import Retry
from pseudocron.middleware import PseudoCronMiddleware

if TYPE_CHECKING:
    from pathlib import Path

WRITTEN: list[tuple[Any, float]] = [
    ("5 min", 300),
    ("5 minutes", 300),
    ("90s", 90),
    ("1h30m", 5400),
    ("1 hour, 30 minutes", 5400),
    (" 1.5 Hours ", 5400),
    ("250 ms", 0.25),
    ("2 weeks", 1_209_600),
    (timedelta(minutes=5), 300),
]
OR_WORDS = ", or words such as '5 min' or '1h30m'"


@pytest.mark.parametrize(("written", "seconds"), WRITTEN)
def test_an_entry_takes_them(written: Any, seconds: float) -> None:
    crons = Crons()
    crons.add("a", int, 60, timeout=written, misfire_grace_time=written, jitter=written, tolerance=written)
    cron = crons["a"]
    assert [cron.timeout, cron.misfire_grace_time, cron.jitter, cron.tolerance] == [seconds] * 4
    assert all(isinstance(value, float) for value in (cron.timeout, cron.jitter))


@pytest.mark.parametrize(("written", "seconds"), WRITTEN)
def test_tasks_jobs_and_settings_take_them(written: Any, seconds: float) -> None:
    crons = Crons(drain=written, lease=written, cron_max_time=written)

    @crons.task(timeout=written)
    def send() -> None: ...

    assert send.timeout == seconds
    assert [crons.settings.drain, crons.settings.lease, crons.settings.cron_max_time] == [seconds] * 3
    options = {"at": None, "key": None, "on_conflict": "replace", "priority": 0, "delay": written, "expires": written}
    job = read_job_options("send", options)
    assert job.delay == job.expires == Retry(written).after == timedelta(seconds=seconds)
    send.options(delay=written, expires=written)


def test_files_and_variables_take_them(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSEUDOCRON_DRAIN", "1 min")
    (shop / "crons.toml").write_text(
        'lease = "1 min"\n[crons.a]\nrun = "shop:send"\nschedule = "5 min"\ntimeout = "2 hours"\n'
    )
    crons = open_source("crons.toml").load()
    assert (crons.settings.lease, crons.settings.drain, crons["a"].timeout) == (60, 60, 7200)


def test_the_middleware_waits_so_long() -> None:
    assert PseudoCronMiddleware(hello, crons={}, wait="1 min")._wait == 60


@pytest.mark.parametrize(
    ("written", "more"),
    [
        ("5", ""),
        ("soon", ""),
        ("every 5 minutes", ""),
        ("every day", ""),
        ("-5 min", ""),
        ("0 s", OR_WORDS),
        ("5 fortnights", OR_WORDS),
        ("5 min 3", OR_WORDS),
        ("9" * 100 + " days", None),
    ],
)
def test_what_is_no_duration_is_refused(written: str, more: str | None) -> None:
    expected = "must be at most" if more is None else rf"must be a number of seconds above 0{more}, or None$"
    with pytest.raises(ConfigError, match=f"^'a': timeout: '{written[:50]}.*: {expected}"):
        Crons().add("a", int, 60, timeout=written)
