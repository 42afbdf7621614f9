"""What one look at a step found. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runbook_lib.aws.cloudwatch import Interval

__all__ = ["Look", "Tasks"]


@dataclass(frozen=True, slots=True)
class Tasks:
    """How many tasks run; `stable_at_first`: of stable, when the attempt began."""

    stable: int
    stable_at_first: int
    canary: int
    canary_wanted: int
    canary_unhealthy: int = 0

    @property
    def stable_lacks(self) -> bool:
        """Whether fewer of stable's tasks run than when the attempt began."""
        return self.stable < self.stable_at_first

    @property
    def canary_lacks(self) -> bool:
        """Whether fewer of the canary's tasks are healthy than are wanted."""
        return self.canary - self.canary_unhealthy < self.canary_wanted


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found. Moments are in seconds since 1970, by the clock of AWS.

    `intervals` are the whole periods from `since` up to `data_until`. `oddity` says
    what nobody who shifts between the two services can have written. `promotion` says
    who ends the bake at these very weights, and why.
    """

    at: float
    since: float
    data_until: float
    intervals: tuple[Interval, ...]
    weights: Mapping[str, int]
    tasks: Tasks
    oddity: str = ""
    alarms: Mapping[str, str] = field(default_factory=dict)
    held_by: str = ""
    promotion: str = ""
