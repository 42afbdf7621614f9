"""Say how long ECS may take to deploy a service's next revision, and who must agree.

Pure. Source: `DeploymentConfiguration` of the ECS API.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

PAUSE_MINUTES = 14 * 24 * 60  # of a PAUSE hook that says no time limit


@dataclass(frozen=True, slots=True)
class Pace:
    """How a service is deployed, and for how long beyond the start of its tasks.

    `bake` is the time between and after the shifts of its traffic; `paused` is the
    longest that lifecycle hooks may hold it up.
    """

    strategy: str
    bake: timedelta = timedelta()
    paused: timedelta = timedelta()

    @property
    def is_rolling(self) -> bool:
        """Whether tasks are replaced a few at a time, without a bake."""
        return self.strategy == "ROLLING"

    @property
    def seconds(self) -> int:
        """The longest that a deployment takes beyond the start of its tasks."""
        return int((self.bake + self.paused).total_seconds())

    @property
    def words(self) -> str:
        """What a deployment takes, in words; "" for one that is rolling."""
        if self.is_rolling:
            return ""
        words = f"deployment strategy {self.strategy}: a new revision bakes {self.bake}"
        if self.paused:
            words += f", and hooks may pause it, for at most {self.paused} in all"
        return words


def pace_of(configuration: Mapping[str, Any]) -> Pace:
    """Return the pace of a deployment with this configuration."""
    strategy = configuration.get("strategy") or "ROLLING"
    if strategy == "ROLLING":
        return Pace(strategy)
    minutes = configuration.get("bakeTimeInMinutes") or 0
    minutes += _shifting(strategy, configuration)
    held = [_held(hook) for hook in configuration.get("lifecycleHooks") or []]
    return Pace(strategy, timedelta(minutes=minutes), sum(held, timedelta()))


def _shifting(strategy: str, configuration: Mapping[str, Any]) -> int:
    """Return the minutes between the first and the last shift of traffic."""
    if strategy == "CANARY":
        canary = configuration.get("canaryConfiguration") or {}
        return int(canary.get("canaryBakeTimeInMinutes", 10))
    if strategy == "LINEAR":
        linear = configuration.get("linearConfiguration") or {}
        shifts: int = math.ceil(100 / linear.get("stepPercent", 10.0))
        return (shifts - 1) * int(linear.get("stepBakeTimeInMinutes", 6))
    return 0


def _held(hook: Mapping[str, Any]) -> timedelta:
    """Return the longest that a hook may hold a deployment up."""
    most = (hook.get("timeoutConfiguration") or {}).get("timeoutInMinutes")
    if most is None:
        most = PAUSE_MINUTES if hook.get("targetType") == "PAUSE" else 0
    return timedelta(minutes=most) * len(hook.get("lifecycleStages") or [None])
