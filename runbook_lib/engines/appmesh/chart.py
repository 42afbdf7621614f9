"""Map what a mesh holds: callers, names, routes, nodes, tasks, and what a plan
would change of them.

Pure but for the look it is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from runbook_lib.engines.protocol import (
    ANSWERS,
    CALLERS,
    DIVIDES,
    FRAME,
    NAMES,
    TASKS,
    Arrow,
    Box,
    Chart,
    Look,
)
from runbook_lib.plan import Plan

COLUMNS = ("calls", "hostname", "router and route", "node", "tasks and sidecar")
ENVOY = "envoy"  # the container's name


def chart(look: Look, plan: Plan) -> Chart:
    """Return the map of what was found, and what of it a plan would change."""
    look.ahead("split", "live", "running", "tasks")
    boxes = dict(_boxes(look))
    arrows = tuple(_arrows(look, plan))
    return Chart(COLUMNS, _frame(look), boxes, arrows, _within(look))


def _within(look: Look) -> dict[str, tuple[str, ...]]:
    """Return in which boxes routers and names in discovery are shown, by their keys."""
    p = look.parameters
    found: dict[str, tuple[str, ...]] = {}
    for router, known in p.routers.items():
        routes = tuple(f"route {router}/{route}" for route in known.routes)
        found[f"virtual router {router}"] = routes
    for name in p.virtual_services:
        found[f"name {name}"] = (f"virtual service {name}",)
    return found


def _frame(look: Look) -> str:
    return f"mesh {look.parameters.mesh.name}"


def _left(look: Look) -> list[str]:
    """Return the services that have not been retired."""
    return look.lifecycle.left(look.parameters.services)


def _routes(look: Look) -> list[tuple[str, str]]:
    """Return each router with each of its routes."""
    routes = []
    for router, known in look.parameters.routers.items():
        routes += [(router, route) for route in known.routes]
    return routes


# --- the boxes ------------------------------------------------------------------------


def _boxes(look: Look) -> Iterator[tuple[str, Box]]:
    p = look.parameters

    def is_live(key: str) -> bool:
        return bool(look.live.get(key))

    frame = _frame(look)
    yield frame, Box(FRAME, (p.mesh.name,), is_live(frame))
    for name in _left(look):
        if p.services[name].backends:
            there = look.running[name].state is not None
            yield f"caller {name}", Box(CALLERS, (name,), there, called=name)
    for name in p.virtual_services:
        key = f"virtual service {name}"
        yield key, Box(NAMES, (name,), is_live(key), called=name)
    for router, route in _routes(look):
        key = f"route {router}/{route}"
        yield key, Box(DIVIDES, (f"router {router}", f"route {route}"), is_live(key))
    for name in _left(look):
        key = f"virtual node {name}"
        yield key, Box(ANSWERS, (name,), is_live(key))
        there = look.running[name].state is not None
        yield f"service {name}", Box(TASKS, (name, *_tasks(look, name)), there)


def _tasks(look: Look, name: str) -> tuple[str, ...]:
    """Return how many of a service's tasks run, and how its sidecars are."""
    running = look.running[name]
    if running.state is None:
        return (running.counts_words,)
    states: Counter[str] = Counter()
    for task in look.tasks:
        if task.service == name and ENVOY in task.health:
            states[task.health[ENVOY].lower()] += 1
    sidecars = [f"{count} sidecar {state}" for state, count in sorted(states.items())]
    return running.counts_words, ", ".join(sidecars) or "no sidecar"


# --- the arrows -----------------------------------------------------------------------


def _arrows(look: Look, plan: Plan) -> Iterator[Arrow]:
    p, left = look.parameters, _left(look)
    for name in left:
        for backend in p.services[name].backends:
            yield Arrow(f"caller {name}", f"virtual service {backend}")
    for name, provider in p.virtual_services.items():
        if provider.node in left:
            yield Arrow(f"virtual service {name}", f"virtual node {provider.node}")
        if provider.router:
            for route in p.routers[provider.router].routes:
                key = f"route {provider.router}/{route}"
                yield Arrow(f"virtual service {name}", key)
    for router, route in _routes(look):
        for arrow in _answers(look, router, route, plan):
            if arrow.end.removeprefix("virtual node ") in left:
                yield arrow
    for name in left:
        yield Arrow(f"virtual node {name}", f"service {name}")


def _answers(look: Look, router: str, route: str, plan: Plan) -> Iterator[Arrow]:
    """Yield who answers a route, with its weight: the one in force where the
    traffic is under shift.
    """
    p = look.parameters
    key, targets = f"route {router}/{route}", p.routers[router].routes[route].targets
    if isinstance(targets, dict):
        for node, weight in targets.items():
            yield Arrow(key, f"virtual node {node}", weight, weight)
        return
    now = look.split.weights if key == look.split.key else {}
    if not now:
        for node in targets:
            yield Arrow(key, f"virtual node {node}")
        return
    after = plan.moved.after if plan.moved else now
    for node, weight in now.items():
        yield Arrow(key, f"virtual node {node}", weight, after.get(node))
