"""Read the target groups of the services under shift: what they are set to, and who
is healthy in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from runbook_lib.aws import ecs
from runbook_lib.aws.ecs import Running
from runbook_lib.aws.reads import Reads
from runbook_lib.engines.alb import elbv2
from runbook_lib.engines.alb.arns import group_key
from runbook_lib.engines.alb.rule import group_of, require_shape
from runbook_lib.engines.protocol import Look, Split
from runbook_lib.plan import Wait


@dataclass(frozen=True, slots=True)
class Group:
    """One service's target group: as AWS describes it, its attributes, how many targets
    are in which state.

    `said` is empty where there is no such group.
    """

    service: str
    name: str
    said: Mapping[str, Any]
    attributes: Mapping[str, str] = field(default_factory=dict)
    health: Mapping[str, int] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """Its ARN; "" where there is none."""
        return str(self.said.get("TargetGroupArn", ""))

    @property
    def key(self) -> str:
        """What it is called in plans."""
        return group_key(self.name)

    @property
    def is_sticky(self) -> bool:
        """Whether a caller is kept with one target."""
        return self._setting("sticky", "false") == "true"

    @property
    def delay_seconds(self) -> int:
        """How long a target that leaves may go on answering."""
        return int(self._setting("delay", "300"))

    def _setting(self, name: str, default: str) -> str:
        return self.attributes.get(elbv2.GROUP.settings[name], default)


def read_groups(look: Look) -> dict[str, Group]:
    """Read the target groups of stable and canary, by service."""
    services = look.parameters.shift.versions
    asks = [partial(_read, look.reads, service) for service in services]
    return dict(zip(services, look.reads.together(asks), strict=True))


def _read(session: Reads, service: str) -> Group:
    name = session.parameters.target_group_of(service)
    said = session.read(elbv2.group(name))
    if said is None:
        return Group(service, name, {})
    arn = said["TargetGroupArn"]
    settings, health = session.together(
        [
            partial(session.read, elbv2.attributes(elbv2.GROUP, arn)),
            partial(read_health, session, arn),
        ]
    )
    attributes = {each["Key"]: each["Value"] for each in settings or ()}
    return Group(service, name, said, attributes, health)


def read_health(session: Reads, arn: str) -> dict[str, int]:
    """Read how many targets of a group are in which state."""
    return dict(Counter(session.read(elbv2.health(arn)) or ()))


def read_unhealthy(session: Reads, split: Split, running: int) -> int:
    """Read how many of the canary's running tasks are no healthy target, or are
    unhealthy by their own checks.
    """
    canary = session.parameters.shift.canary
    unhealthy = ecs.read_unhealthy(session, canary)
    if canary not in split.written:  # that is said of the weights
        return unhealthy
    require_shape(split, (canary,))
    health = read_health(session, group_of(split, canary))
    return max(unhealthy, running - health.get("healthy", 0))


def arns_of(running: Running) -> list[str]:
    """Return the ARNs of the target groups that a service's tasks are in."""
    return [each.get("targetGroupArn", "") for each in running.groups]


def until_healthy(service: str, arn: str) -> Wait:
    """Wait until a target of a service's group is healthy: until then it gets no
    request.
    """
    reading = elbv2.health(arn, elbv2.HEALTHY)
    return Wait(f"a healthy target of {service}", reading, "@ > `0`")


def health_words(health: Mapping[str, int]) -> str:
    """Return how many targets are in which state, to be read."""
    states = [f"{count} {state}" for state, count in sorted(health.items())]
    return ", ".join(states) or "no target"
