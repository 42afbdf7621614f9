"""Draw a shift as it moves: an inline SVG on one time axis, in the colours of the page it stands in.

Pure and cheap, since it is drawn again and again: values in, text out, the same for the same values.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from runbook_lib.forecast import share_band
from runbook_lib.history import History
from runbook_lib.telemetry import Interval

__all__ = ["draw", "drawn_words", "thinned"]

STABLE, CANARY, BAD = "#218bff", "#e16f24", "#e5534b"  # told apart on white and on black, and by their dashes
WIDTH, LEFT, RIGHT, HEIGHT, GAP, TOP, BOTTOM = 860, 84, 12, 84, 22, 46, 30
MOST = 180  # points that are told apart at this width
EVIDENCE = 4.0  # powers of ten; more is off the paper


@dataclass(frozen=True, slots=True)
class _Axes:
    """One strip of the picture: where values of time and of its own scale come to stand."""

    top: float
    low: float
    high: float
    begin: float
    end: float

    def x(self, at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - self.begin) / max(self.end - self.begin, 1)

    def y(self, value: float) -> float:
        kept = min(max(value, self.low), self.high)
        return self.top + HEIGHT * (1 - (kept - self.low) / (self.high - self.low))

    def line(self, points: Sequence[tuple[float, float]], style: str) -> str:
        path = " ".join(f"{self.x(at):.1f},{self.y(value):.1f}" for at, value in points)
        return f"<polyline points='{path}' fill='none' {style}/>"


def thinned(intervals: Sequence[Interval], most: int = MOST) -> list[Interval]:
    """Return at most this many intervals, neighbours added up: what is drawn costs the same however long it took."""
    bunch = math.ceil(len(intervals) / most) if intervals else 1
    groups = [intervals[i : i + bunch] for i in range(0, len(intervals), bunch)]
    return [_added(group) for group in groups]


def _added(group: Sequence[Interval]) -> Interval:
    first = group[0]
    for each in group[1:]:
        first = Interval(first.start, first.errors + each.errors, first.slow + each.slow)
    return first


def drawn_words(shown: History) -> str:
    """Return what the picture shows, for those who cannot see it."""
    stable = sum(i.errors.stable_requests for i in shown.intervals)
    canary = sum(i.errors.canary_requests for i in shown.intervals)
    bad = sum(i.errors.canary_errors for i in shown.intervals)
    events = "; ".join(label for _, label in _events(shown)) or "no event yet"
    return f"{shown.stable} answered {stable:,}, {shown.canary} {canary:,} requests, {bad:,} of them in error. {events}"


def draw(shown: History, needed: float = 100.0) -> str:
    """Return requests, error rates, share against weight, and evidence against its line, as SVG.

    `needed` is the evidence that makes a FAIL, as odds to 1. An interval ends where the next one begins.
    """
    intervals = thinned(shown.intervals)
    if len(intervals) < 2:
        return ""
    moments = [*(float(i.start) for i in intervals), *(at for at, _ in _events(shown))]
    begin, end = min(moments), max(moments)
    tops = [TOP + i * (HEIGHT + GAP) for i in range(4)]
    strips = [
        _requests(shown, intervals, tops[0], begin, end),
        _errors(intervals, tops[1], begin, end),
        _share(shown, intervals, tops[2], begin, end),
        _evidence(shown, tops[3], begin, end, math.log10(needed)),
    ]
    height = tops[-1] + HEIGHT + BOTTOM
    time = _Axes(tops[-1], 0, 1, begin, end)
    parts = [*(part for strip in strips for part in strip), *_marks(shown, time, tops[-1] + HEIGHT), *_seconds(time)]
    return (
        f"<svg viewBox='0 0 {WIDTH} {height}' width='100%' style='max-width:{WIDTH}px' role='img' "
        f"font-family='sans-serif' font-size='11' fill='currentColor' aria-label='{html.escape(drawn_words(shown))}'>"
        f"{''.join(parts)}</svg>"
    )


def _frame(axes: _Axes, name: str, words: Callable[[float], str]) -> Iterator[str]:
    yield f"<rect x='{LEFT}' y='{axes.top}' width='{WIDTH - LEFT - RIGHT}' height='{HEIGHT}' {_FAINT}/>"
    yield f"<text x='{LEFT}' y='{axes.top - 5}' font-weight='600'>{html.escape(name)}</text>"
    for value in (axes.low, axes.high):
        y = axes.y(value) + (4 if value == axes.low else 8)
        yield f"<text x='{LEFT - 6}' y='{y:.1f}' text-anchor='end'>{words(value)}</text>"


_FAINT = "fill='none' stroke='currentColor' stroke-opacity='.25'"


def _pen(colour: str, dashes: str = "") -> str:
    return f"stroke='{colour}' stroke-width='1.8'" + (f" stroke-dasharray='{dashes}'" if dashes else "")


def _seconds_of(intervals: Sequence[Interval]) -> list[float]:
    starts = [float(i.start) for i in intervals]
    spans = [max(b - a, 1.0) for a, b in pairwise(starts)]
    return [*spans, spans[-1]]


def _requests(shown: History, intervals: Sequence[Interval], top: float, begin: float, end: float) -> Iterator[str]:
    spans = _seconds_of(intervals)
    stable = [(i.start, i.errors.stable_requests / s) for i, s in zip(intervals, spans, strict=True)]
    canary = [(i.start, i.errors.canary_requests / s) for i, s in zip(intervals, spans, strict=True)]
    axes = _Axes(top, 0, max(1.0, *(v for _, v in stable), *(v for _, v in canary)), begin, end)
    name = f"requests a second: {shown.stable} ———  {shown.canary} – – –"
    yield from _frame(axes, name, lambda v: f"{v:,.0f}")
    yield axes.line(stable, _pen(STABLE))
    yield axes.line(canary, _pen(CANARY, "6 3"))


def _errors(intervals: Sequence[Interval], top: float, begin: float, end: float) -> Iterator[str]:
    stable = [
        (i.start, i.errors.stable_errors / i.errors.stable_requests) for i in intervals if i.errors.stable_requests
    ]
    canary = [
        (i.start, i.errors.canary_errors / i.errors.canary_requests) for i in intervals if i.errors.canary_requests
    ]
    axes = _Axes(top, 0, max(0.01, *(v for _, v in stable), *(v for _, v in canary), 0.0), begin, end)
    yield from _frame(axes, "error rate", lambda v: f"{v:.0%}")
    yield axes.line(stable, _pen(STABLE))
    yield axes.line(canary, _pen(CANARY, "6 3"))


def _share(shown: History, intervals: Sequence[Interval], top: float, begin: float, end: float) -> Iterator[str]:
    axes = _Axes(top, 0, 1, begin, end)
    name = f"{shown.canary}'s share: observed ●, band of its weight ▒"
    yield from _frame(axes, name, lambda v: f"{v:.0%}")
    rows = [(i, _weight(shown, i.start)) for i in intervals if i.requests]
    bands = [(i.start, *share_band(weight, i.requests)) for i, weight in rows]
    outline = [(at, low) for at, low, _ in bands] + [(at, high) for at, _, high in reversed(bands)]
    yield axes.line(outline, "fill-opacity='.18' stroke='none'").replace("fill='none'", "fill='currentColor'")
    yield axes.line([(i.start, weight / 100) for i, weight in rows], "stroke='currentColor' stroke-dasharray='2 2'")
    for i, _ in rows:
        x, y = axes.x(i.start), axes.y(i.errors.canary_requests / i.requests)
        yield f"<circle cx='{x:.1f}' cy='{y:.1f}' r='2.2' fill='{CANARY}'/>"


def _evidence(shown: History, top: float, begin: float, end: float, line: float) -> Iterator[str]:
    axes = _Axes(top, -1, EVIDENCE, begin, end)
    yield from _frame(axes, f"evidence against {shown.canary}", lambda v: f"{10**v:,g} : 1")
    y = axes.y(line)
    yield f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}' {_pen(BAD, '8 3')}/>"
    yield f"<text x='{LEFT + 6}' y='{y - 4:.1f}'>FAIL above {10**line:,.0f} to 1</text>"
    later = shown.intervals[len(shown.intervals) - len(shown.evidence) :]
    points = [(float(i.start), e / math.log(10)) for i, e in zip(later, shown.evidence, strict=True)]
    yield axes.line(points[:: max(1, len(points) // MOST)] + points[-1:], _pen(CANARY))


def _events(shown: History) -> list[tuple[float, str]]:
    labels = {"written": "→ {step} %", "proved": "proved", "judged": "{verdict}", "rolled back": "ROLLED BACK"}
    labels |= {"approved": "approved", "hold": "HOLD"}
    return [(d["at"], labels[d["phase"]].format(**d)) for d in shown.decisions if d["phase"] in labels and d["at"]]


def _marks(shown: History, axes: _Axes, bottom: float) -> Iterator[str]:
    """Yield a line for each event, labelled on alternating heights so that neighbours can be read."""
    for number, (at, label) in enumerate(e for e in _events(shown) if axes.begin <= e[0] <= axes.end):
        x, high = axes.x(at), 11 + 12 * (number % 2)
        bold = " font-weight='700'" if label.isupper() else ""
        yield f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{high + 2}' y2='{bottom}' {_FAINT} stroke-dasharray='3 3'/>"
        anchor, beside = ("end", x - 3) if x > WIDTH - 110 else ("start", x + 3)
        yield f"<text x='{beside:.1f}' y='{high}' text-anchor='{anchor}'{bold}>{label}</text>"


def _seconds(axes: _Axes) -> Iterator[str]:
    span = max(axes.end - axes.begin, 1)
    tick = next(t for t in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 10**9) if span / t <= 9)
    unit, size = ("s", 1) if tick < 60 else ("min", 60)
    for number in range(int(span // tick) + 1):
        x, y = axes.x(axes.begin + number * tick), axes.top + HEIGHT + 16
        yield f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='middle'>{number * tick // size} {unit}</text>"


def _weight(shown: History, at: float) -> int:
    """Return the canary's weight at a moment; a way back is a weight of 0."""
    moves = [d for d in shown.decisions if d["phase"] in ("written", "rolled back") and d["at"] <= at]
    return 0 if not moves or moves[-1]["phase"] == "rolled back" else moves[-1]["step"]
