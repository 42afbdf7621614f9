"""Map what a rule divides: callers, the name they dial, the rule, target groups, tasks.

Pure but for the look it is given.
"""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.engines.alb import place
from runbook_lib.engines.alb.building import keys
from runbook_lib.engines.alb.groups import health_words, read_groups
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
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Plan

COLUMNS = ("calls", "hostname", "listener rule", "target group", "tasks")
CALLER = "a caller"  # where the file names none


def chart(look: Look, plan: Plan) -> Chart:
    """Return the map of what was found, and what of it a plan would change."""
    boxes = dict(_boxes(look))
    return Chart(COLUMNS, _frame(look), boxes, tuple(_arrows(look, plan)))


def _frame(look: Look) -> str:
    return f"load balancer {_load_balancer(look)}"


def _load_balancer(look: Look) -> str:
    return place.balancer_name(look.parameters)


def _left(look: Look) -> list[str]:
    """Return who of the two has not been retired."""
    return look.lifecycle.left(look.parameters.shift.versions)


def _callers(p: Parameters) -> list[str]:
    return p.callers_of(p.shift.name) or [CALLER]


def _boxes(look: Look) -> Iterator[tuple[str, Box]]:
    p, name, key = look.parameters, look.parameters.shift.name, look.split.key
    there = look.split.state is not None
    yield _frame(look), Box(FRAME, (_load_balancer(look),), there)
    for caller in _callers(p):
        yield f"caller {caller}", Box(CALLERS, (caller,), True, called=caller)
    yield f"name {name}", Box(NAMES, (name,), True, called=name)
    yield key, Box(DIVIDES, tuple(key.split("/")), there)
    groups = look.once(read_groups)
    for service in _left(look):
        group, running = groups[service], look.running[service]
        lines = (group.name, health_words(group.health))
        yield group.key, Box(ANSWERS, lines, bool(group.said), called=group.name)
        lines = (service, running.counts_words)
        yield f"service {service}", Box(TASKS, lines, running.state is not None)


def _arrows(look: Look, plan: Plan) -> Iterator[Arrow]:
    p = look.parameters
    name = f"name {p.shift.name}"
    for caller in _callers(p):
        yield Arrow(f"caller {caller}", name)
    yield Arrow(name, look.split.key)
    now = look.split.weights
    after = plan.moved.after if plan.moved else now
    for service in _left(look):
        group = keys.group(p, service)
        if service in now:
            yield Arrow(look.split.key, group, now[service], after.get(service))
        yield Arrow(group, f"service {service}")
