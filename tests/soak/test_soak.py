"""The soak serves, loads and samples, and tells what has grown from what has not."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from verification.soak import __main__ as soaking
from verification.soak.figures import FIGURES, compare
from verification.soak.plot import PANELS, plot


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two of a real soak, short and gentle."""
    kept = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soaking, "INTERVAL", 0.6)
        soaking.soak(tmp_path_factory.mktemp("soak"), seconds=1, rate=200, keep=kept)
    return [json.loads(line) for line in kept.getvalue().splitlines()]


@dataclass(frozen=True)
class Run:
    """An hour of samples that are all alike, but for what is growing."""

    like: dict[str, Any]

    def growing(self, **by_the_end: float) -> list[dict[str, Any]]:
        hour = range(10, 3601, 10)
        return [
            {**self.like, "at": at, **{name: self.like[name] + most * at / 3600 for name, most in by_the_end.items()}}
            for at in hour
        ]


@pytest.fixture
def run(samples: list[dict[str, Any]]) -> Run:
    return Run(samples[-1])


@pytest.mark.alone
def test_a_short_soak_reports_all_that_is_judged(samples: list[dict[str, Any]]) -> None:
    last = samples[-1]
    assert last["ran"]["crons"] >= 100
    assert last["ran"]["jobs"] >= 1
    assert last["/ served"] > last["/defer served"] > 0
    assert all(figure.of(last) >= 0 for figure in FIGURES)


def test_an_hour_in_which_nothing_grows_is_flat(run: Run) -> None:
    assert [row.figure.name for row in compare(run.growing()) if not row.flat] == []


@pytest.mark.parametrize(
    ("what", "by"), [("uss", 8), ("descriptors", 4), ("tasks", 4), ("threads", 4), ("objects", 9000), ("store", 6)]
)
def test_what_has_grown_by_the_end_is_told(run: Run, what: str, by: float) -> None:
    grown = {row.figure.of for row in compare(run.growing(**{what: by})) if not row.flat}
    assert grown == {figure.of for figure in FIGURES if what in figure.of.__code__.co_consts}


def test_a_run_that_is_too_short_to_be_judged_is_refused(samples: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="too short"):
        compare(samples)


def test_the_plot_has_a_line_for_each_thing_it_names(run: Run) -> None:
    drawn = ET.fromstring(plot(run.growing(uss=8)))  # noqa: S314 - it is ours
    lines = drawn.iter("{http://www.w3.org/2000/svg}polyline")
    assert len(list(lines)) == sum(len(panel.lines) for panel in PANELS)
