"""An ECS service and its deployments, as ECS describes them. Pure."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any, Final

from runbook_lib.local.control_plane.ecs_resources import Deployment, EcsState, Service

__all__ = ["NOT_KEPT", "document"]

Members = dict[str, Any]

DEPLOYMENT_DEFAULTS: Final[Members] = {
    "deploymentCircuitBreaker": {"enable": False, "rollback": False},
    "maximumPercent": 200,
    "minimumHealthyPercent": 100,
    "strategy": "ROLLING",
    "bakeTimeInMinutes": 0,
}
# Members of a request that are no part of the service it makes.
NOT_KEPT: Final = {
    "cluster",
    "service",
    "clientToken",
    "forceNewDeployment",
    "taskDefinition",
    "desiredCount",
    "tags",
}


def document(state: EcsState, service: Service, *, tags: bool = False) -> Members:
    """Return a service as ECS describes it; its tags only where they are asked for."""
    tasks = state.tasks_of(service)
    request = {
        key: value for key, value in service.request.items() if key not in NOT_KEPT
    }
    return {
        "loadBalancers": [],
        "serviceRegistries": [],
        "placementConstraints": [],
        "placementStrategy": [],
        "schedulingStrategy": "REPLICA",
        "deploymentController": {"type": "ECS"},
        "enableECSManagedTags": False,
        "enableExecuteCommand": False,
        "propagateTags": "NONE",
        **deepcopy(request),
        "serviceArn": service.arn,
        "serviceName": service.name,
        "clusterArn": state.arn(f"cluster/{service.cluster}"),
        "status": service.status,
        "desiredCount": service.desired,
        "runningCount": sum(task.last == "RUNNING" for task in tasks),
        "pendingCount": sum(task.last == "PENDING" for task in tasks),
        "taskDefinition": service.definition,
        "deploymentConfiguration": {
            **DEPLOYMENT_DEFAULTS,
            **service.request.get("deploymentConfiguration", {}),
        },
        **_rollouts(state, service),
        "currentServiceRevisions": _revisions(state, service),
        "resourceManagementType": "CUSTOMER",
        **({"roleArn": request["role"]} if request.get("role") else {}),
        "events": deepcopy(service.events),
        "createdAt": service.created,
        "createdBy": f"arn:aws:iam::{state.account}:root",
        "tags": service.tags if tags else None,
    }


def controller_of(request: Members) -> str:
    """Return who deploys the service of a request: ECS, CODE_DEPLOY or EXTERNAL."""
    return str(request.get("deploymentController", {}).get("type", "ECS"))


def _rollouts(state: EcsState, service: Service) -> Members:
    """Return a service's deployments; task sets where CodeDeploy deploys it."""
    deployments = [_deployment(state, service, d) for d in service.deployments]
    if controller_of(service.request) != "CODE_DEPLOY":
        return {"deployments": deployments}
    shared = ("id", "status", "taskDefinition", "runningCount", "pendingCount")
    sets = [
        {
            **{key: deployment[key] for key in shared},
            "computedDesiredCount": deployment["desiredCount"],
            "stabilityStatus": "STEADY_STATE" if service.steady else "STABILIZING",
        }
        for deployment in deployments
    ]
    return {"deployments": [], "taskSets": sets}


def _revisions(state: EcsState, service: Service) -> list[Members]:
    """Return the service revisions that tasks run or are to run, newest first."""
    summed: dict[str, Counter[str]] = {}
    for deployment in service.deployments:
        described = _deployment(state, service, deployment)
        wanted = described["desiredCount"] if deployment.primary else 0
        of = summed.setdefault(deployment.revision, Counter())
        of.update(requestedTaskCount=wanted)
        of.update(runningTaskCount=described["runningCount"])
        of.update(pendingTaskCount=described["pendingCount"])
    return [{"arn": arn, **counts} for arn, counts in summed.items()]


def _deployment(state: EcsState, service: Service, deployment: Deployment) -> Members:
    tasks = [
        task for task in state.tasks_of(service) if task.deployment == deployment.id
    ]
    return {
        **deepcopy(deployment.settings),
        "id": deployment.id,
        "status": "PRIMARY" if deployment.primary else "ACTIVE",
        "taskDefinition": deployment.definition,
        "desiredCount": deployment.desired,
        "runningCount": sum(task.last == "RUNNING" for task in tasks),
        "pendingCount": sum(task.last == "PENDING" for task in tasks),
        "failedTasks": deployment.failed,
        "createdAt": deployment.created,
        "updatedAt": deployment.updated,
        "rolloutState": deployment.state,
        "rolloutStateReason": deployment.reason,
    }
