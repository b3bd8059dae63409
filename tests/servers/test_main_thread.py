"""A target whose module calls `signal.signal`: commands import it where that works, a server says what is wrong."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest
from cli.shell import pseudocron, recorded
from support import Lifespan, hello

from pseudocron.middleware import PseudoCronMiddleware

if TYPE_CHECKING:
    from pathlib import Path

SIGNALS = """
import signal
signal.signal(signal.SIGUSR2, signal.SIG_DFL)
def work(): pass
"""
CRONS = {
    "target": 'crons = {"one": ("signals:work", 3600)}',
    "import": 'import signals\ncrons = {"one": (signals.work, 3600)}',
}


@pytest.mark.parametrize("way", CRONS)
def test_commands_import_it_in_the_main_thread(tmp_path: Path, way: str) -> None:
    (tmp_path / "crons.py").write_text(CRONS[way])
    (tmp_path / "signals.py").write_text(SIGNALS)
    done = pseudocron(tmp_path, "tick")
    assert done.returncode == 0, done.stderr
    assert len(recorded(tmp_path)) == 1


@pytest.mark.parametrize("way", CRONS)
def test_a_server_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    (tmp_path / "crons.py").write_text(CRONS[way])
    (tmp_path / "signals.py").write_text(SIGNALS)
    monkeypatch.syspath_prepend(tmp_path)

    async def main() -> str | None:
        async with Lifespan(PseudoCronMiddleware(hello, crons=tmp_path / "crons.py")) as lifespan:
            return lifespan.failure

    failure = asyncio.run(main())
    sys.modules.pop("signals", None)
    assert failure
    assert "ValueError: signal only works in main thread" in failure
    fix = "; servers read the configuration in another thread: import the module in the application, at its start"
    assert failure.endswith(fix)
