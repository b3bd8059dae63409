"""Tables are as wide as the terminal, and never wrap."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
import unicodedata
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING

import pytest

from cli.shell import pseudocron
from pseudocron.cli.tables import Column, brief, lines, local
from pseudocron.report import span

if TYPE_CHECKING:
    from pathlib import Path

ITEMS = ["short", "a name that goes on and on and on"]
NAME: Column[str] = Column("NAME", str, elastic=True)
TIME: Column[str] = Column("TIME", lambda _: "2024-05-01 08:00:00+08:00")
COUNT: Column[str] = Column("RUNS", lambda _: "12345", extra=True)


def width(line: str) -> int:
    seen = unicodedata.normalize("NFC", line)
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in seen)


def test_a_table_with_room_shows_all() -> None:
    head, short, long = lines([NAME, TIME, COUNT], ITEMS, room=inf)
    assert head.split() == ["NAME", "TIME", "RUNS"]
    assert short.index("2024") == long.index("2024") == head.index("TIME")
    assert long == f"{ITEMS[1]}  2024-05-01 08:00:00+08:00  12345"


def test_no_line_is_wider_than_the_terminal() -> None:
    items = [*ITEMS, "名字也可以很长很长很长很长很长很长", "e\u0301" * 40]
    for room in range(1, 100):
        assert max(map(width, lines([NAME, TIME, COUNT], items, room=room))) <= room


def test_what_is_elastic_is_cut_first_with_an_ellipsis() -> None:
    *_, long = lines([NAME, TIME, COUNT], ITEMS, room=55)
    assert long == "a name that goes on …  2024-05-01 08:00:00+08:00  12345"
    assert width(long) == 55


def test_extra_columns_are_left_out_before_names_become_unreadable() -> None:
    head, _, long = lines([NAME, TIME, COUNT], ITEMS, room=45)
    assert head.split() == ["NAME", "TIME"]
    assert "a name that goes" in long
    assert long.endswith("+08:00")


def test_wide_letters_are_counted_as_two_columns() -> None:
    head, name, other = lines([NAME, TIME], ["日报", "daily"], room=inf)
    assert width(name.partition("2024")[0]) == width(other.partition("2024")[0]) == head.index("TIME")


def test_what_a_script_writes_does_nothing_to_the_terminal() -> None:
    _, line = lines([NAME], ["\x1b[31mred\x07\nnext"], room=inf)
    assert line == " [31mred  next"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.000s"),
        (0.0126, "0.013s"),
        (1, "1.0s"),
        (59.94, "59.9s"),
        (59.96, "1m00s"),
        (200, "3m20s"),
        (3599.7, "1h00m"),
        (7500, "2h05m"),
        (273600, "3d04h"),
    ],
)
def test_a_span_has_two_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_a_time_of_today_is_shown_without_its_date() -> None:
    now = datetime.now(UTC)
    assert brief(now) in {local(now)[11:], local(now)}  # the latter where midnight has just passed
    assert brief(now - timedelta(days=2)) == local(now - timedelta(days=2))


def test_list_fits_the_terminal(folder: Path) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 60, 0, 0))
    environ = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    with subprocess.Popen([sys.executable, "-m", "pseudocron", "list"], cwd=folder, env=environ, stdout=theirs):
        os.close(theirs)
    shown = os.read(ours, 10_000).decode().splitlines()
    os.close(ours)
    assert len(shown) == 4
    assert max(map(len, shown)) <= 60
    assert any("…" in line for line in shown)


def test_a_pipe_gets_the_whole_table_and_columns_say_otherwise(folder: Path) -> None:
    assert "(Asia/Shanghai)" in pseudocron(folder, "list").stdout
    cut = pseudocron(folder, "list", COLUMNS="60").stdout
    assert max(map(len, cut.splitlines())) <= 60


def test_a_name_that_the_terminal_cannot_spell_is_shown_as_well_as_may_be(folder: Path) -> None:
    (folder / "crons.py").write_text('crons = {"日报": ("jobs:work", 60)}', encoding="utf-8")
    done = pseudocron(folder, "list", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert "??" in done.stdout
