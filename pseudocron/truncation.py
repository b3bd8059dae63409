"""Truncation of the errors and the output of runs to their last 64 KiB."""

from __future__ import annotations

import locale
import os
import traceback
from contextlib import suppress

LIMIT = 64 * 1024
"""Maximum bytes of text that are kept of one run, as UTF-8."""

_OURS = os.path.join(os.path.dirname(__file__), "")  # noqa: PTH118, PTH120 - pathlib doubles a child's start


def tail(text: str | bytes) -> str:
    """Return the last 64 KiB of a text; bytes that are not UTF-8 are replaced."""
    data = text.encode(errors="backslashreplace") if isinstance(text, str) else text
    clean = data[-LIMIT:].decode(errors="replace").encode()
    return clean[-LIMIT:].decode(errors="ignore")


def readable(data: bytes) -> str:
    r"""Return the text of an output that may be cut off at its start, and in any encoding.

    A line that is not UTF-8 is in the encoding of the locale, else its odd bytes are shown as `\xff`.
    """
    if len(data) >= LIMIT:
        data = data[next((n for n, byte in enumerate(data[:4]) if not 0x80 <= byte < 0xC0), 0) :]
    try:
        return tail(data.decode())
    except UnicodeDecodeError:
        return tail("".join(map(_readable_line, data.splitlines(keepends=True))))


def _readable_line(line: bytes) -> str:
    for encoding in ("utf-8", locale.getencoding()):
        with suppress(UnicodeDecodeError):
            return line.decode(encoding)
    return line.decode(errors="backslashreplace")


def kept(text: str | None) -> str | None:
    """Return the last 64 KiB of a text, or None."""
    return None if text is None else tail(text)


def trace(error: BaseException) -> str:
    """Return the traceback of an error from the first frame outside of pseudocron; reads source files."""
    frames = error.__traceback__
    while frames and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    return tail("".join(traceback.format_exception(type(error), error, frames)))


def brief(error: BaseException) -> str:
    """Return a traceback without lines of source and without causes; reads no files."""
    frames = [
        traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name, lookup_line=False, line="")
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith(_OURS)
    ]
    return tail("".join([*traceback.format_list(frames), *_last_lines(error)]))


def _last_lines(error: BaseException) -> list[str]:
    try:
        return traceback.format_exception_only(error)
    except BaseException:  # noqa: BLE001 - what an exception says of itself is the user's code, and may raise anything
        return [f"{type(error).__module__}.{type(error).__qualname__}: <exception can't be formatted>\n"]


def timed_out(timeout: float | None) -> str:
    """Return the error of a run that has outlasted its timeout, in seconds."""
    return f"timed out after {timeout:.12g} s"
