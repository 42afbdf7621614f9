"""Map an environment: who calls whom, through what, on which tasks, and what a plan would change of it.

Pure but for the look it is given. The picture and the words are made of the same boxes and arrows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from runbook_lib.display.drawing import BAD, GOOD, WARN, Area, Drawing, Line, Shape, Text, percent
from runbook_lib.plan import Plan
from runbook_lib.survey import Survey
from runbook_lib.wording import moved

__all__ = ["Box", "Edge", "Topology", "mapped"]

COLUMNS = ("calls", "name dialled", "router and route", "node", "tasks and sidecar")
CALLERS, NAMES, ROUTERS, NODES, TASKS = range(len(COLUMNS))
LEFTS = (16, 198, 380, 626, 808)  # of the columns; the weights stand before the nodes
WIDTH, WIDE, HIGH, PITCH, TOP, LINE, LETTER = 960, 136, 50, 72, 64, 14, 6.6
DASHES = (4, 3)
LEGEND = "dashed: not there yet · thick, with a verb: what the plan changes · +n: and n changes more"
VERBS = {"create": GOOD, "register": GOOD, "attach": GOOD, "delete": BAD, "deregister": BAD, "detach": BAD}
OF_TASKS = {"service", "scaling", "definition", "revision", "policy"}  # the kinds of changes that are about tasks

Edge = tuple[str, str, str]  # from a box, to a box, and the words on the arrow


@dataclass(frozen=True, slots=True)
class Box:
    """One thing on the map: its column and lines, whether it is there, and a plan's changes of it, by their names."""

    column: int
    lines: tuple[str, ...]
    there: bool
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """The mesh and the boxes around and in it, by their names in plans, and the arrows between them.

    `changes` are a plan's, in its order, by their verbs and names.
    """

    boxes: Mapping[str, Box]
    edges: tuple[Edge, ...]
    mesh: str
    changes: tuple[str, ...] = ()

    def words(self) -> str:
        """Return the whole map in words, for those who cannot see it."""
        aimed = {to for _, to, _ in self.edges}
        told = [self._said(self.mesh)]
        for key, box in self.boxes.items():
            targets = [self._said(to) + (f" ({label})" if label else "") for a, to, label in self.edges if a == key]
            own = self._said(key) if key not in aimed else _plain(key)
            if targets:
                told.append(f"{own} {'calls' if box.column == CALLERS else '→'} {', '.join(targets)}")
        marked = f" To be changed: {', '.join(self.changes)}." if self.changes else ""
        return f"{'; '.join(told)}.{marked}"

    def _said(self, key: str) -> str:
        box = self.boxes[key]
        more = [*(box.lines[1:] if box.column == TASKS else ()), *([] if box.there else ["not there yet"])]
        return _plain(key) + (f" ({', '.join(more)})" if more else "")

    def drawn(self) -> Drawing:
        """Draw the map: arrows from left to right, all of the mesh in one frame."""
        places, rows = _places(self)
        bottom = TOP + rows * PITCH - 10
        shapes: list[Shape] = [
            Text(x + WIDE / 2, 13, name, "middle", bold=True) for x, name in zip(LEFTS, COLUMNS, strict=True)
        ]
        left, right = LEFTS[NAMES] - 12, LEFTS[NODES] + WIDE + 12
        shapes += _outlined((left, 22, right, bottom), self.boxes[self.mesh], self.mesh, (right - 8, 37))
        shapes += [Text(left + 8, 37, self.mesh), Text(16, bottom + 18, LEGEND)]
        for edge in self.edges:
            shapes += _arrow(self, places, edge)
        for key, box in self.boxes.items():
            if key in places:
                shapes += _drawn(key, box, places[key])
        return Drawing(WIDTH, bottom + 26, tuple(shapes), self.words())


def _plain(key: str) -> str:
    return key.removeprefix("caller ").removeprefix("virtual service ")


# --- what is on it ------------------------------------------------------------------------------------------


def mapped(found: Survey, plan: Plan | None = None) -> Topology:
    """Return the map of what was found, with what a plan would change, the weights it would write among it."""
    boxes = _boxes(found)
    changes = {f"{change.verb} {change.name}": set(_touched(found, change.name, boxes)) for change in plan or ()}
    marked = {
        key: replace(box, changes=tuple(change for change, touched in changes.items() if key in touched))
        for key, box in boxes.items()
    }
    return Topology(
        marked, tuple(_edges(found, plan or Plan("nothing"))), f"mesh {found.parameters.mesh.name}", tuple(changes)
    )


def _boxes(found: Survey) -> dict[str, Box]:
    p = found.parameters
    left = {name: service for name, service in p.services.items() if name not in found.lifecycle.retired}
    running = {name: bool(found.running[name].state) for name in left}

    def put(key: str, column: int, *lines: str, there: bool | None = None) -> None:
        boxes[key] = Box(column, lines, bool(found.live.get(key)) if there is None else there)

    boxes: dict[str, Box] = {}
    put(f"mesh {p.mesh.name}", -1, p.mesh.name)
    for name in (name for name, service in left.items() if service.backends):
        put(f"caller {name}", CALLERS, name, there=running[name])
    for name in p.virtual_services:
        put(f"virtual service {name}", NAMES, name)
    for router, route in ((router, route) for router, known in p.routers.items() for route in known.routes):
        put(f"route {router}/{route}", ROUTERS, f"router {router}", f"route {route}")
    for name in left:
        put(f"virtual node {name}", NODES, name)
        put(f"service {name}", TASKS, name, *_tasks(found, name), there=running[name])
    return boxes


def _tasks(found: Survey, name: str) -> tuple[str, ...]:
    """Return how many of a service's tasks run, and how its sidecars are."""
    state = found.running[name].state
    if not state:
        return ("no service",)
    health = [c["health"] for t in found.tasks if t["service"] == name for c in t["containers"] if c["name"] == "envoy"]
    sidecars = ", ".join(f"{health.count(h)} sidecar {h.lower()}" for h in sorted(set(health))) or "no sidecar"
    return f"{state['runningCount']} of {state['desiredCount']} run", sidecars


def _edges(found: Survey, plan: Plan) -> Iterator[Edge]:
    """Yield the arrows between what is on the map."""
    p = found.parameters
    there = [name for name in p.services if name not in found.lifecycle.retired]
    for name in there:
        yield from ((f"caller {name}", f"virtual service {backend}", "") for backend in p.services[name].backends)
    for name, provider in p.virtual_services.items():
        if provider.node in there:
            yield f"virtual service {name}", f"virtual node {provider.node}", ""
        routes = p.routers[provider.router].routes if provider.router else ()
        yield from ((f"virtual service {name}", f"route {provider.router}/{route}", "") for route in routes)
    for router, route in ((router, route) for router, known in p.routers.items() for route in known.routes):
        targets = _targets(found, router, route, plan)
        yield from ((f"route {router}/{route}", f"virtual node {to}", label) for to, label in targets if to in there)
    yield from ((f"virtual node {name}", f"service {name}", "") for name in there)


def _targets(found: Survey, router: str, route: str, plan: Plan) -> Iterable[tuple[str, str]]:
    """Return who answers a route, with the weight in words: what is in force where the traffic is under shift."""
    p = found.parameters
    targets = p.routers[router].routes[route].targets
    if isinstance(targets, dict):
        return [(node, percent(weight / 100)) for node, weight in targets.items()]
    now = found.split.weights if (router, route) == (p.router, p.route) else {}
    if not now:
        return [(node, "") for node in targets]
    after: dict[str, int | None] = dict(now)
    for change in plan:
        after |= moved(change) if change.name == f"route {router}/{route}" else {}
    return [(name, _weight(weight, after[name])) for name, weight in now.items()]


def _weight(now: int, after: int | None) -> str:
    if after is None:
        return f"{now} → –"
    return ("" if after == now else f"{now} → ") + percent(after / 100)


def _touched(found: Survey, change: str, boxes: Mapping[str, Box]) -> Iterator[str]:
    """Yield the boxes a change is about: its own, or that of the thing it is a part of."""
    p, kind, words = found.parameters, change.split()[0], set(change.replace(":", " ").replace("'s ", " ").split())
    if change in boxes:
        yield change
    elif change.startswith("virtual router "):
        yield from (key for key in boxes if key.startswith(f"route {change.split()[-1]}/"))
    elif kind == "mark":
        yield f"route {p.router}/{p.route}"
    elif kind == "address":
        yield f"virtual service {p.shift.name}"
    elif kind in OF_TASKS:
        roles = {c.service: c.role for c in found.credentials} if kind == "policy" else {}
        own = []
        for name in (name for name in p.services if f"service {name}" in boxes):
            family = (found.running[name].definition or {}).get("family", p.services[name].task_definition)
            if words & {name, family, roles.get(name)}:
                own.append(f"service {name}")
        retired = [f"mesh {p.mesh.name}"] if kind == "policy" else []  # its service is gone: it let Envoy into the mesh
        yield from own or retired


# --- how it is drawn ----------------------------------------------------------------------------------------

Place = tuple[float, float, float, float]  # left, top, right, bottom


def _places(shown: Topology) -> tuple[dict[str, Place], int]:
    """Return where each box stands, and how many rows there are; arrows past the routers have a row of their own."""
    stacks = [[key for key, box in shown.boxes.items() if box.column == x] for x in range(len(COLUMNS))]
    stacks[ROUTERS] = [f"past {a}" for a, to, _ in shown.edges if _passes(shown, a, to)] + stacks[ROUTERS]
    rows = max(map(len, stacks))
    places: dict[str, Place] = {}
    for left, stack in zip(LEFTS, stacks, strict=True):
        for row, key in enumerate(stack):
            top = TOP + PITCH * (row + (rows - len(stack)) / 2)
            places[key] = (left, top, left + WIDE, top + HIGH)
    return places, rows


def _passes(shown: Topology, a: str, to: str) -> bool:
    return shown.boxes[a].column == NAMES and shown.boxes[to].column == NODES


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
