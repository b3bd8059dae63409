"""What is made to take for ever, or all memory, is refused within a second."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from endpoints.calling import BEARER, TOKEN, ask

from pseudocron import Crons, trigger
from pseudocron.config.source import open_source
from pseudocron.errors import ConfigError, ScheduleError, did_you_mean, show, unspoken
from pseudocron.schedule import parse
from pseudocron.schedule.jitter import jittered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 11, 21, tzinfo=UTC)
END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
CRON = "[crons.a]\nrun = 'json:loads'\nschedule = 60\n"


@pytest.fixture(autouse=True)
def within_a_second() -> Iterator[None]:
    """Of the processor's time, as other tests may have it too."""
    began = time.process_time()
    yield
    assert time.process_time() - began < 2, "where the machine is busy, that is longer than a second"


@pytest.mark.parametrize(
    "text", ["0" + ",0" * 1000 + " * * * *", ":" * 1_000_000, "every " * 200_000, "9" * 1_000_000, "@" * 1_000_000]
)
def test_a_schedule_of_a_thousand_parts_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError, match="characters are too many, 1000 are allowed"):
        parse(text)


@pytest.mark.parametrize("expression", ["0 0 29 2 *", "0 0 1 1 *", "0 0 * 2 mon#5", "* * * * *"])
def test_slots_are_counted_no_further_than_twenty_years(expression: str) -> None:
    schedule = parse(expression)
    assert 0 < schedule.count(NOW, END) <= 10_000
    assert schedule.count(NOW, END) == schedule.count(NOW, END.replace(year=2090))
    assert schedule.latest(NOW, END)


def test_at_the_end_of_time_no_delay_leads_beyond_it() -> None:
    schedule = parse("every 3000 days")
    last = schedule.latest(NOW, END)
    assert last
    assert last <= jittered("a", last, jitter=1e9, schedule=schedule) <= datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 100_000, "crons.toml: maximum recursion depth exceeded"),
        ("a = " + "{a=" * 100_000, "crons.toml: maximum recursion depth exceeded"),
        (".".join("a" * 100_000) + " = 1", "crons.toml, line 1: has more than 100 dots, write it on several lines"),
        (f"{CRON}[{'.'.join('a' * 100_000)}]", "crons.toml, line 4: has more than 100 dots"),
        ("".join(f"a{n}=1\n" for n in range(50_000)), "crons.toml: unknown setting"),
        (f"{CRON}{'timeout' * 60_000} = 5", "unknown option"),
        (f"{CRON}args = [{'1,' * 200_000}]\nx = 1", "unknown option 'x'"),
    ],
)
def test_a_bomb_of_toml_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "crons.toml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)) as raised:
        open_source(tmp_path / "crons.toml").load()
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("name", ["crons.toml", "crons.py"])
def test_a_file_of_a_hundred_megabytes_is_not_read(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(ConfigError, match=f"{name}: is longer than 500000 bytes, is it a config file?"):
        open_source(tmp_path / name).load()


def test_an_address_of_a_megabyte_is_told_in_a_line_and_without_its_password() -> None:
    assert show(":" * 1_000_000) == repr(":" * 80)[:77] + "..."
    assert show({"a" * 1_000_000: 1}).endswith("...")
    assert unspoken(f"redis://{'u:p' * 100_000}@host/0") == "redis://***@host/0"
    for part in ("://[", "?a=&b", "?password=&a", "passw", "@:"):
        unspoken(part * 100_000)


def test_a_name_of_a_megabyte_is_a_name_that_is_not_known() -> None:
    crons = Crons(backend="memory:")
    for n in range(1000):
        crons.add(f"{n}{'a' * 190}", len, 60)
    for name in ("a" * 1_000_000, "a" * 195):
        with pytest.raises(LookupError, match="there is no cron"):
            _ = crons[name]
    assert did_you_mean("a" * 59, ["a" * 60] * 1_000_000)


def test_a_wait_of_a_megabyte_is_no_number() -> None:
    app = trigger(Crons(backend="memory:"), token=TOKEN)
    for wait in (":" * 1_000_000, "9" * 1_000_000):
        answer = asyncio.run(ask(app, "POST", f"/?wait={wait}", headers=BEARER))
        assert answer.status == 400
        assert len(answer.body) < 200
