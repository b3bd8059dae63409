"""What is kept of a run that went wrong or wrote something: its last 64 KiB."""

from __future__ import annotations

import os
import traceback

LIMIT = 64 * 1024
"""Bytes of text that are kept of one run, counted as UTF-8."""

_OURS = os.path.join(os.path.dirname(__file__), "")  # noqa: PTH118, PTH120 - pathlib doubles a child's start


def tail(text: str | bytes) -> str:
    """The last 64 KiB of a text; bytes that are no UTF-8 are replaced."""
    data = text.encode(errors="backslashreplace") if isinstance(text, str) else text
    clean = data[-LIMIT:].decode(errors="replace").encode()
    return clean[-LIMIT:].decode(errors="ignore")


def kept(text: str | None) -> str | None:
    """The same of a text that there may not be."""
    return None if text is None else tail(text)


def trace(error: BaseException) -> str:
    """The traceback of an error from the first frame that is not pseudocron's; reads source files."""
    frames = error.__traceback__
    while frames and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    return tail("".join(traceback.format_exception(type(error), error, frames)))


def brief(error: BaseException) -> str:
    """Return a traceback without lines of source and without causes; reads no file."""
    frames = [
        traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name, lookup_line=False, line="")
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith(_OURS)
    ]
    return tail("".join([*traceback.format_list(frames), *traceback.format_exception_only(error)]))


def timed_out(timeout: float | None) -> str:
    """The error of a run whose timeout, in seconds, is over."""
    return f"timed out after {timeout:.12g} s"
