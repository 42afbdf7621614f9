"""Draw a shift on one time axis: who answered, how well, in which share, what speaks
against it, what was done.

Pure and cheap, since it is drawn again and again: values in, shapes out, the same
for the same values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby, pairwise

from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.display.drawing import (
    Area,
    Dots,
    Drawing,
    Line,
    Points,
    Shape,
    Text,
    percent,
)
from runbook_lib.runs.history import History
from runbook_lib.verdict import Sample
from runbook_lib.verdict.forecast import share_band

__all__ = ["drawn", "drawn_words", "thinned"]

# lines: four to one on light and on dark pages
STABLE, CANARY, LIMIT = "#1f7fe0", "#c9601c", "#d9453d"
# dashes tell apart what colour alone would
CANARYS, WEIGHTS, LIMITS, EVENTS = (6, 3), (2, 2), (8, 3), (3, 3)
WIDTH, LEFT, RIGHT, HEIGHT, GAP, ROW, BOTTOM = 860, 84, 104, 84, 24, 13, 24
LETTER = 7.2  # how wide one is at most
ROWS = 6  # of events' labels; what comes too thick is a line without one
MOST = 180  # points that are told apart at this width
EVIDENCE = 4.0  # powers of ten; more is off the paper
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
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - self.begin) / max(
            self.end - self.begin, 1
        )

    def y(self, value: float) -> float:
        kept = min(max(value, self.low), self.high)
        return self.top + HEIGHT * (1 - (kept - self.low) / (self.high - self.low))

    def at(self, points: Points) -> list[tuple[float, float]]:
        """Return points of time and value as points on the paper."""
        return [(self.x(at), self.y(value)) for at, value in points]


def thinned(intervals: Sequence[Interval], most: int = MOST) -> list[Interval]:
    """Return at most this many intervals, neighbours added up: what is drawn costs the
    same however long it took.
    """
    bunch = math.ceil(len(intervals) / most) if intervals else 1
    groups = [intervals[i : i + bunch] for i in range(0, len(intervals), bunch)]
    return [_added(group) for group in groups]


def _added(group: Sequence[Interval]) -> Interval:
    first = group[0]
    for each in group[1:]:
        first = Interval(
            first.start, first.errors + each.errors, first.slow + each.slow
        )
    return first


def drawn_words(shown: History) -> str:
    """Return what the picture shows, for those who cannot see it."""
    seen = [i for i in shown.intervals if i.start > 0]
    if not seen:
        return "no traffic was seen: there is nothing to draw"
    begin, end = _window(shown, seen)
    all_of = _added(shown.intervals).errors
    counts = [(shown.stable, all_of.stable_requests, all_of.stable_errors)]
    counts += [(shown.canary, all_of.canary_requests, all_of.canary_errors)]
    told = "; ".join(
        f"{name} answered {n:,} requests, {f'{bad:,}' if bad else 'none'} in error"
        for name, n, bad in counts
    )
    events = (
        "; ".join(f"{label} at {at - begin:.0f} s" for at, label in _events(shown))
        or "no event yet"
    )
    return (
        f"{end - begin:.0f} s from {datetime.fromtimestamp(begin, UTC):%H:%M:%S} UTC: "
        f"{told}. {events}."
    )


def drawn(shown: History) -> Drawing:
    """Draw requests, error rates, slow requests where they are judged, share, evidence
    and events of a shift.

    An interval ends where the next one begins; without two of them
    there is nothing to draw.
    """
    # what nobody knows the time of stands nowhere
    seen = thinned([i for i in shown.intervals if i.start > 0])
    if len(seen) < 2:
        return Drawing(WIDTH, 0, (), drawn_words(shown))
    begin, end = _window(shown, seen)
    time = _Axes(0, 0, 1, begin, end)
    labels = list(_labels(shown, time))
    head = ROW * (2 + max((row for _, row, _ in labels), default=0)) + GAP
    strips = [_requests, _errors, *([_slow] if shown.slow else []), _share, _evidence]
    tops = [head + n * (HEIGHT + GAP) for n in range(len(strips))]
    shapes: list[Shape] = [*_events_shapes(labels, tops)]
    for strip, top in zip(strips, tops, strict=True):
        shapes += strip(shown, seen, replace(time, top=top))
    bottom = tops[-1] + HEIGHT
    return Drawing(
        WIDTH,
        bottom + BOTTOM,
        (*shapes, *_ticks(time, bottom + 16)),
        drawn_words(shown),
    )


def _window(shown: History, seen: Sequence[Interval]) -> tuple[float, float]:
    """Return the first and the last moment shown."""
    moments = [*(float(i.start) for i in seen), *(at for at, _ in _events(shown))]
    return min(moments), max(moments)


def _events(shown: History) -> list[tuple[float, str]]:
    labels = {
        "written": "→ {step}\N{NO-BREAK SPACE}%",
        "proved": "proved",
        "judged": "{verdict}",
    }
    labels |= {
        "rolled back": "ROLLED BACK",
        "settled": "settled",
        "approved": "approved",
        "hold": "HOLD",
    }
    return [
        (d["at"], labels[d["phase"]].format(**d))
        for d in shown.decisions
        if d["phase"] in labels and d["at"]
    ]


def _labels(shown: History, time: _Axes) -> Iterator[tuple[float, int, str]]:
    """Yield each event's place, row and label: in a row below every label that its line
    would strike through.
    """
    placed: list[tuple[float, int]] = []
    for at, label in sorted(_events(shown)):
        x = time.x(at)
        row = 1 + max((row for right, row in placed if right >= x), default=-1)
        if row < ROWS:
            placed.append((x + 4 + LETTER * len(label), row))
        yield x, row, label if row < ROWS else ""


def _events_shapes(
    labels: Sequence[tuple[float, int, str]], tops: Sequence[float]
) -> Iterator[Shape]:
    """Yield the events' labels, and their lines through the strips, which leave out
    what is written between.
    """
    for x, row, label in labels:
        yield Text(x + 4, ROW * (row + 1), label, bold=label.isupper())
        spans = [
            (ROW * row + 3, tops[0] - GAP + 6),
            *((top, top + HEIGHT) for top in tops),
        ]
        yield from (
            Line(((x, high), (x, low)), dashes=EVENTS, width=1, faint=True)
            for high, low in spans
            if low > high
        )


def _frame(axes: _Axes, title: str, words: Callable[[float], str]) -> Iterator[Shape]:
    right, low = WIDTH - RIGHT, axes.top + HEIGHT
    corners = (
        (LEFT, axes.top),
        (right, axes.top),
        (right, low),
        (LEFT, low),
        (LEFT, axes.top),
    )
    yield Line(corners, width=1, faint=True)
    yield Text(LEFT, axes.top - 6, title, bold=True)
    yield Text(LEFT - 6, axes.top + 9, words(axes.high), "end")
    yield Text(LEFT - 6, low, words(axes.low), "end")


def _versions(axes: _Axes, stable: Points, canary: Points) -> Iterator[Shape]:
    yield Line(axes.at(stable), STABLE)
    yield Line(axes.at(canary), CANARY, CANARYS)


def _requests(
    shown: History, seen: Sequence[Interval], strip: _Axes
) -> Iterator[Shape]:
    spans = [max(b.start - a.start, 1) for a, b in pairwise(seen)]
    rows = list(zip(seen, [*spans, spans[-1]], strict=True))
    stable = [(i.start, i.errors.stable_requests / span) for i, span in rows]
    canary = [(i.start, i.errors.canary_requests / span) for i, span in rows]
    axes = replace(strip, high=max(1.0, *(value for _, value in stable + canary)))
    title = "requests a second"
    yield from _frame(axes, title, lambda value: f"{value:,.0f}")
    yield from _legend(shown, LEFT + LETTER * len(title) + 20, axes.top - 6)
    yield from _versions(axes, stable, canary)


def _legend(shown: History, x: float, y: float) -> Iterator[Shape]:
    """Yield how each version's lines look, beside the first title."""
    for name, colour, dashes in (
        (shown.stable, STABLE, ()),
        (shown.canary, CANARY, CANARYS),
    ):
        yield Line(((x, y - 4), (x + 26, y - 4)), colour, dashes)
        yield Text(x + 32, y, name)
        x += 32 + LETTER * len(name) + 16


def _errors(shown: History, seen: Sequence[Interval], strip: _Axes) -> Iterator[Shape]:
    return _rates("error rate", [(i.start, i.errors) for i in seen], strip)


def _slow(shown: History, seen: Sequence[Interval], strip: _Axes) -> Iterator[Shape]:
    return _rates("slow requests", [(i.start, i.slow) for i in seen], strip)


def _rates(
    title: str, samples: Sequence[tuple[int, Sample]], strip: _Axes
) -> Iterator[Shape]:
    stable = [
        (at, s.stable_errors / s.stable_requests)
        for at, s in samples
        if s.stable_requests
    ]
    canary = [
        (at, s.canary_errors / s.canary_requests)
        for at, s in samples
        if s.canary_requests
    ]
    worst = max((value for _, value in stable + canary), default=0)
    axes = replace(strip, high=max(0.01, math.ceil(100 * worst) / 100))
    yield from _frame(axes, title, percent)
    yield from _versions(axes, stable, canary)


def _share(shown: History, seen: Sequence[Interval], axes: _Axes) -> Iterator[Shape]:
    title = (
        f"{shown.canary}'s share of the requests: seen (dots), its weight (dashes), "
        "what that allows (band)"
    )
    yield from _frame(axes, title, percent)
    busy = [i for i in seen if i.requests]
    for weight, group in groupby(busy, lambda i: _weight(shown, i.start)):
        if weight is None:
            continue
        bands = [(i.start, *share_band(weight, i.requests)) for i in group]
        lows, highs = (
            [(at, low) for at, low, _ in bands],
            [(at, high) for at, _, high in bands],
        )
        yield Area(axes.at(lows + highs[::-1]))
        yield Line(
            axes.at([(at, weight / 100) for at in (bands[0][0], bands[-1][0])]),
            dashes=WEIGHTS,
        )
    yield Dots(
        axes.at([(i.start, i.errors.canary_requests / i.requests) for i in busy]),
        CANARY,
    )


def _weight(shown: History, at: float) -> int | None:
    """Return the canary's weight at a moment, None where nobody knows; a way
    back is a weight of 0.
    """
    moves = [
        d
        for d in shown.decisions
        if d["phase"] in ("written", "rolled back") and d["at"] <= at
    ]
    if moves:
        return 0 if moves[-1]["phase"] == "rolled back" else int(moves[-1]["step"])
    first = next(
        (d for d in shown.decisions if d["phase"] not in ("approved", "hold")), None
    )  # those say what is to be
    return (
        int(first["step"])
        if first and first["phase"] not in ("written", "rolled back")
        else None
    )


def _evidence(
    shown: History, seen: Sequence[Interval], strip: _Axes
) -> Iterator[Shape]:
    line = math.log10(shown.needed)
    axes = replace(strip, low=-1, high=max(EVIDENCE, math.ceil(line) + 1))
    title = f"evidence against {shown.canary}; FAIL above {shown.needed:,.0f} to 1"
    yield from _frame(axes, title, lambda value: f"{10**value:,g} to 1")
    yield Line(axes.at([(axes.begin, line), (axes.end, line)]), LIMIT, LIMITS)
    yield Text(WIDTH - RIGHT + 5, axes.y(line) + 4, "FAIL")
    later = shown.intervals[len(shown.intervals) - len(shown.evidence) :]
    points = [
        (i.start, e / math.log(10))
        for i, e in zip(later, shown.evidence, strict=True)
        if i.start > 0
    ]
    yield Line(axes.at(points[:: max(1, len(points) // MOST)] + points[-1:]), CANARY)


def _ticks(time: _Axes, y: float) -> Iterator[Shape]:
    span = max(time.end - time.begin, 1)
    tick = next(t for t in TICKS if span / t <= 9)
    unit, size = ("s", 1) if tick < 60 else ("min", 60)
    for number in range(int(span // tick) + 1):
        yield Text(
            time.x(time.begin + number * tick),
            y,
            f"{number * tick // size} {unit}",
            "middle",
        )
