"""What moto does not know about its clusters: how many services and tasks are in them,
and which are gone.

The numbers are written into moto's records before moto answers. Creating a cluster that
is there answers with it, and a cluster with services is not deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runbook_lib.local.control_plane.ecs_resources import EcsBackend, refusal
from runbook_lib.local.control_plane.paging import page

if TYPE_CHECKING:
    from moto.ecs.models import Cluster

__all__ = ["OPERATIONS"]

Members = dict[str, Any]


def _create(ecs: EcsBackend, members: Members) -> Members | None:
    """Answer with a cluster that is there: moto would begin a new record."""
    there = ecs.clusters.get(members.get("clusterName", "default"))
    if there is None or there.status != "ACTIVE":
        return None
    _count(ecs, there)
    document = {
        "clusterArn": there.arn,
        "clusterName": there.name,
        "status": there.status,
        "registeredContainerInstancesCount": there.registered_container_instances_count,
        "runningTasksCount": there.running_tasks_count,
        "pendingTasksCount": there.pending_tasks_count,
        "activeServicesCount": there.active_services_count,
        "settings": there.settings,
        "tags": there.tags,
    }
    return {"cluster": document}


def _describe(ecs: EcsBackend, members: Members) -> None:
    for cluster in ecs.clusters.values():
        _count(ecs, cluster)


def _count(ecs: EcsBackend, cluster: Cluster) -> None:
    tasks = [task for task in ecs.state.tasks.values() if task.cluster == cluster.name]
    cluster.running_tasks_count = sum(task.last == "RUNNING" for task in tasks)
    cluster.pending_tasks_count = sum(task.last == "PENDING" for task in tasks)
    cluster.active_services_count = len(_services(ecs, cluster.name))


def _services(ecs: EcsBackend, cluster: str) -> list[str]:
    return [
        s.arn
        for s in ecs.state.services.values()
        if s.cluster == cluster and s.status != "INACTIVE"
    ]


def _delete(ecs: EcsBackend, members: Members) -> None:
    cluster = ecs.cluster(members["cluster"])
    if _services(ecs, cluster.name):
        words = "The Cluster cannot be deleted while Services are active."
        raise refusal("ClusterContainsServicesException", words)
    _count(ecs, cluster)


def _list(ecs: EcsBackend, members: Members) -> Members:
    return page(
        "clusterArns",
        [c.arn for c in ecs.clusters.values() if c.status == "ACTIVE"],
        members,
        most=100,
    )


OPERATIONS: Final = {
    "CreateCluster": _create,
    "DescribeClusters": _describe,
    "DeleteCluster": _delete,
    "ListClusters": _list,
}
