"""A container's health check as ECS carries it out. Pure: time and outcome
come as arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Check"]

# until it passes once: a start on a laptop is not worth an interval
LOOK_SECONDS = 0.05


@dataclass
class Check:
    """Healthy once it has passed; unhealthy after `retries` failures in a row,
    `start_period` seconds not counted.
    """

    start_period: float
    interval: float
    retries: int
    began: float
    state: Literal["HEALTHY", "UNHEALTHY", "UNKNOWN"] = "UNKNOWN"
    due: float = 0.0
    failures: int = 0
    counted: float = 0.0  # when a failure was counted last

    @classmethod
    def of(cls, container: Mapping[str, Any], now: float) -> Check:
        """Return the check of a container's definition, with ECS's defaults for
        what it leaves out.
        """
        said = container.get("healthCheck") or {}
        return cls(
            said.get("startPeriod") or 0,
            said.get("interval") or 30,
            said.get("retries") or 3,
            now,
            counted=now,
        )

    def is_due(self, now: float) -> bool:
        """Say whether to look."""
        return now >= self.due

    def take(self, now: float, *, passed: bool) -> None:
        """Take what a look has found."""
        if passed:
            self.state, self.failures, self.counted = "HEALTHY", 0, now
        elif (
            now - self.began >= self.start_period
            and now - self.counted >= self.interval
        ):
            self.failures, self.counted = self.failures + 1, now
            self.state = "UNHEALTHY" if self.failures >= self.retries else self.state
        self.due = now + (self.interval if self.state == "HEALTHY" else LOOK_SECONDS)
