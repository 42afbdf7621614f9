"""Read what a notebook needs to know about an environment, each part once and
only when asked for.

This only reads: it composes the readers, decides nothing, and is thrown away after use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, TypeVar, cast

from runbook_lib.aws import cloud_map, ecs
from runbook_lib.aws.cloud_map import Names
from runbook_lib.aws.ecs import Running, Task
from runbook_lib.aws.readings import Readings
from runbook_lib.aws.session import Session
from runbook_lib.engines.named import engine_of
from runbook_lib.engines.protocol import (
    Engine,
    Facts,
    Live,
    Look,
    Part,
    SeriesOf,
    Split,
    due,
)
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Before, Change, Plan, fingerprint

__all__ = ["Map", "Resources", "Review", "Survey", "survey"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Resources:
    """Which of one notebook's resources are there, and where the traffic stands."""

    title: str
    stage: str
    divides: str
    there: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Review:
    """Every resource the engine should hold, and what would change it, by key."""

    live: Live
    changes: Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class Map:
    """A look, to be shown as a map with what a plan would change."""

    look: Survey
    plan: Plan | None


@dataclass
class Survey:
    """One look at an environment. Make a new one after anything was changed."""

    session: Session
    _once: dict[Callable[[Look], Any], Any] = field(default_factory=dict, repr=False)

    @cached_property
    def reads(self) -> Readings:
        """The environment as this look reads it: nothing twice."""
        return Readings(self.session)

    def ahead(self, *parts: Part) -> Survey:
        """Read parts of this look together, before they are asked for one by one."""
        self.reads.together([partial(getattr, self, part) for part in parts])
        return self

    @property
    def parameters(self) -> Parameters:
        """The environment's parameters."""
        return self.session.parameters

    @cached_property
    def engine(self) -> Engine:
        """What carries the weights."""
        return engine_of(self.session)

    @cached_property
    def live(self) -> Live:
        """The state of every resource the engine should hold, by key."""
        return self.engine.read_live(self.reads)

    @cached_property
    def split(self) -> Split:
        """How the traffic is divided."""
        return self.engine.read_split(self.reads)

    @property
    def series(self) -> SeriesOf:
        """What counts the requests of both versions."""
        return self.engine.series(self.parameters, self.split)

    @property
    def carried(self) -> str:
        """What names the state of what carries the weights; "" where there is none."""
        return fingerprint(self.split.state)

    @property
    def canary_weight(self) -> int:
        """The canary's weight now, in percent."""
        return self.split.weights.get(self.parameters.shift.canary, 0)

    @property
    def lifecycle(self) -> Lifecycle:
        """Where the application stands."""
        return Lifecycle(self.split.written, self.split.retired)

    @property
    def retired(self) -> frozenset[str]:
        """Who of the two services under shift has been retired; an earlier shift's
        stable is none of them.
        """
        return self.lifecycle.retired & {
            self.parameters.shift.stable,
            self.parameters.shift.canary,
        }

    @property
    def stage(self) -> str:
        """Plain, routed, shifting, shifted or retired."""
        shift = self.parameters.shift
        return Lifecycle(self.split.weights, self.retired).stage(
            shift.canary, shift.steps[-1]
        )

    @cached_property
    def running(self) -> dict[str, Running]:
        """Each ECS service with its definition."""
        return ecs.read_running(self.reads)

    @cached_property
    def counts(self) -> dict[str, tuple[int, int]]:
        """How many tasks stable and canary want and run."""
        return ecs.read_counts(self.reads, self.parameters.shift.versions)

    @cached_property
    def tasks(self) -> list[Task]:
        """Each running task with its containers' health."""
        return ecs.read_tasks(self.reads)

    @cached_property
    def names(self) -> Names:
        """Each name callers may dial, as discovery has it."""
        return cloud_map.read_names(self.reads)

    def once(self, read: Callable[[Look], T]) -> T:
        """Return what else an engine wants to read at this look; it is read once."""
        if read not in self._once:
            self._once[read] = read(self)
        return cast("T", self._once[read])

    @cached_property
    def references(self) -> list[str]:
        """What still refers to the stable service."""
        return self.engine.references(self.reads, self.parameters.shift.stable)

    def resources(self, step: str) -> Resources:
        """Say which of one notebook's resources are there."""
        keys = self.engine.resources_of(self.parameters, step)
        there = {key: bool(state) for key, state in self.live.items() if key in keys}
        title = self.engine.title(self.parameters)
        return Resources(title, self.stage, self.split.kind, there)

    def review(self) -> Review:
        """Compare every resource with the parameters."""
        plans = [self.plan_resources(step) for step in ("01", "02", "03")]
        changes = {change.thing: change for plan in plans for change in plan}
        return Review(self.live, changes)

    def map(self, plan: Plan | None = None) -> Map:
        """Return what shows who calls whom, and what a plan would change of it."""
        return Map(self, plan)

    def running_tasks(self) -> list[Task]:
        """Return each running task, and which of its containers nobody checks."""
        running = self.running
        return [ecs.without_checks(task, running[task.service]) for task in self.tasks]

    def facts(self) -> tuple[Facts, ...]:
        """Return what the engine has found out before services move."""
        return self.engine.facts(self)

    def plan_resources(self, step: str) -> Plan:
        """Plan the engine's resources of one notebook."""
        return self.due(self.engine.plan_resources(self, step), "resources")

    def plan_weights(self, weights: Mapping[str, int]) -> Plan:
        """Plan the traffic's division, in percent by service; more of it for the canary
        needs evidence, less none.
        """
        plan = self.engine.plan_split(self.split, weights)
        rises = weights.get(self.parameters.shift.canary, 0) > self.canary_weight
        return self.due(plan, "shift") if rises else plan

    def plan_step(self, weight: int) -> Plan:
        """Plan that the canary has this weight, in percent, and stable the rest."""
        return self.plan_weights(self.parameters.shift.weights_at(weight))

    def plan_next(self) -> Plan:
        """Plan the file's next step; nothing where none is left, or where weights are
        none of this shift's.
        """
        shift = self.parameters.shift
        left = [step for step in shift.steps if step > self.canary_weight]
        others = self.split.weights.keys() - {*shift.versions}
        if not left or others or self.split.state is None:
            return Plan("05_shift_traffic")
        return self.plan_step(left[0])

    def plan_capacity(self, least: int) -> Plan:
        """Plan that stable's scaling keeps at least so many tasks, which can
        take everything back.
        """
        stable = self.running[self.parameters.shift.stable]
        return ecs.plan_capacity(self.parameters, stable, least)

    def plan_retirement(self) -> Plan:
        """Plan the stable service's end, in the order in which nobody
        notices, there and back.
        """
        plan = self.due(self.engine.plan_retirement(self), "retirement")
        return replace(plan, ends=True)

    def plan_removal(self) -> Plan:
        """Plan the end of everything the runbook made; also name
        what stays, and why.
        """
        plan = self.due(self.engine.plan_removal(self), "removal")
        return replace(plan, ends=True)

    def due(self, plan: Plan, before: Before) -> Plan:
        """Return a plan that names its gates: everybody's, and the engine's own."""
        return due(plan, before, self.engine.gates(self, before, plan))


def survey(session: Session) -> Survey:
    """Return a fresh look at the session's environment."""
    return Survey(session)
