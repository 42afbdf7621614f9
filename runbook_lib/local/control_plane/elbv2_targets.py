"""Targets of target groups and their health, as an Application Load Balancer tells it.
Pure: time is an argument.

A target is initial until its first health check has passed, then healthy or unhealthy
by the group's thresholds; once deregistered it drains for the group's delay. A group
that no rule names has unused targets, which are not checked. Sources: facts/alb.md 2.4
and 2.5, the service's model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["GroupTargets", "Health", "Outcome", "Settings", "Target", "matches"]

# until one check has passed: a start on a laptop is not worth an interval
FIRST_LOOK_SECONDS = 0.05

State = Literal["initial", "healthy", "unhealthy", "draining"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What of a group's settings decides on the health of its targets."""

    interval_seconds: float
    timeout_seconds: float
    healthy_threshold: int
    unhealthy_threshold: int
    path: str
    matcher: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one health check found: an HTTP status, or why there was none."""

    status: int | None = None
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a target as `DescribeTargetHealth` gives it."""

    state: str
    reason: str = ""
    description: str = ""


INITIAL = Health(
    "initial", "Elb.InitialHealthChecking", "Initial health checks in progress"
)
REGISTERING = Health(
    "initial", "Elb.RegistrationInProgress", "Target registration is in progress"
)
HEALTHY = Health("healthy")
DRAINING = Health(
    "draining",
    "Target.DeregistrationInProgress",
    "Target deregistration is in progress",
)
NOT_REGISTERED = Health(
    "unused", "Target.NotRegistered", "Target is not registered to the target group"
)
NOT_IN_USE = Health(
    "unused",
    "Target.NotInUse",
    "Target group is not configured to receive traffic from the load balancer",
)


@dataclass
class Target:
    """One registered address and port of a group."""

    address: str
    port: int
    health: Health = REGISTERING
    passes: int = 0
    failures: int = 0
    checks: int = 0
    due: float = 0.0
    drained_at: float | None = None  # once deregistered

    @property
    def draining(self) -> bool:
        """Say whether it has been deregistered and still finishes requests."""
        return self.drained_at is not None

    def is_due(self, now: float) -> bool:
        """Say whether the next health check begins."""
        return not self.draining and now >= self.due

    def take(self, outcome: Outcome, settings: Settings, now: float) -> None:
        """Take what a health check has found."""
        self.checks += 1
        if matches(settings.matcher, outcome.status):
            self._pass(settings)
        else:
            self._fail(outcome, settings)
        waiting = self.health.state == "initial" and self.failures == 0
        self.due = now + (FIRST_LOOK_SECONDS if waiting else settings.interval_seconds)

    def _pass(self, settings: Settings) -> None:
        self.passes, self.failures = self.passes + 1, 0
        if self.health.state == "initial" or self.passes >= settings.healthy_threshold:
            self.health = HEALTHY

    def _fail(self, outcome: Outcome, settings: Settings) -> None:
        self.passes, self.failures = 0, self.failures + 1
        if (
            self.failures >= settings.unhealthy_threshold
            or self.health.state == "unhealthy"
        ):
            self.health = Health("unhealthy", *_why(outcome))
        elif self.health.state == "initial":
            self.health = INITIAL


def _why(outcome: Outcome) -> tuple[str, str]:
    """Return reason and description of a check that failed."""
    if outcome.timed_out:
        return "Target.Timeout", "Request timed out"
    if outcome.status is None:
        return "Target.FailedHealthChecks", "Health checks failed"
    return (
        "Target.ResponseCodeMismatch",
        f"Health checks failed with these codes: [{outcome.status}]",
    )


def matches(matcher: str, status: int | None) -> bool:
    """Say whether a status is within a group's matcher, such as `200`,
    `200,301` or `200-399`.
    """
    if status is None:
        return False
    for part in matcher.split(","):
        if bounds := re.fullmatch(r"(\d{3})(?:-(\d{3}))?", part.strip()):
            low, high = bounds[1], bounds[2] or bounds[1]
            if int(low) <= status <= int(high):
                return True
    return False


@dataclass
class GroupTargets:
    """The targets of one group, by address and port, with those that still drain."""

    targets: dict[tuple[str, int], Target] = field(default_factory=dict)

    def register(self, address: str, port: int) -> None:
        """Add a target; one that is there stays as it is, one that drained is new."""
        known = self.targets.get((address, port))
        if known is None or known.draining:
            self.targets[address, port] = Target(address, port)

    def deregister(
        self, address: str, port: int, now: float, delay_seconds: float
    ) -> bool:
        """Let a target drain for the delay; say whether it was registered."""
        target = self.targets.get((address, port))
        if target is None or target.draining:
            return False
        target.health, target.drained_at = DRAINING, now + delay_seconds
        return True

    def forget_drained(self, now: float) -> None:
        """Drop the targets whose delay is over."""
        for key, target in list(self.targets.items()):
            if target.drained_at is not None and now >= target.drained_at:
                del self.targets[key]

    def health_of(self, address: str, port: int, *, in_use: bool) -> Health:
        """Return the health of a target, whether it is registered or not."""
        target = self.targets.get((address, port))
        if target is None:
            return NOT_REGISTERED
        return target.health if in_use or target.draining else NOT_IN_USE

    def leave_use(self) -> None:
        """Forget the health of every target: its group is in no rule any more."""
        for target in self.targets.values():
            if not target.draining:
                target.health, target.passes, target.failures, target.due = (
                    REGISTERING,
                    0,
                    0,
                    0.0,
                )

    def serving(self) -> list[Target]:
        """Return the targets that get requests: the healthy ones, or all where
        none is (fail open).
        """
        registered = [target for target in self.targets.values() if not target.draining]
        return _healthy(registered) or registered


def _healthy(targets: Iterable[Target]) -> list[Target]:
    return [target for target in targets if target.health.state == "healthy"]
