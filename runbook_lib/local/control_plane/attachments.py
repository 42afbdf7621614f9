"""What is told when a task of a service comes up or goes, and what it says
of a task in between.

Convergence calls every attachment once for each start and stop and knows none of them.
`CloudMapRegistration` writes to Cloud Map's store and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from runbook_lib.local.control_plane import cloud_map
from runbook_lib.local.control_plane.ecs_resources import Task

__all__ = ["Attachment", "CloudMapRegistration", "Standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What an attachment says of a task: it serves, it still finishes requests, it must
    be replaced because ….
    """

    serves: bool = True
    leaving: bool = False
    trouble: str = ""


class Attachment(Protocol):
    """Follows the tasks of services. Called under the control plane's
    lock; returns at once.
    """

    def started(self, task: Task) -> None:
        """Take note that a task has become RUNNING."""

    def stopped(self, task: Task) -> None:
        """Take note that a task is about to stop, or has stopped by itself."""

    def standing(self, task: Task) -> Standing:
        """Return how a task stands; asked at every step."""


class CloudMapRegistration:
    """Registers each task as an instance in its service's registries, as ECS does."""

    def started(self, task: Task) -> None:
        """Register the task under its id; a registry that is gone
        by now is left out.
        """
        store = cloud_map.store(task.account, task.region)
        for registry in task.registries:
            service_id = registry["registryArn"].rsplit("/", 1)[-1]
            if service_id in store.services:
                store.register_instance(
                    service_id, task.id, task.id, _attributes(task, registry)
                )

    def stopped(self, task: Task) -> None:
        """Remove the task's instance wherever it still is."""
        store = cloud_map.store(task.account, task.region)
        for registry in task.registries:
            service = store.services.get(registry["registryArn"].rsplit("/", 1)[-1])
            if service and any(
                instance.instance_id == task.id for instance in service.instances
            ):
                store.deregister_instance(service.id, task.id)

    def standing(self, task: Task) -> Standing:
        """Return that nothing speaks against it: a name is there as
        soon as its task runs.
        """
        return Standing()


def _attributes(task: Task, registry: dict[str, object]) -> dict[str, str]:
    attributes = {
        "AWS_INSTANCE_IPV4": task.address,
        "AWS_INIT_HEALTH_STATUS": "HEALTHY",
        "AVAILABILITY_ZONE": f"{task.region}a",
        "REGION": task.region,
        "ECS_CLUSTER_NAME": task.cluster,
        "ECS_SERVICE_NAME": task.service or "",
        "ECS_TASK_DEFINITION_FAMILY": task.definition["family"],
    }
    port = registry.get("port") or registry.get("containerPort")
    return {**attributes, "AWS_INSTANCE_PORT": str(port)} if port else attributes
