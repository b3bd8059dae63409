"""What the applications share: the work that is scheduled, and how it is noted down."""

from __future__ import annotations

import os
import time
from pathlib import Path

NOTES = Path("notes.txt")
BORN, START, END = "born", "start", "end"
TAKES = 0.3
"""Seconds that the work takes."""
UNTOLD = "-"


def note(word: str, about: str = UNTOLD) -> None:
    """Append a line: what, when, in which process, and what the library tells beside."""
    file = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{word} {time.time():.6f} {os.getpid()} {about}\n".encode())
    os.close(file)


def work(slot: str = UNTOLD) -> None:
    """Do the work of each second."""
    note(START, slot)
    time.sleep(TAKES)
    note(END, slot)
