"""Each rule is seen to fail: for each there are histories that break it, and no other rule."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

import verification.simulation
from simulation.broken_histories import BROKEN, WHOLE
from simulation.made_events import APPLICATION
from verification.simulation.checker import Checker
from verification.simulation.history import Event
from verification.simulation.rules import Rule

CHECKERS = ("checker.py", "gate_rules.py", "lateness.py", "slot_rules.py", "transitions.py")
SOURCES = Path(verification.simulation.__file__).parent


def broken(history: Sequence[Event]) -> set[Rule]:
    return {found.rule for found in Checker(APPLICATION, timely=True).read(history)}


def reported() -> Counter[str]:
    """In how many places of the source each rule is reported."""
    sources = ((SOURCES / name).read_text(encoding="utf-8") for name in CHECKERS)
    nodes = (node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute))
    return Counter(node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "Rule")


def test_a_whole_history_breaks_no_rule() -> None:
    assert Checker(APPLICATION, timely=True).read(WHOLE) == []


@pytest.mark.parametrize(
    ("rule", "history"),
    [pytest.param(rule, one, id=f"{rule} {n}") for rule, those in BROKEN.items() for n, one in enumerate(those)],
)
def test_a_broken_history_breaks_its_rule_and_no_other(rule: Rule, history: Sequence[Event]) -> None:
    assert broken(history) == {rule}


def test_every_place_that_reports_a_rule_has_its_broken_history() -> None:
    assert BROKEN.keys() == set(Rule)
    assert {name: places for name, places in reported().items() if places > len(BROKEN[Rule[name]])} == {}
    assert reported().keys() == Rule.__members__.keys()
