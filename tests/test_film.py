"""The picture of a shift: every curve, every event, once for page and PNG, and no more than its share of bytes."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.display.drawing import Area, Drawing, Line, Text
from runbook_lib.display.timeline import LETTER, MOST, ROWS, drawn, drawn_words, thinned
from runbook_lib.runs.history import History
from runbook_lib.verdict import Sample

NONE = Sample(0, 0, 0, 0)
BEGAN = 1_800_000_000


def event(phase: str, at: float, step: int = 25, verdict: str = "") -> dict[str, Any]:
    return {"phase": phase, "at": BEGAN + at, "step": step, "verdict": verdict}


def shift(seconds: int = 20, *decisions: dict[str, Any], slow: Sample = NONE) -> History:
    """Return a shift to 25 % of one request in four, with an error now and then."""
    seen = [Interval(BEGAN + i, Sample(75, i % 2, 25, i % 3), slow) for i in range(seconds)]
    return History("one", "two", seen, decisions or [event("written", 0)], [0.1 * i for i in range(seconds)], ())


def texts(drawing: Drawing) -> str:
    return " ".join(shape.words for shape in drawing.shapes if isinstance(shape, Text)).replace(
        "\N{NO-BREAK SPACE}", " "
    )


def bands(drawing: Drawing) -> list[Area]:
    return [shape for shape in drawing.shapes if isinstance(shape, Area)]


def test_it_is_well_formed_and_names_itself() -> None:
    root = ET.fromstring(drawn(shift()).svg())
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == drawn_words(shift())


def test_it_shows_requests_errors_share_and_evidence() -> None:
    for words in (
        "requests a second",
        "one",
        "error rate",
        "two's share",
        "evidence against two",
        "FAIL above 100 to 1",
    ):
        assert words in texts(drawn(shift()))


def test_the_line_of_a_fail_is_the_rules_own() -> None:
    assert "FAIL above 20 to 1" in texts(drawn(replace(shift(), needed=20.0)))


def test_slow_requests_are_shown_where_they_are_judged_and_only_there() -> None:
    shown = shift(slow=Sample(75, 1, 25, 1))
    assert "slow requests" in texts(drawn(replace(shown, slow=True)))
    assert "slow requests" not in texts(drawn(shown))


def test_each_event_is_on_the_axis() -> None:
    events = [event("written", 1), event("proved", 3), event("approved", 5), event("hold", 9)]
    events += [event("judged", 12, verdict="PASS"), event("rolled back", 15), event("settled", 17)]
    shown = texts(drawn(shift(20, *events)))
    for label in ("→ 25 %", "proved", "approved", "HOLD", "PASS", "ROLLED BACK", "settled"):
        assert label in shown


def test_the_words_say_when_who_answered_how_many_and_what_happened() -> None:
    events = [event("written", 5), event("judged", 18, verdict="PASS")]
    assert drawn_words(shift(20, *events)).replace("\N{NO-BREAK SPACE}", " ") == (
        "19 s from 08:00:00 UTC: one answered 1,500 requests, 10 in error; two answered 500 requests, 19 in error. "
        "→ 25 % at 5 s; PASS at 18 s."
    )


# Time and weights.


def test_time_begins_with_the_first_moment_that_is_known() -> None:
    unknown = Interval(0, Sample(10, 0, 5, 0), NONE)
    shown = drawn(replace(shift(), intervals=[unknown, *shift().intervals]))
    assert shown.words.startswith("19 s from 08:00:00")
    assert "15 s" in texts(shown)


def test_a_way_back_is_a_weight_of_nothing() -> None:
    there = drawn(shift(20, event("written", 0)))
    back = drawn(shift(20, event("written", 0), event("rolled back", 10, 25, "FAIL"), event("settled", 12, 0)))
    assert (len(bands(there)), len(bands(back))) == (1, 2)
    (_, high), *_ = bands(back)[1].points
    assert {y for _, y in bands(back)[1].points} == {high}  # no share is allowed but none


def test_before_anything_was_written_nobody_knows_the_weight() -> None:
    assert len(bands(drawn(shift(20, event("written", 10))))) == 1
    assert not bands(drawn(shift(20, event("approved", 10))))


@pytest.mark.parametrize("phase", ["proved", "watching", "judged"])
def test_a_shift_that_is_resumed_has_the_weight_it_was_found_with(phase: str) -> None:
    assert len(bands(drawn(shift(20, event(phase, 10))))) == 1


# Reading it.


def test_versions_differ_by_more_than_colour() -> None:
    lines = re.findall(r"<polyline [^>]*stroke='#\w+'[^>]*>", drawn(shift()).svg())
    assert {"stroke-dasharray" in line for line in lines} == {True, False}


@given(st.lists(st.integers(0, 300), min_size=1, max_size=12, unique=True))
def test_no_line_strikes_words_through(moments: list[int]) -> None:
    shapes = drawn(shift(300, *(event("proved", at) for at in moments))).shapes
    upright = [shape.points for shape in shapes if isinstance(shape, Line) and len(shape.points) == 2]
    lines = [(a[0], *sorted((a[1], b[1]))) for a, b in upright if a[0] == b[0]]
    for text in (shape for shape in shapes if isinstance(shape, Text) and shape.anchor == "start" and shape.words):
        left, right, top, bottom = text.x, text.x + LETTER * len(text.words), text.y - 8, text.y
        assert not [x for x, high, low in lines if left < x < right and high < bottom and low > top], text.words


def test_events_that_come_too_thick_for_their_words_make_the_picture_no_higher() -> None:
    few, many = (drawn(shift(300, *(event("proved", 10 + i / 10) for i in range(n)))) for n in (7, 60))
    assert many.height == few.height
    assert texts(many).count("proved") == texts(few).count("proved") == ROWS


def contrast(one: str, other: str) -> float:
    """Return two colours' contrast by WCAG 2, from 1 to 21."""

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", ["#ffffff", "#111111", "#0d1117"])
def test_every_line_is_seen_on_light_and_on_dark_pages(page: str) -> None:
    colours = set(re.findall(r"'(#\w{6})'", drawn(shift()).svg()))
    assert len(colours) == 3
    assert all(contrast(colour, page) >= 4 for colour in colours)


def test_what_comes_from_elsewhere_is_escaped() -> None:
    nasty = History("<script>", "a'b", shift().intervals, [], [], ())
    ET.fromstring(drawn(nasty).svg())
    assert "<script>" not in drawn(nasty).svg()


def test_nothing_is_drawn_of_nothing() -> None:
    nothing = drawn(History("one", "two", [], [], [], ()))
    assert (nothing.svg(), nothing.words) == ("", "no traffic was seen: there is nothing to draw")


def test_an_hour_costs_no_more_than_some_minutes() -> None:
    spent = []
    for _ in range(3):  # the least of three: on a loaded machine one of them may take longer
        began = time.thread_time()
        shown = drawn(shift(3600)).svg()
        spent.append(time.thread_time() - began)
    assert min(spent) < 0.25
    assert len(shown) < 60_000


@given(st.lists(st.integers(0, 50), max_size=500))
def test_thinning_loses_no_request(counts: list[int]) -> None:
    seen = [Interval(i, Sample(n, 0, 1, 0), NONE) for i, n in enumerate(counts)]
    kept = thinned(seen)
    assert len(kept) <= MOST
    assert sum(i.requests for i in kept) == sum(i.requests for i in seen)
