"""Whatever two processes do in whatever order, a store does what the oracle does beside it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from backends.stores import STORES
from verification.machine import SharedStore, run


def new_store(name: str) -> SharedStore:
    folder = Path(tempfile.mkdtemp())
    shared = STORES[name](folder)
    return SharedStore(shared.make, shared.set_clock, lambda: shutil.rmtree(folder))


@pytest.mark.timeout(400)  # so that a failure has time to become a short one
@pytest.mark.parametrize(("name", "examples"), [("oracle", 40), ("memory", 40), ("file", 15), ("redis", 15)])
def test_a_store_does_what_the_oracle_does(name: str, examples: int) -> None:
    try:
        new_store(name).drop()
    except ImportError as error:
        pytest.skip(f"{name}: {error}")
    run(lambda: new_store(name), examples=examples)
