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
    outline,
    weight_words,
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

# pixels
WIDTH = 960
# of the columns; the weights stand before those who answer
LEFTS = (16, 198, 380, 626, 808)
TOP = 64  # of the first row
WIDE = 136  # a box
HIGH = 50
PITCH = 72  # from one row to the next
LINE = 14  # from one line of words to the next
LETTER = 6.6  # how wide one is at most
MARGIN = 12  # of the frame around its columns
GAP = 3  # between a box and an arrow
TIP = 5  # of an arrow, over which its line does not reach
HEAD_LONG = 8  # of an arrow
HEAD_WIDE = 4  # to each side
THIN = 1.0  # the line around a box
BOLD = 2.6  # the same, where a plan changes it
PEN = 1.2  # an arrow's line
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


class Point(NamedTuple):
    """A point of the paper."""

    x: float
    y: float


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
        name = _called(key, box)
        return f"{name} ({', '.join(state)})" if state else name

    def drawn(self) -> Drawing:
        """Draw the map: arrows from left to right, most of it in one frame."""
        places, rows = _places(self)
        bottom = TOP + rows * PITCH - 10
        shapes: list[Shape] = []
        for left, caption in zip(LEFTS, self.columns, strict=True):
            shapes.append(Text(left + WIDE / 2, 13, caption, "middle", bold=True))
        left, right = LEFTS[NAMES] - MARGIN, LEFTS[ANSWERS] + WIDE + MARGIN
        frame = Place(left, 22, right, bottom)
        shapes += _outlined(self, self.frame, frame, Point(frame.right - 8, 37))
        shapes.append(Text(frame.left + 8, 37, self.frame))
        shapes.append(Text(LEFTS[0], bottom + 18, LEGEND))
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
    return Topology(
        boxes=chart.boxes,
        edges=tuple(map(_edge, chart.arrows)),
        frame=chart.frame,
        columns=chart.columns,
        changes=plan.changes,
        changes_on=_changes_on(chart, plan),
    )


def _edge(arrow: Arrow) -> Edge:
    return Edge(arrow.start, arrow.end, _label(arrow))


def _changes_on(chart: Chart, plan: Plan) -> dict[str, tuple[Change, ...]]:
    """Return each box's changes: of itself, of its parts, of what is shown within it.

    The frame has those whose thing has no box: it is gone, or was never on the map.
    """
    changes_on: dict[str, tuple[Change, ...]] = {}
    for change in plan:
        for key in _boxes_of(chart, change) or [chart.frame]:
            changes_on[key] = (*changes_on.get(key, ()), change)
    return changes_on


def _boxes_of(chart: Chart, change: Change) -> list[str]:
    """Return the keys of the boxes that show a change, each once."""
    keys: list[str] = []
    for about in change.about:
        if about in chart.boxes:
            keys.append(about)
        else:
            keys += chart.within.get(about, ())
    return list(dict.fromkeys(keys))


def _label(arrow: Arrow) -> str:
    """Return the weight on an arrow in words, with what it would become."""
    now, after = arrow.weight, arrow.after
    if now is None:
        return ""
    if after is None:
        return f"{now} → –"
    share = weight_words(after)
    return share if after == now else f"{now} → {share}"


# --- how it is drawn ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
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
    for edge in shown.edges:
        if _passes(shown, edge):
            stacks[DIVIDES].append(_past(edge))
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
    start, end = shown.boxes[edge.start], shown.boxes[edge.end]
    return start.column == NAMES and end.column == ANSWERS


def _past(edge: Edge) -> str:
    """Return the key of the room that an arrow takes past what divides."""
    return f"past {edge.start}"


def _arrow(shown: Topology, places: Mapping[str, Place], edge: Edge) -> Iterator[Shape]:
    """Yield an arrow, its line broken where words stand on it, dashed where it leads
    from or to nothing yet.
    """
    both_there = shown.boxes[edge.start].there and shown.boxes[edge.end].there
    dashes = () if both_there else DASHES
    start = Point(places[edge.start].right + GAP, places[edge.start].middle)
    end = Point(places[edge.end].left - GAP, places[edge.end].middle)
    tip = Point(end.x - TIP, end.y)
    if _passes(shown, edge):
        past = places[_past(edge)]
        bends = (Point(past.left, past.middle), Point(past.right, past.middle))
        yield Line((start, *bends, tip), "", dashes, PEN)
    elif edge.label:
        for ends in _around(start, end, edge.label):
            yield Line(ends, "", dashes, PEN)
        middle = _between(start, end, 0.5)
        yield Text(middle.x, middle.y + 4, edge.label, "middle", bold=True)
    else:
        yield Line((start, tip), "", dashes, PEN)
    yield _head(end)


def _head(end: Point) -> Area:
    """Return an arrow's head, whose point is at its end."""
    back = end.x - HEAD_LONG
    corners = (end, Point(back, end.y - HEAD_WIDE), Point(back, end.y + HEAD_WIDE))
    return Area(corners, faint=False)


def _around(start: Point, end: Point, label: str) -> Iterator[tuple[Point, Point]]:
    """Yield the two parts of a line that words stand on, in its middle."""
    long = end.x - start.x
    half = LETTER * len(label) / 2 / long
    yield start, _between(start, end, 0.5 - half)
    yield _between(start, end, 0.5 + half), _between(start, end, 1 - TIP / long)


def _between(start: Point, end: Point, part: float) -> Point:
    """Return the point after this part of the way, a fraction of 1."""
    x = start.x + part * (end.x - start.x)
    return Point(x, start.y + part * (end.y - start.y))


def _drawn(shown: Topology, key: str, place: Place) -> Iterator[Shape]:
    box = shown.boxes[key]
    yield from _outlined(shown, key, place, Point(place.right, place.top - 4))
    centre = (place.left + place.right) / 2
    first = place.middle + 4 - LINE * (len(box.lines) - 1) / 2
    for number, line in enumerate(box.lines):
        yield Text(centre, first + LINE * number, line, "middle")


def _outlined(shown: Topology, key: str, place: Place, at: Point) -> Iterator[Shape]:
    """Yield a frame, and at the point given what would happen to it."""
    around = outline(place.left, place.top, place.right, place.bottom)
    dashes = () if shown.boxes[key].there else DASHES
    changes = shown.changes_on.get(key, ())
    if not changes:
        yield Line(around, "", dashes, THIN)
        return
    verb = _verb(key, changes)
    colour = VERBS.get(verb, WARN)
    more = f" +{len(changes) - 1}" if len(changes) > 1 else ""
    yield Line(around, colour, dashes, BOLD)
    yield Text(at.x, at.y, verb + more, "end", bold=True, colour=colour)


def _verb(key: str, changes: tuple[Change, ...]) -> str:
    """Return what happens to a thing itself, else to the first of its parts."""
    for change in changes:
        if change.thing == key:
            return change.verb
    return changes[0].verb
