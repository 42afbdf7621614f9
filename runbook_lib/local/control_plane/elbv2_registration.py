"""ECS and load balancers: a service's tasks are targets of its groups, and what
CreateService refuses of those.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from runbook_lib.local.control_plane import elbv2
from runbook_lib.local.control_plane.attachments import Standing
from runbook_lib.local.control_plane.ecs_resources import Definition, Task, refusal
from runbook_lib.local.control_plane.elbv2_targets import Health

__all__ = ["TargetRegistration", "check_load_balancers"]

Members = dict[str, Any]


class TargetRegistration:
    """Registers each task in its service's target groups and lets it
    drain before it stops.
    """

    def started(self, task: Task) -> None:
        """Register the task's address; a group that is gone by now is left out."""
        store = elbv2.store(task.account, task.region) if task.load_balancers else None
        for group, port in _places(task):
            if store and group in store.targets:
                store.targets[group].register(task.address, port)

    def stopped(self, task: Task) -> None:
        """Let the task's targets drain."""
        store = elbv2.store(task.account, task.region) if task.load_balancers else None
        for group, port in _places(task):
            if store and group in store.targets:
                store.drain(group, task.address, port)

    def standing(self, task: Task) -> Standing:
        """Return what the health of the task's targets means for it."""
        if not task.load_balancers:
            return Standing()
        healths = _healths(task)
        failed = [
            group for group, health in healths.items() if health.state == "unhealthy"
        ]
        over = (
            task.started is not None
            and time.time() - task.started >= task.grace_seconds
        )
        trouble = (
            f"Task failed ELB health checks in (target-group {failed[0]})"
            if failed and over
            else ""
        )
        return Standing(
            serves=all(_serves(health) for health in healths.values()),
            leaving=any(health.state == "draining" for health in healths.values()),
            trouble=trouble,
        )


def _serves(health: Health) -> bool:
    """Say whether ECS counts a target as in service: nobody checks those of a
    group without a rule.
    """
    return health.state == "healthy" or health.reason == "Target.NotInUse"


def _healths(task: Task) -> dict[str, Health]:
    """Return the health of the task's targets by group."""
    store = elbv2.store(task.account, task.region)
    found = {}
    for group, port in _places(task):
        if group in store.targets:
            store.targets[group].forget_drained(time.time())
            in_use = bool(store.target_groups[group].load_balancer_arns)
            found[group] = store.targets[group].health_of(
                task.address, port, in_use=in_use
            )
    return found


def _places(task: Task) -> Iterator[tuple[str, int]]:
    """Yield each group of a task with the port it is registered with."""
    for entry in task.load_balancers:
        if entry.get("targetGroupArn"):
            yield entry["targetGroupArn"], int(entry["containerPort"])


def check_load_balancers(
    account: str, region: str, given: Members, request: Members, definition: Definition
) -> None:
    """Refuse load balancers that a service cannot have, in ECS's words.

    `given` is what the call says, `request` what the service then is.
    """
    entries = request.get("loadBalancers") or []
    if given.get("healthCheckGracePeriodSeconds") is not None and not entries:
        words = (
            "Health check grace period is only valid for services configured to "
            "use load balancers"
        )
        raise refusal("InvalidParameterException", words)
    if not entries:
        return
    store = elbv2.store(account, region)
    for entry in entries:
        _check_container(entry, definition.document)
        _check_group(entry, store.target_groups.get(entry.get("targetGroupArn", "")))


def _check_container(entry: Members, document: Mapping[str, Any]) -> None:
    name, port = entry.get("containerName"), entry.get("containerPort")
    container = next(
        (c for c in document["containerDefinitions"] if c["name"] == name), None
    )
    if container is None:
        words = f"The container {name} does not exist in the task definition."
        raise refusal("InvalidParameterException", words)
    if port not in [
        mapping.get("containerPort") for mapping in container.get("portMappings", [])
    ]:
        words = f"The container {name} did not have a container port {port} defined."
        raise refusal("InvalidParameterException", words)


def _check_group(entry: Members, group: Any) -> None:
    arn = entry.get("targetGroupArn")
    if group is None:
        # [inferred]
        words = (
            f"Unable to assume role and validate the specified targetGroupArn: {arn}."
        )
        raise refusal("InvalidParameterException", words)
    if group.target_type == "instance":
        raise refusal(
            "InvalidParameterException",
            f"The provided target group {arn} has target type instance, which is "
            "incompatible with the awsvpc "
            "network mode specified in the task definition.",
        )
    if not group.load_balancer_arns:
        words = (
            f"The target group with targetGroupArn {arn} does not have an "
            "associated load balancer."
        )
        raise refusal("InvalidParameterException", words)
