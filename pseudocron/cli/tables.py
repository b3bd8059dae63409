"""Tables that fit the terminal, and how times and spans look in them."""

from __future__ import annotations

import shutil
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

GAP = "  "
READABLE = 16
"""Columns of the terminal to which an elastic column is cut before another is left out."""


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column: its title, what it shows of an item, and what becomes of it where there is little room.

    Args:
        title: Its head.
        show: The text of an item.
        elastic: Whether it is cut before others are.
        extra: Whether it is left out before anything becomes unreadable.
    """

    title: str
    show: Callable[[T], str]
    elastic: bool = False
    extra: bool = False


def print_table(columns: Sequence[Column[T]], items: Sequence[T]) -> None:
    """Print a table as wide as the terminal, or as it needs to be where there is none."""
    room = shutil.get_terminal_size((0, 0)).columns or inf
    for line in lines(columns, items, room=room):
        click.echo(line)


def lines(columns: Sequence[Column[T]], items: Sequence[T], *, room: float) -> list[str]:
    """Return the lines of a table, none of them wider than `room` columns of a terminal."""
    table = {column: [column.title, *(plain(column.show(item)) for item in items)] for column in columns}
    widths = {column: max(map(_width, cells)) for column, cells in table.items()}
    _leave_out(widths, room)
    _narrow(widths, room)
    padded = ([_pad(cell, width) for cell in table[column]] for column, width in widths.items())
    return [_cut(GAP.join(cells).rstrip(), room) for cells in zip(*padded, strict=True)]


def local(instant: datetime) -> str:
    """Return an instant in the reader's zone, with its UTC offset."""
    return instant.astimezone().isoformat(sep=" ", timespec="seconds")


def brief(instant: datetime) -> str:
    """Return an instant as `local` does, without the date if that is today."""
    date, _, time = local(instant).partition(" ")
    return time if date == datetime.now().astimezone().date().isoformat() else f"{date} {time}"


def plain(text: str) -> str:
    """Return text as one line that does nothing to a terminal: what can't be printed, such as an escape, is a space."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _leave_out(widths: dict[Column[T], int], room: float) -> None:
    """Drop extra columns, the last ones first, until the others can be read."""
    for column in [column for column in reversed(widths) if column.extra]:
        if _total([min(width, READABLE) if one.elastic else width for one, width in widths.items()]) <= room:
            return
        del widths[column]


def _narrow(widths: dict[Column[T], int], room: float) -> None:
    """Take from the widest column, of the elastic ones while they can give, until all fit."""
    while _total(list(widths.values())) > room and max(widths.values()) > 1:
        soft = [column for column, width in widths.items() if column.elastic and width > len(column.title)]
        widths[max(soft or widths, key=widths.__getitem__)] -= 1


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _pad(text: str, width: int) -> str:
    cut = _cut(text, width)
    return cut + " " * (width - _width(cut))


def _cut(text: str, width: float) -> str:
    if _width(text) <= width:
        return text
    fitting = sum(total < width for total in accumulate(map(_letter_width, text)))
    return f"{text[:fitting]}…" if width >= 1 else ""


def _width(text: str) -> int:
    return sum(map(_letter_width, text))


def _letter_width(letter: str) -> int:
    """Return how many columns of a terminal a letter takes: Chinese ones two, a combining accent none."""
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
