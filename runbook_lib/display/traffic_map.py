"""Map an environment: who calls whom, through what, on which tasks, and what a plan
would change of it.

Pure but for the look it is given. The picture and the words are made of the
same boxes and arrows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from runbook_lib.display.drawing import (
    BAD,
    GOOD,
    WARN,
    Area,
    Drawing,
    Line,
    Shape,
    Text,
    percent,
)
from runbook_lib.engines.protocol import (
    ANSWERS,
    CALLERS,
    DIVIDES,
    NAMES,
    TASKS,
    Arrow,
    Box,
    Chart,
)
from runbook_lib.plan import Change, Plan
from runbook_lib.survey import Survey

__all__ = ["Edge", "Topology", "mapped"]

# of the columns; the weights stand before those who answer
LEFTS = (16, 198, 380, 626, 808)
WIDTH, WIDE, HIGH, PITCH, TOP, LINE, LETTER = 960, 136, 50, 72, 64, 14, 6.6
MARGIN = 12  # of the frame around its columns
GAP = 3  # between a box and an arrow
TIP = 5  # of an arrow, over which its line does not reach
HEAD = (8, 4)  # how long and how wide to each side an arrow's head is
THIN, BOLD, PEN = 1.0, 2.6, 1.2
DASHES = (4, 3)
LEGEND = (
    "dashed: not there yet · thick, with a verb: what the plan changes · +n: "
    "and n changes more"
)
VERBS = {
    "create": GOOD,
    "register": GOOD,
    "attach": GOOD,
    "delete": BAD,
    "deregister": BAD,
    "detach": BAD,
}

Point = tuple[float, float]


class Edge(NamedTuple):
    """An arrow from a box to a box, by their keys, and the words on it."""

    start: str
    end: str
    label: str


@dataclass(frozen=True, slots=True)
class Topology:
    """The boxes of an environment, by their names in plans, and the
    arrows between them.

    `frame` is the box around most of them. `changes` are a plan's, in its order;
    `changes_on` has those that each box is to show.
    """

    boxes: Mapping[str, Box]
    edges: tuple[Edge, ...]
    frame: str
    columns: tuple[str, ...]
    changes: tuple[Change, ...] = ()
    changes_on: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)

    def words(self) -> str:
        """Return the whole map in words, for those who cannot see it."""
        sentences = [self._said(self.frame), *self._led()]
        titles = dict.fromkeys(change.title for change in self.changes)
        marked = f" To be changed: {', '.join(titles)}." if titles else ""
        return f"{'; '.join(sentences)}.{marked}"

    def _led(self) -> Iterator[str]:
        """Say of each box where it leads."""
        led_to = {edge.end for edge in self.edges}
        for key, box in self.boxes.items():
            targets = [self._target(edge) for edge in self.edges if edge.start == key]
            if not targets:
                continue
            was_said = key in led_to  # with its state, where something leads to it
            own = _called(key, box) if was_said else self._said(key)
            verb = "calls" if box.column == CALLERS else "→"
            yield f"{own} {verb} {', '.join(targets)}"

    def _target(self, edge: Edge) -> str:
        weight = f" ({edge.label})" if edge.label else ""
        return self._said(edge.end) + weight

    def _said(self, key: str) -> str:
        """Return a box's name, with how its tasks are and whether
        it is there at all.
        """
        box = self.boxes[key]
        state = list(box.lines[1:]) if box.column == TASKS else []
        if not box.there:
            state.append("not there yet")
        return _called(key, box) + (f" ({', '.join(state)})" if state else "")

    def drawn(self) -> Drawing:
        """Draw the map: arrows from left to right, most of it in one frame."""
        places, rows = _places(self)
        bottom = TOP + rows * PITCH - 10
        shapes: list[Shape] = []
        for left, caption in zip(LEFTS, self.columns, strict=True):
            shapes.append(Text(left + WIDE / 2, 13, caption, "middle", bold=True))
        frame = Place(LEFTS[NAMES] - MARGIN, 22, LEFTS[ANSWERS] + WIDE + MARGIN, bottom)
        shapes += _outlined(self, self.frame, frame, (frame.right - 8, 37))
        shapes += [Text(frame.left + 8, 37, self.frame), Text(16, bottom + 18, LEGEND)]
        for edge in self.edges:
            shapes += _arrow(self, places, edge)
        for key, place in places.items():
            if key in self.boxes:
                shapes += _drawn(self, key, place)
        return Drawing(WIDTH, bottom + 26, tuple(shapes), self.words())


def _called(key: str, box: Box) -> str:
    return box.called or key


# --- what is on it --------------------------------------------------------------------


def mapped(found: Survey, plan: Plan | None = None) -> Topology:
    """Return the map of what was found, with what a plan would change, the weights it
    would write among it.
    """
    plan = plan or Plan("nothing")
    chart = found.engine.chart(found, plan)
    edges = tuple(Edge(arrow.start, arrow.end, _label(arrow)) for arrow in chart.arrows)
    return Topology(
        chart.boxes,
        edges,
        chart.frame,
        chart.columns,
        plan.changes,
        _changes_on(chart, plan),
    )


def _changes_on(chart: Chart, plan: Plan) -> dict[str, tuple[Change, ...]]:
    """Return each box's changes: of itself, of its parts, of what is shown within it.

    The frame has those whose thing has no box: it is gone, or was never on the map.
    """
    found: dict[str, tuple[Change, ...]] = {}
    for change in plan:
        keys = [key for about in change.about for key in _shown_at(chart, about)]
        for key in dict.fromkeys(keys or [chart.frame]):
            found[key] = (*found.get(key, ()), change)
    return found


def _shown_at(chart: Chart, about: str) -> tuple[str, ...]:
    return (about,) if about in chart.boxes else chart.within.get(about, ())


def _label(arrow: Arrow) -> str:
    """Return the weight on an arrow in words, with what it would become."""
    now, after = arrow.weight, arrow.after
    if now is None:
        return ""
    if after is None:
        return f"{now} → –"
    share = percent(after / 100)
    return share if after == now else f"{now} → {share}"


# --- how it is drawn ------------------------------------------------------------------


class Place(NamedTuple):
    """Where something stands."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> float:
        """The height of its middle."""
        return (self.top + self.bottom) / 2


def _places(shown: Topology) -> tuple[dict[str, Place], int]:
    """Return where each box stands, and how many rows there are; arrows past what
    divides have a row of their own.
    """
    stacks: list[list[str]] = [[] for _ in LEFTS]
    stacks[DIVIDES] = [_past(edge) for edge in shown.edges if _passes(shown, edge)]
    for key, box in shown.boxes.items():
        if 0 <= box.column < len(stacks):
            stacks[box.column].append(key)
    rows = max(map(len, stacks))
    places: dict[str, Place] = {}
    for left, stack in zip(LEFTS, stacks, strict=True):
        above = (rows - len(stack)) / 2
        for row, key in enumerate(stack):
            top = TOP + PITCH * (row + above)
            places[key] = Place(left, top, left + WIDE, top + HIGH)
    return places, rows


def _passes(shown: Topology, edge: Edge) -> bool:
    """Say whether an arrow leads from a name to who answers it, past what divides."""
    return (
        shown.boxes[edge.start].column == NAMES
        and shown.boxes[edge.end].column == ANSWERS
    )


def _past(edge: Edge) -> str:
    """Return the key of the room that an arrow takes past what divides."""
    return f"past {edge.start}"


def _arrow(shown: Topology, places: Mapping[str, Place], edge: Edge) -> Iterator[Shape]:
    """Yield an arrow, its line broken where words stand on it, dashed where it leads
    from or to nothing yet.
    """
    both_there = shown.boxes[edge.start].there and shown.boxes[edge.end].there
    dashes = () if both_there else DASHES
    start, end = places[edge.start], places[edge.end]
    x1, y1 = start.right + GAP, start.middle
    x2, y2 = end.left - GAP, end.middle
    tip = (x2 - TIP, y2)
    if _passes(shown, edge):
        past = places[_past(edge)]
        bends = ((past.left, past.middle), (past.right, past.middle))
        yield Line(((x1, y1), *bends, tip), "", dashes, PEN)
    elif edge.label:
        for ends in _around((x1, y1), (x2, y2), edge.label):
            yield Line(ends, "", dashes, PEN)
        yield Text((x1 + x2) / 2, (y1 + y2) / 2 + 4, edge.label, "middle", bold=True)
    else:
        yield Line(((x1, y1), tip), "", dashes, PEN)
    long, wide = HEAD
    yield Area(((x2, y2), (x2 - long, y2 - wide), (x2 - long, y2 + wide)), faint=False)


def _around(start: Point, end: Point, label: str) -> Iterator[tuple[Point, ...]]:
    """Yield the two parts of a line that words stand on, in its middle."""
    (x1, y1), (x2, y2) = start, end
    long, high = x2 - x1, y2 - y1
    half = LETTER * len(label) / 2 / long

    def at(part: float) -> Point:
        return (x1 + part * long, y1 + part * high)

    yield at(0.0), at(0.5 - half)
    yield at(0.5 + half), at(1 - TIP / long)


def _drawn(shown: Topology, key: str, place: Place) -> Iterator[Shape]:
    box = shown.boxes[key]
    yield from _outlined(shown, key, place, (place.right, place.top - 4))
    centre = (place.left + place.right) / 2
    first = place.middle + 4 - LINE * (len(box.lines) - 1) / 2
    for number, line in enumerate(box.lines):
        yield Text(centre, first + LINE * number, line, "middle")


def _outlined(shown: Topology, key: str, place: Place, at: Point) -> Iterator[Shape]:
    """Yield a frame, and at the point given what would happen to it."""
    left, top, right, bottom = place
    corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    dashes = () if shown.boxes[key].there else DASHES
    changes = shown.changes_on.get(key, ())
    if not changes:
        yield Line(corners, "", dashes, THIN)
        return
    verb = _verb(key, changes)
    colour = VERBS.get(verb, WARN)
    more = f" +{len(changes) - 1}" if len(changes) > 1 else ""
    yield Line(corners, colour, dashes, BOLD)
    yield Text(*at, verb + more, "end", bold=True, colour=colour)


def _verb(key: str, changes: tuple[Change, ...]) -> str:
    """Return what happens to a thing itself, else to the first of its parts."""
    for change in changes:
        if change.thing == key:
            return change.verb
    return changes[0].verb
