"""Draw a shift on one time axis: who answered, how well, in which share, what speaks
against it, what was done.

Pure and cheap, since it is drawn again and again: values in, shapes out, the same
for the same values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import Any

from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.display.drawing import (
    Area,
    Dots,
    Drawing,
    Line,
    Points,
    Shape,
    Text,
    outline,
    percent,
)
from runbook_lib.runs.history import ASKED, History
from runbook_lib.verdict import Sample
from runbook_lib.verdict.band import share_band

__all__ = ["drawn", "drawn_words", "thinned"]

# lines: four to one on light and on dark pages
STABLE, CANARY, LIMIT = "#1f7fe0", "#c9601c", "#d9453d"
# dashes tell apart what colour alone would
CANARYS, WEIGHTS, LIMITS, EVENTS = (6, 3), (2, 2), (8, 3), (3, 3)
# pixels
WIDTH = 600
LEFT = 76  # of the strips: room for their scales
RIGHT = 100
HEIGHT = 56  # of a strip
GAP = 22  # between two
ROW = 13  # of events' labels
BOTTOM = 24
LETTER = 7.2  # how wide one is at most
ROWS = 6  # of events' labels; what comes too thick is a line without one
MOST = 180  # points that are told apart at this width
EVIDENCE = 4.0  # powers of ten; more is off the paper
LABELS = {
    "written": "→ {step}\N{NO-BREAK SPACE}%",
    "proved": "proved",
    "judged": "{verdict}",
    "promoted": "PROMOTED",
    "rolled back": "ROLLED BACK",
    "settled": "settled",
    "approved": "approved",
    "hold": "HOLD",
}
MOVES = ("written", "rolled back")  # the decisions that move weights
TICKS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 10**9)


@dataclass(frozen=True, slots=True)
class _Axes:
    """One strip of the picture: where values of time and of its own
    scale come to stand.
    """

    top: float
    low: float
    high: float
    begin: float
    end: float

    def x(self, at: float) -> float:
        span = max(self.end - self.begin, 1)
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - self.begin) / span

    def y(self, value: float) -> float:
        kept = min(max(value, self.low), self.high)
        return self.top + HEIGHT * (1 - (kept - self.low) / (self.high - self.low))

    def at(self, points: Points) -> list[tuple[float, float]]:
        """Return points of time and value as points on the paper."""
        return [(self.x(at), self.y(value)) for at, value in points]


Strip = Callable[[History, Sequence[Interval], _Axes], Iterator[Shape]]
"""Draws one strip of the picture."""


def thinned(intervals: Sequence[Interval], most: int = MOST) -> list[Interval]:
    """Return at most this many intervals, neighbours added up: what is drawn costs the
    same however long it took.
    """
    bunch = max(1, math.ceil(len(intervals) / most))
    starts = range(0, len(intervals), bunch)
    return [_added(intervals[start : start + bunch]) for start in starts]


def _added(group: Sequence[Interval]) -> Interval:
    total = group[0]
    for each in group[1:]:
        errors = total.errors + each.errors
        slow = total.slow + each.slow
        total = Interval(total.start, errors, slow)
    return total


def _timed(intervals: Sequence[Interval]) -> list[Interval]:
    """Return the intervals whose time is known: any other stands nowhere."""
    return [interval for interval in intervals if interval.start > 0]


def drawn_words(shown: History) -> str:
    """Return what the picture shows, for those who cannot see it."""
    seen = _timed(shown.intervals)
    if not seen:
        return "no traffic was seen: there is nothing to draw"
    window = _window(shown, seen)
    all_of = _added(shown.intervals).errors
    stable = _answered(shown.stable, all_of.stable_requests, all_of.stable_errors)
    canary = _answered(shown.canary, all_of.canary_requests, all_of.canary_errors)
    told = []
    for event in _events(shown):
        told.append(f"{event.label} at {event.at - window.begin:.0f} s")
    events = "; ".join(told) or "no event yet"
    since = f"{datetime.fromtimestamp(window.begin, UTC):%H:%M:%S} UTC"
    seconds = f"{window.end - window.begin:.0f} s"
    return f"{seconds} from {since}: {stable}; {canary}. {events}."


def _answered(name: str, requests: int, errors: int) -> str:
    bad = f"{errors:,}" if errors else "none"
    return f"{name} answered {requests:,} requests, {bad} in error"


def drawn(shown: History) -> Drawing:
    """Draw requests, error rates, slow requests where they are judged, share, evidence
    and events of a shift.

    An interval ends where the next one begins; without two of them
    there is nothing to draw.
    """
    seen = thinned(_timed(shown.intervals))
    if len(seen) < 2:
        return Drawing(WIDTH, 0, (), drawn_words(shown))
    window = _window(shown, seen)
    time = _Axes(0, 0, 1, window.begin, window.end)
    labels = _labels(shown, time)
    rows = 2 + max((label.row for label in labels), default=0)
    strips = _strips(shown)
    first = ROW * rows + GAP
    tops = [first + number * (HEIGHT + GAP) for number in range(len(strips))]
    bottom = tops[-1] + HEIGHT
    shapes = list(_events_shapes(labels, tops))
    for strip, top in zip(strips, tops, strict=True):
        shapes += strip(shown, seen, replace(time, top=top))
    shapes += _ticks(time, bottom + 16)
    return Drawing(WIDTH, bottom + BOTTOM, tuple(shapes), drawn_words(shown))


def _strips(shown: History) -> list[Strip]:
    """Return what is drawn, from above."""
    slow = [_slow] if shown.slow else []
    return [_requests, _errors, *slow, _share, _evidence]


@dataclass(frozen=True, slots=True)
class _Window:
    """The first and the last moment shown."""

    begin: float
    end: float


def _window(shown: History, seen: Sequence[Interval]) -> _Window:
    moments = [float(interval.start) for interval in seen]
    moments += [event.at for event in _events(shown)]
    return _Window(min(moments), max(moments))


# --- events ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class _Event:
    """What was done, and when."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class _Label:
    """Where an event stands, and in which row its label; "" where there is no room."""

    x: float
    row: int
    text: str

    @property
    def end(self) -> float:
        """Where its text ends."""
        return self.x + 4 + LETTER * len(self.text)


def _events(shown: History) -> list[_Event]:
    events = []
    for decision in shown.decisions:
        label = LABELS.get(decision["phase"])
        if label and decision["at"]:
            events.append(_Event(decision["at"], label.format(**decision)))
    return events


def _labels(shown: History, time: _Axes) -> list[_Label]:
    """Return each event's label: in a row below every one that its line would strike
    through.
    """
    labels: list[_Label] = []
    for event in sorted(_events(shown)):
        x = time.x(event.at)
        struck = [label.row for label in labels if label.text and label.end >= x]
        row = 1 + max(struck, default=-1)
        labels.append(_Label(x, row, event.label if row < ROWS else ""))
    return labels


def _events_shapes(labels: Sequence[_Label], tops: Sequence[float]) -> Iterator[Shape]:
    """Yield the events' labels, and their lines through the strips, which leave out
    what is written between.
    """
    for label in labels:
        base = ROW * (label.row + 1)
        yield Text(label.x + 4, base, label.text, bold=label.text.isupper())
        yield from _event_line(label.x, base - ROW + 3, tops[0] - GAP + 6)
        for top in tops:
            yield from _event_line(label.x, top, top + HEIGHT)


def _event_line(x: float, high: float, low: float) -> Iterator[Line]:
    """Yield a part of an event's line, unless there is no room for it."""
    if low > high:
        yield Line(((x, high), (x, low)), dashes=EVENTS, width=1, faint=True)


# --- strips ---------------------------------------------------------------------------


def _frame(axes: _Axes, title: str, words: Callable[[float], str]) -> Iterator[Shape]:
    right, high, low = WIDTH - RIGHT, axes.top, axes.top + HEIGHT
    yield Line(outline(LEFT, high, right, low), width=1, faint=True)
    yield Text(LEFT, high - 6, title, bold=True)
    yield Text(LEFT - 6, high + 9, words(axes.high), "end")
    yield Text(LEFT - 6, low, words(axes.low), "end")


@dataclass(frozen=True, slots=True)
class _Curves:
    """A figure of each version over time."""

    stable: Points
    canary: Points

    @property
    def highest(self) -> float:
        """The highest value of both; 0 where there is none."""
        values = [value for _, value in (*self.stable, *self.canary)]
        return max(values, default=0)


def _versions(axes: _Axes, curves: _Curves) -> Iterator[Shape]:
    yield Line(axes.at(curves.stable), STABLE)
    yield Line(axes.at(curves.canary), CANARY, CANARYS)


def _requests(
    shown: History, seen: Sequence[Interval], strip: _Axes
) -> Iterator[Shape]:
    curves = _requests_a_second(seen)
    axes = replace(strip, high=max(1.0, curves.highest))
    title = "requests a second"
    yield from _frame(axes, title, lambda value: f"{value:,.0f}")
    yield from _legend(shown, LEFT + LETTER * len(title) + 20, axes.top - 6)
    yield from _versions(axes, curves)


def _requests_a_second(seen: Sequence[Interval]) -> _Curves:
    spans = [max(later.start - each.start, 1) for each, later in pairwise(seen)]
    spans.append(spans[-1])  # of the last one, whose end is not known
    stable = []
    canary = []
    for each, span in zip(seen, spans, strict=True):
        stable.append((each.start, each.errors.stable_requests / span))
        canary.append((each.start, each.errors.canary_requests / span))
    return _Curves(stable, canary)


def _legend(shown: History, x: float, y: float) -> Iterator[Shape]:
    """Yield how each version's lines look, beside the first title."""
    yield Line(((x, y - 4), (x + 26, y - 4)), STABLE)
    yield Text(x + 32, y, shown.stable)
    x += 32 + LETTER * len(shown.stable) + 16
    yield Line(((x, y - 4), (x + 26, y - 4)), CANARY, CANARYS)
    yield Text(x + 32, y, shown.canary)


def _errors(shown: History, seen: Sequence[Interval], strip: _Axes) -> Iterator[Shape]:
    starts = [interval.start for interval in seen]
    samples = [interval.errors for interval in seen]
    return _rates("error rate", _rate_curves(starts, samples), strip)


def _slow(shown: History, seen: Sequence[Interval], strip: _Axes) -> Iterator[Shape]:
    starts = [interval.start for interval in seen]
    samples = [interval.slow for interval in seen]
    return _rates("slow requests", _rate_curves(starts, samples), strip)


def _rate_curves(starts: Sequence[int], samples: Sequence[Sample]) -> _Curves:
    """Return which part of its requests each version failed, where it had any."""
    stable = []
    canary = []
    for at, sample in zip(starts, samples, strict=True):
        if sample.stable_requests:
            stable.append((at, sample.stable_errors / sample.stable_requests))
        if sample.canary_requests:
            canary.append((at, sample.canary_errors / sample.canary_requests))
    return _Curves(stable, canary)


def _rates(title: str, curves: _Curves, strip: _Axes) -> Iterator[Shape]:
    worst = math.ceil(100 * curves.highest) / 100
    axes = replace(strip, high=max(0.01, worst))
    yield from _frame(axes, title, percent)
    yield from _versions(axes, curves)


def _share(shown: History, seen: Sequence[Interval], axes: _Axes) -> Iterator[Shape]:
    title = f"{shown.canary}'s share: seen (dots), its weight (dashes), allowed (band)"
    yield from _frame(axes, title, percent)
    busy = [interval for interval in seen if interval.requests]
    for weight, group in groupby(busy, lambda each: _weight(shown, each.start)):
        if weight is not None:
            yield from _allowed(axes, weight, list(group))
    shares = []
    for each in busy:
        shares.append((each.start, each.errors.canary_requests / each.requests))
    yield Dots(axes.at(shares), CANARY)


def _allowed(axes: _Axes, weight: int, busy: Sequence[Interval]) -> Iterator[Shape]:
    """Yield a weight over the intervals that had it, and the shares that it allows."""
    lows = []
    highs = []
    for each in busy:
        low, high = share_band(weight, each.requests)
        lows.append((each.start, low))
        highs.append((each.start, high))
    yield Area(axes.at(lows + highs[::-1]))
    wanted = weight / 100
    ends = [(busy[0].start, wanted), (busy[-1].start, wanted)]
    yield Line(axes.at(ends), dashes=WEIGHTS)


def _weight(shown: History, at: float) -> int | None:
    """Return the canary's weight at a moment, None where nobody knows."""
    moves = [d for d in shown.decisions if d["phase"] in MOVES and d["at"] <= at]
    if moves:
        return _weight_after(moves[-1])
    # what others asked for says what is to be
    decided = [d for d in shown.decisions if d["phase"] not in ASKED]
    if not decided or decided[0]["phase"] in MOVES:
        return None
    return int(decided[0]["step"])


def _weight_after(move: Mapping[str, Any]) -> int:
    return 0 if move["phase"] == "rolled back" else int(move["step"])


def _evidence(
    shown: History, seen: Sequence[Interval], strip: _Axes
) -> Iterator[Shape]:
    line = math.log10(shown.needed)
    axes = replace(strip, low=-1, high=max(EVIDENCE, math.ceil(line) + 1))
    title = f"evidence against {shown.canary}; FAIL above {shown.needed:,.0f} to 1"
    yield from _frame(axes, title, lambda value: f"{10**value:,g} to 1")
    yield Line(axes.at([(axes.begin, line), (axes.end, line)]), LIMIT, LIMITS)
    yield Text(WIDTH - RIGHT + 5, axes.y(line) + 4, "FAIL")
    earlier = len(shown.intervals) - len(shown.evidence)  # without evidence
    later = shown.intervals[earlier:]
    points = []
    for interval, evidence in zip(later, shown.evidence, strict=True):
        if interval.start > 0:
            points.append((interval.start, evidence / math.log(10)))
    thin = max(1, len(points) // MOST)
    yield Line(axes.at(points[::thin] + points[-1:]), CANARY)


def _ticks(time: _Axes, y: float) -> Iterator[Shape]:
    span = max(time.end - time.begin, 1)
    tick = next(seconds for seconds in TICKS if span / seconds <= 9)
    for passed in range(0, int(span) + 1, tick):
        words = f"{passed} s" if tick < 60 else f"{passed // 60} min"
        yield Text(time.x(time.begin + passed), y, words, "middle")
