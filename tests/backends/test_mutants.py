"""The conformance suite finds a store that is wrong in one thing, whatever that is."""

from __future__ import annotations

import inspect
import threading
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from backends.mutants import MUTANTS, shared
from pseudocron.testing.conformance import Cluster, SharedStore, Suite
from verification.machine import SharedStore as MachineStore
from verification.machine import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOUND_BY_THE_MACHINE = ["IgnoresKeys", "KeyIsNeverTaken", "ForgetsCrons", "ForgetsLeases", "NeverForward"]


def cases() -> Iterator[tuple[str, dict[str, object]]]:
    """All tests of the suite with their parameters, as pytest would run them."""
    for name, test in inspect.getmembers(Suite, inspect.isfunction):
        if name.startswith("test_"):
            marks = [mark.args for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
            for values in product(*(list(values) for _, values in marks)):
                yield name, dict(zip((argument for argument, _ in marks), values, strict=True))


def fails(store: SharedStore, name: str, values: dict[str, object]) -> bool:
    cluster, test = Cluster(store), getattr(Suite(), name)
    cluster.forward(0)
    makers: dict[str, Callable[[], Any]] = {"cluster": lambda: cluster, "one": cluster.process, "two": cluster.process}
    try:
        test(**{name: makers[name]() for name in inspect.signature(test).parameters if name in makers}, **values)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - a mutant may fail by any error
        return True
    finally:
        cluster.close()
    return False


def test_an_oracle_that_is_right_passes() -> None:
    assert not any(fails(shared(), name, values) for name, values in cases() if "many" not in name)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_suite_finds(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # a thread may well fail
    assert any(fails(MUTANTS[mutant](), name, values) for name, values in cases() if "many" not in name)


@pytest.mark.parametrize("mutant", FOUND_BY_THE_MACHINE)
def test_the_machine_finds(mutant: str) -> None:
    with pytest.raises(Exception, match=r"."):
        run(lambda: MachineStore(MUTANTS[mutant]().make), examples=300, is_shrunk=False)
