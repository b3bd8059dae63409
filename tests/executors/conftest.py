from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from executors.executing import wait_until
from pseudocron.executors.threads import shared_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Write = Callable[..., Path]


def descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """Neither a descriptor nor a child, not even a dead one."""
    before = descriptors()
    yield
    wait_until(lambda: descriptors() <= before, within=2)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture(autouse=True)
def _no_thread_of_another_test() -> None:
    shared_threads.cache_clear()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a script, or a module, into a folder of the test's own."""

    def write(text: str, *, name: str = "script.py", mode: int = 0o644) -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        path.chmod(mode)
        return path

    return write
