"""The picture of a shift as it moves: every curve, every event, and no more than its share of bytes and time."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.film import MOST, draw, drawn_words, thinned
from runbook_lib.history import History
from runbook_lib.telemetry import Interval
from runbook_lib.verdict import Sample

NONE = Sample(0, 0, 0, 0)


def event(phase: str, at: float, step: int = 25, verdict: str = "") -> dict[str, Any]:
    return {"phase": phase, "at": at, "step": step, "verdict": verdict}


def shift(seconds: int = 20, *decisions: dict[str, Any]) -> History:
    """Return a shift to 25 % of one request in four, with an error now and then."""
    seen = [Interval(i, Sample(75, i % 2, 25, i % 3), NONE) for i in range(seconds)]
    return History("one", "two", seen, decisions or [event("written", 0)], [0.1 * i for i in range(seconds)], ())


def test_it_is_well_formed_and_names_itself() -> None:
    root = ET.fromstring(draw(shift()))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == drawn_words(shift())


def test_it_shows_requests_errors_share_and_evidence() -> None:
    text = " ".join(ET.fromstring(draw(shift())).itertext())
    for words in ("requests a second: one", "error rate", "two's share", "evidence against two", "FAIL above 100 to 1"):
        assert words in text


def test_each_event_is_on_the_axis() -> None:
    events = [event("written", 1), event("proved", 3), event("hold", 9), event("judged", 12, verdict="PASS")]
    text = " ".join(ET.fromstring(draw(shift(20, *events))).itertext())
    assert all(label in text for label in ("→ 25 %", "proved", "HOLD", "PASS"))


def test_a_way_back_is_a_weight_of_nothing() -> None:
    back = draw(shift(20, event("written", 0), event("rolled back", 10, verdict="FAIL")))
    assert "ROLLED BACK" in back
    assert back != draw(shift(20, event("written", 0)))


def test_versions_differ_by_more_than_colour() -> None:
    lines = re.findall(r"<polyline [^>]*stroke='#\w+'[^>]*>", draw(shift()))
    assert {"stroke-dasharray" in line for line in lines} == {True, False}


def test_what_comes_from_elsewhere_is_escaped() -> None:
    nasty = History("<script>", "a'b", shift().intervals, [], [], ())
    ET.fromstring(draw(nasty))
    assert "<script>" not in draw(nasty)


def test_nothing_is_drawn_of_nothing() -> None:
    assert draw(History("one", "two", [], [], [], ())) == ""


def test_an_hour_costs_no_more_than_some_minutes() -> None:
    began = time.thread_time()
    drawn = draw(shift(3600))
    assert time.thread_time() - began < 0.25
    assert len(drawn) < 60_000


@given(st.lists(st.integers(0, 50), max_size=500))
def test_thinning_loses_no_request(counts: list[int]) -> None:
    seen = [Interval(i, Sample(n, 0, 1, 0), NONE) for i, n in enumerate(counts)]
    kept = thinned(seen)
    assert len(kept) <= MOST
    assert sum(i.requests for i in kept) == sum(i.requests for i in seen)
