"""What our logger promises: it tells where a line comes from, and no handler can harm whoever logs."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pseudocron
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator


class Raising(logging.Handler):
    """A handler of the application, at its first line."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError(f"no space left for {record.msg}")


@pytest.fixture
def raising() -> Iterator[None]:
    handler = Raising()
    logging.getLogger("pseudocron").addHandler(handler)
    yield
    logging.getLogger("pseudocron").removeHandler(handler)


@pytest.mark.usefixtures("raising")
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "exception"])
def test_a_handler_that_raises_harms_nobody(
    level: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="pseudocron")
    getattr(logger, level)("a line about %s", "something")
    assert "no space left" in capsys.readouterr().err


def test_a_line_tells_the_place_that_logged_it(caplog: pytest.LogCaptureFixture) -> None:
    logger.error("a line about %s", "something")
    (record,) = caplog.records
    assert (record.name, record.filename, record.getMessage()) == (
        "pseudocron",
        "test_log.py",
        "a line about something",
    )


def test_no_module_logs_past_it() -> None:
    package = Path(pseudocron.__file__).parent
    own = [path.name for path in package.rglob("*.py") if 'getLogger("pseudocron")' in path.read_text()]
    assert own == ["log.py"], "a handler that raises would undo what is stored, or let it be done twice"


RUN = """
import logging, sys
from pseudocron.log import logger
{configured}
logger.info("an info line")
logger.error("a bad line")
logging.getLogger("pseudocron").warning("another line")
"""
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ("", f"{STAMP} ERROR pseudocron: a bad line\n{STAMP} WARNING pseudocron: another line\n"),
        ("logging.basicConfig(format='%(message)s!')", "a bad line!\nanother line!\n"),
        ("logging.getLogger('pseudocron').addHandler(logging.NullHandler())", ""),
        ("logging.getLogger('other').addHandler(logging.StreamHandler())", f"{STAMP} ERROR .*\n{STAMP} WARNING .*\n"),
        ("logging.getLogger('pseudocron').setLevel('ERROR')", f"{STAMP} ERROR pseudocron: a bad line\n"),
    ],
    ids=["nothing", "the root", "our logger", "another logger", "a level"],
)
def test_where_logging_is_not_configured_a_line_has_time_level_and_logger(configured: str, expected: str) -> None:
    code = RUN.format(configured=configured)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert re.fullmatch(expected, done.stderr), done.stderr
