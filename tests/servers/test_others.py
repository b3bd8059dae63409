"""The other servers that people use: seen as ASGI 3, opened, drained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import wait_until

from servers.serving import Server

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["hypercorn", "granian"])
def test_it_runs_behind_a_visit_and_is_drained(name: str, tmp_path: Path) -> None:
    server = Server(tmp_path, '{"each": ("jobs:on_the_loop", 3600), "drained": ("jobs:until_told", 3600)}')
    argv = {
        "hypercorn": ["app:app", "--bind", f"127.0.0.1:{server.port}"],
        "granian": ["--interface", "asgi", "--port", str(server.port), "app:app"],
    }
    with server.start(name, *argv[name]):
        wait_until(lambda: server.notes("each") and server.notes("drained"), 5)
        (tmp_path / "end").touch()
        server.stop()
    assert server.notes("drained") == ["begins", "ends"]
    assert "Traceback" not in server.log
