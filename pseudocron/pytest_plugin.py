"""The fixture `scheduler` for pytest: `pytest_plugins = ["pseudocron.pytest_plugin"]` in the first `conftest.py`.

The plugin switches everything off, as `PSEUDOCRON_ENABLED=0` does, unless that variable is set.

The plugin is loaded by name only. As an entry point of the package it would be imported by every pytest run in an
environment in which pseudocron is installed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pseudocron.jobs.outbox import clear_all
from pseudocron.testing import FakeScheduler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pseudocron.crons import Crons


os.environ.setdefault("PSEUDOCRON_ENABLED", "0")  # now: the settings are read when an application first needs them


@pytest.fixture(autouse=True)
def _empty_outbox() -> None:
    """Begin each test with an empty `crons.outbox`."""
    clear_all()


@pytest.fixture
def crons() -> Crons:
    """Fail: every suite defines this fixture, which returns the `Crons` of the application."""
    pytest.fail("the fixture `scheduler` needs a fixture `crons` of yours that returns the application's Crons")


@pytest.fixture
def scheduler(crons: Crons) -> Iterator[FakeScheduler]:
    """Run these crons and their jobs in memory, while the test moves the clock."""
    with FakeScheduler(crons) as scheduler:
        yield scheduler
