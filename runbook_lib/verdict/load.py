"""Forecast what each of the canary's tasks has to carry. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Load", "forecast_load"]


@dataclass(frozen=True, slots=True)
class Load:
    """Requests per second on each task of the canary after a step, and
    what it can carry.
    """

    weight: int
    stable_now: float | None  # requests per second on each of stable's tasks now
    canary_then: float | None  # None where the canary has no task
    capacity: float | None  # of one task
    canary_tasks: int
    tasks_needed: int | None  # None where no capacity is known

    @property
    def carries(self) -> bool:
        """Return whether the canary's tasks are known to be enough."""
        return self.tasks_needed is not None and self.canary_tasks >= self.tasks_needed


def forecast_load(
    requests_per_second: float,
    weight: int,
    *,
    stable_tasks: int,
    canary_tasks: int,
    weight_now: int = 0,
    capacity: float | None = None,
) -> Load:
    """Forecast what each canary task has to carry at `weight` percent, and how
    many tasks that takes.

    `capacity` is what one task can carry, in requests per second; left out, it is what
    each of stable's tasks carries now, as that much is proven.
    """
    stable_now = _each(requests_per_second * (100 - weight_now) / 100, stable_tasks)
    if capacity is None:
        capacity = stable_now
    load = requests_per_second * weight / 100
    return Load(
        weight=weight,
        stable_now=stable_now,
        canary_then=_each(load, canary_tasks),
        capacity=capacity,
        canary_tasks=canary_tasks,
        tasks_needed=_tasks_for(load, capacity),
    )


def _each(requests_per_second: float, tasks: int) -> float | None:
    """Return what each task gets; None where there is no task."""
    if not tasks:
        return None
    return requests_per_second / tasks


def _tasks_for(load: float, capacity: float | None) -> int | None:
    """Return how many tasks a load takes; None where no capacity is known."""
    if capacity:
        return math.ceil(load / capacity - 1e-9)
    return None if load else 0
