"""The fixture `world` for pytest: `pytest_plugins = ["pseudocron.pytest_plugin"]` in the first `conftest.py`.

It is asked for by name: loaded on its own, it would be imported by the tests of all who have pseudocron installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pseudocron.testing import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pseudocron.crons import Crons


@pytest.fixture
def crons() -> Crons:
    """The `Crons` of the application; every suite says which that is."""
    pytest.fail("the fixture `world` asks for a fixture `crons` of yours, which returns the application's Crons")


@pytest.fixture
def world(crons: Crons) -> Iterator[World]:
    """One process that runs these crons and their jobs, in memory, while the test moves the clock."""
    with World(crons) as world:
        yield world
