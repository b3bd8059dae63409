"""The pictures say what the history says."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree as ET

from support import START

from pseudocron.backends.model import Reason, State
from pseudocron.dashboard.pictures import DURATIONS, HEIGHT, LATENESS, timeline
from pseudocron.report import SKIPPED as WAS_SKIPPED
from pseudocron.report import HistoryLine

RUN = HistoryLine(name="mail", run_id="1", slot=START, fence=1, attempt=1, worker="host:1", started=START)


def ran(seconds: float, outcome: State = State.SUCCEEDED, late: float = 0) -> HistoryLine:
    started = START + timedelta(seconds=late)
    return replace(RUN, started=started, ended=started + timedelta(seconds=seconds), outcome=outcome)


SKIPPED = replace(RUN, ended=START, outcome=WAS_SKIPPED, reason=Reason.OVERLAP, slots=3)


def bars(*runs: HistoryLine) -> list[dict[str, str]]:
    """The newest first, as the runs."""
    return [bar.attrib for bar in ET.fromstring(timeline(runs)).iter("rect")][::-1]  # noqa: S314 - our own


def test_each_run_is_a_bar_by_its_outcome_the_newest_on_the_right() -> None:
    drawn = bars(RUN, ran(1, State.FAILED), SKIPPED, ran(2))
    assert [bar["class"] for bar in drawn] == ["running", "failed", "skipped", "succeeded"]
    places = [float(bar["x"]) for bar in drawn]
    assert places == sorted(places, reverse=True)


def test_the_longest_run_is_as_high_as_the_picture() -> None:
    longest, shorter, none = (float(bar["height"]) for bar in bars(ran(4), ran(1), ran(0)))
    assert longest == HEIGHT
    assert longest > shorter > none > 3


def test_a_timeline_says_in_words_what_it_shows() -> None:
    picture = timeline([ran(4), ran(1, State.FAILED), ran(1)])
    assert 'aria-label="Last runs: 2 succeeded, 1 failed; the longest 4.0s"' in picture
    assert "<title>failed after 1.0s</title>" in picture
    assert "<title>skipped, overlap, 3 slots</title>" in timeline([SKIPPED])
    assert 'aria-label="No runs yet"' in timeline([])


def test_no_more_runs_are_drawn_than_there_is_room_for() -> None:
    assert len(bars(*[ran(1)] * 50)) == 20


def test_a_clock_that_was_set_back_draws_nothing_below_the_ground() -> None:
    assert float(bars(ran(-5), ran(1))[0]["height"]) > 0
    heights = [float(y) for y in re.findall(r'cy="([-\d.]+)"', LATENESS.draw([ran(1, late=-9), ran(1, late=3)]))]
    assert all(0 < y < 130 for y in heights)


def test_a_plot_has_a_point_for_each_run_that_has_ended() -> None:
    picture = DURATIONS.draw([RUN, ran(2), SKIPPED, ran(1, State.TIMED_OUT)])
    assert re.findall(r'<circle class="(\w+)"', picture) == ["timed_out", "succeeded"]
    assert 'aria-label="Duration of the last 2 runs, at most 2.0s"' in picture
    assert "No run has ended yet" in DURATIONS.draw([RUN, SKIPPED])
    ET.fromstring(LATENESS.draw([ran(1)]))  # noqa: S314 - our own
