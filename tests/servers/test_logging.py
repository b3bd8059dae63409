"""What a server shows whose application has configured no logging."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from support import wait_until

from servers.serving import Server

if TYPE_CHECKING:
    from pathlib import Path

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"


def test_warnings_and_errors_under_uvicorn_have_time_level_and_logger(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text("1 / 0")
    with Server(tmp_path, '{"broken": ("failing.py", 3600)}').uvicorn() as server:
        wait_until(lambda: "ERROR" in server.log, 10)
        server.stop()
    assert re.search(rf"^{STAMP} WARNING pseudocron: .*crons\.py: no poll within the last", server.log, re.MULTILINE)
    assert re.search(rf"^{STAMP} ERROR pseudocron: broken: slot .* failed$", server.log, re.MULTILINE)
    assert server.log.count("no poll within the last 120 s") == 1
