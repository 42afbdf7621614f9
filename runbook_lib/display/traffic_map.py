"""Map an environment: who calls whom, through what, on which tasks, and what a plan would change of it.

Pure but for the look it is given. The picture and the words are made of the same boxes and arrows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from runbook_lib.display.drawing import BAD, GOOD, WARN, Area, Drawing, Line, Shape, Text, percent
from runbook_lib.engines.protocol import ANSWERS, CALLERS, DIVIDES, NAMES, TASKS, Arrow, Box
from runbook_lib.plan import Change, Plan
from runbook_lib.survey import Survey

__all__ = ["Edge", "Topology", "mapped"]

LEFTS = (16, 198, 380, 626, 808)  # of the columns; the weights stand before those who answer
WIDTH, WIDE, HIGH, PITCH, TOP, LINE, LETTER = 960, 136, 50, 72, 64, 14, 6.6
DASHES = (4, 3)
LEGEND = "dashed: not there yet · thick, with a verb: what the plan changes · +n: and n changes more"
VERBS = {"create": GOOD, "register": GOOD, "attach": GOOD, "delete": BAD, "deregister": BAD, "detach": BAD}

Edge = tuple[str, str, str]  # from a box, to a box, and the words on the arrow


@dataclass(frozen=True, slots=True)
class Topology:
    """The boxes of an environment, by their names in plans, and the arrows between them.

    `frame` is the box around most of them. `changes` are a plan's, in its order, by their
    verbs and names.
    """

    boxes: Mapping[str, Box]
    edges: tuple[Edge, ...]
    frame: str
    columns: tuple[str, ...]
    changes: tuple[str, ...] = ()

    def words(self) -> str:
        """Return the whole map in words, for those who cannot see it."""
        aimed = {to for _, to, _ in self.edges}
        told = [self._said(self.frame)]
        for key, box in self.boxes.items():
            targets = [self._said(to) + (f" ({label})" if label else "") for a, to, label in self.edges if a == key]
            own = self._said(key) if key not in aimed else box.called or key
            if targets:
                told.append(f"{own} {'calls' if box.column == CALLERS else '→'} {', '.join(targets)}")
        marked = f" To be changed: {', '.join(self.changes)}." if self.changes else ""
        return f"{'; '.join(told)}.{marked}"

    def _said(self, key: str) -> str:
        box = self.boxes[key]
        more = [*(box.lines[1:] if box.column == TASKS else ()), *([] if box.there else ["not there yet"])]
        return (box.called or key) + (f" ({', '.join(more)})" if more else "")

    def drawn(self) -> Drawing:
        """Draw the map: arrows from left to right, most of it in one frame."""
        places, rows = _places(self)
        bottom = TOP + rows * PITCH - 10
        shapes: list[Shape] = [
            Text(x + WIDE / 2, 13, name, "middle", bold=True) for x, name in zip(LEFTS, self.columns, strict=True)
        ]
        left, right = LEFTS[NAMES] - 12, LEFTS[ANSWERS] + WIDE + 12
        shapes += _outlined((left, 22, right, bottom), self.boxes[self.frame], self.frame, (right - 8, 37))
        shapes += [Text(left + 8, 37, self.frame), Text(16, bottom + 18, LEGEND)]
        for edge in self.edges:
            shapes += _arrow(self, places, edge)
        for key, box in self.boxes.items():
            if key in places:
                shapes += _drawn(key, box, places[key])
        return Drawing(WIDTH, bottom + 26, tuple(shapes), self.words())


# --- what is on it ------------------------------------------------------------------------------------------


def mapped(found: Survey, plan: Plan | None = None) -> Topology:
    """Return the map of what was found, with what a plan would change, the weights it would write among it."""
    plan = plan or Plan("nothing")
    chart = found.engine.chart(found, plan)
    changes: dict[str, list[str]] = {}  # by the box that they are about
    for change in plan:
        for key in chart.touched[change.name]:
            changes.setdefault(key, []).append(_told(change))
    boxes = {key: replace(box, changes=tuple(dict.fromkeys(changes.get(key, ())))) for key, box in chart.boxes.items()}
    edges = tuple((arrow.start, arrow.end, _label(arrow)) for arrow in chart.arrows)
    told = tuple(dict.fromkeys(map(_told, plan)))
    return Topology(boxes, edges, chart.frame, chart.columns, told)


def _told(change: Change) -> str:
    return f"{change.verb} {change.name}"


def _label(arrow: Arrow) -> str:
    """Return the weight on an arrow in words, with what it would become."""
    now, after = arrow.weight, arrow.after
    if now is None:
        return ""
    if after is None:
        return f"{now} → –"
    return ("" if after == now else f"{now} → ") + percent(after / 100)


# --- how it is drawn ----------------------------------------------------------------------------------------

Place = tuple[float, float, float, float]  # left, top, right, bottom


def _places(shown: Topology) -> tuple[dict[str, Place], int]:
    """Return where each box stands, and how many rows there are; arrows past what divides have a row of their own."""
    stacks = [[key for key, box in shown.boxes.items() if box.column == x] for x in range(len(LEFTS))]
    stacks[DIVIDES] = [f"past {a}" for a, to, _ in shown.edges if _passes(shown, a, to)] + stacks[DIVIDES]
    rows = max(map(len, stacks))
    places: dict[str, Place] = {}
    for left, stack in zip(LEFTS, stacks, strict=True):
        for row, key in enumerate(stack):
            top = TOP + PITCH * (row + (rows - len(stack)) / 2)
            places[key] = (left, top, left + WIDE, top + HIGH)
    return places, rows


def _passes(shown: Topology, a: str, to: str) -> bool:
    return shown.boxes[a].column == NAMES and shown.boxes[to].column == ANSWERS


def _middle(place: Place) -> float:
    return (place[1] + place[3]) / 2


def _arrow(shown: Topology, places: Mapping[str, Place], edge: Edge) -> Iterator[Shape]:
    """Yield an arrow, its line broken where words stand on it, dashed where it leads from or to nothing yet."""
    a, to, label = edge
    dashes = () if shown.boxes[a].there and shown.boxes[to].there else DASHES
    x1, y1, x2, y2 = places[a][2] + 3, _middle(places[a]), places[to][0] - 3, _middle(places[to])
    if _passes(shown, a, to):
        past = places[f"past {a}"]
        yield Line(((x1, y1), (past[0], _middle(past)), (past[2], _middle(past)), (x2 - 5, y2)), "", dashes, 1.2)
    elif label:
        half = LETTER * len(label) / 2 / (x2 - x1)
        for begin, end in ((0.0, 0.5 - half), (0.5 + half, 1 - 5 / (x2 - x1))):
            ends = tuple((x1 + t * (x2 - x1), y1 + t * (y2 - y1)) for t in (begin, end))
            yield Line(ends, "", dashes, 1.2)
        yield Text((x1 + x2) / 2, (y1 + y2) / 2 + 4, label, "middle", bold=True)
    else:
        yield Line(((x1, y1), (x2 - 5, y2)), "", dashes, 1.2)
    yield Area(((x2, y2), (x2 - 8, y2 - 4), (x2 - 8, y2 + 4)), faint=False)


def _drawn(key: str, box: Box, place: Place) -> Iterator[Shape]:
    yield from _outlined(place, box, key)
    first = _middle(place) + 4 - LINE * (len(box.lines) - 1) / 2
    for number, line in enumerate(box.lines):
        yield Text((place[0] + place[2]) / 2, first + LINE * number, line, "middle")


def _outlined(place: Place, box: Box, key: str, verb: tuple[float, float] | None = None) -> Iterator[Shape]:
    """Yield a frame, and what would happen to it: at the point given, else above its upper right corner."""
    left, top, right, bottom = place
    corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    said = _deed(key, box.changes)
    colour = VERBS.get(said.split()[0], WARN) if said else ""
    yield Line(corners, colour, () if box.there else DASHES, 2.6 if said else 1)
    if said:
        yield Text(*(verb or (right, top - 4)), said, "end", bold=True, colour=colour)


def _deed(key: str, changes: tuple[str, ...]) -> str:
    """Return what happens to a thing itself, else to which part of it; and how much more."""
    if not changes:
        return ""
    own = next((change.split()[0] for change in changes if change.split(" ", 1)[1] == key), "")
    said = own or " ".join(changes[0].split()[:2])
    return said if len(changes) == 1 else f"{said} +{len(changes) - 1}"
