"""ECS services: create, update, delete, describe, list. What follows from a change is left to convergence.

Sources: facts/appmesh.md 6 and the service's model. Inferred: a second create with the very same request is
answered with the service that is there, any other is "not idempotent"; INACTIVE services stay describable.
"""

from __future__ import annotations

import re
import time
from copy import deepcopy
from typing import Any, Final

from runbook_lib.local.control_plane import cloud_map, identity
from runbook_lib.local.control_plane.ecs_resources import (
    Definition,
    Deployment,
    EcsBackend,
    EcsState,
    Service,
    refusal,
)
from runbook_lib.local.control_plane.paging import page
from runbook_lib.local.control_plane.task_definitions import usable

__all__ = ["OPERATIONS", "begin_deployment"]

Members = dict[str, Any]

DEPLOYMENT_DEFAULTS: Final[Members] = {
    "deploymentCircuitBreaker": {"enable": False, "rollback": False},
    "maximumPercent": 200,
    "minimumHealthyPercent": 100,
    "strategy": "ROLLING",
    "bakeTimeInMinutes": 0,
}
# A change of one of these starts a deployment; any other member of an update does not.
ROLLED_OUT: Final = (
    "networkConfiguration",
    "platformVersion",
    "enableExecuteCommand",
    "enableECSManagedTags",
    "propagateTags",
    "loadBalancers",
    "serviceRegistries",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "capacityProviderStrategy",
)
OF_A_DEPLOYMENT: Final[tuple[str, ...]] = (
    "launchType",
    "platformVersion",
    "platformFamily",
    "networkConfiguration",
)
NOT_KEPT: Final = {
    "cluster",
    "service",
    "clientToken",
    "forceNewDeployment",
    "taskDefinition",
    "desiredCount",
    "tags",
}


def _create(ecs: EcsBackend, members: Members) -> Members:
    cluster = ecs.cluster(members.get("cluster")).name
    _check_name(members["serviceName"])
    arn = ecs.state.arn(f"service/{cluster}/{members['serviceName']}")
    if (there := ecs.state.services.get(arn)) and there.status != "INACTIVE":
        return {"service": document(ecs.state, _repeated(there, members))}
    definition = usable(ecs.state, members.get("taskDefinition", ""))
    _check_request(members, definition)
    _check_registries(ecs, members.get("serviceRegistries", []))
    desired = members.get("desiredCount", 0)
    request = {**_defaults(members), **deepcopy(members)}
    service = Service(arn, members["serviceName"], cluster, definition.arn, desired, request, time.time())
    service.tags = deepcopy(members.get("tags", []))
    ecs.state.services[arn] = service
    begin_deployment(ecs.state, service)
    return {"service": document(ecs.state, service)}


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", name):
        raise refusal("InvalidParameterException", "Invalid service name.")


def _repeated(service: Service, members: Members) -> Service:
    if service.status == "DRAINING":
        raise refusal("InvalidParameterException", "Unable to Start a service that is still Draining.")
    if any(service.request.get(key) != value for key, value in members.items()):
        raise refusal("InvalidParameterException", "Creation of service was not idempotent.")
    return service


def _defaults(members: Members) -> Members:
    launch = members.get("launchType", "EC2")
    fargate = {"platformVersion": "LATEST", "platformFamily": "Linux"} if launch == "FARGATE" else {}
    return {"launchType": launch, **fargate}


def _check_request(members: Members, definition: Definition) -> None:
    if members.get("schedulingStrategy", "REPLICA") != "REPLICA":
        raise refusal("InvalidParameterException", "The local mesh schedules REPLICA services only.")
    if members.get("desiredCount", 0) < 0:
        raise refusal("InvalidParameterException", "desiredCount cannot be negative.")
    launch = members.get("launchType", "EC2")
    if launch not in definition.document["compatibilities"]:
        words = f"Task definition does not support launch_type {launch}."
        raise refusal("InvalidParameterException", words)
    network = members.get("networkConfiguration", {}).get("awsvpcConfiguration")
    if definition.document["networkMode"] == "awsvpc" and not network:
        words = "Network Configuration must be provided when networkMode 'awsvpc' is specified."
        raise refusal("InvalidParameterException", words)


def _check_registries(ecs: EcsBackend, registries: list[Members]) -> None:
    if len(registries) > 1:
        raise refusal("InvalidParameterException", "service registries can have at most 1 items.")
    known = cloud_map.store(ecs.account_id, ecs.region_name).services
    for registry in registries:
        if registry.get("registryArn", "").rsplit("/", 1)[-1] not in known:
            words = f"Unable to find service registry {registry.get('registryArn')}."  # [inferred]
            raise refusal("InvalidParameterException", words)


def begin_deployment(state: EcsState, service: Service, reason: str = "") -> Deployment:
    """Put a new PRIMARY deployment of the service's revision at the head; the former one becomes ACTIVE."""
    for former in service.deployments:
        former.primary = False
    number = identity.digits(19, *state.fresh())
    settings = {key: service.request[key] for key in OF_A_DEPLOYMENT if key in service.request}
    now = time.time()
    made = Deployment(f"ecs-svc/{number}", service.definition, service.desired, now, now, settings=settings)
    made.reason = reason or f"ECS deployment {made.id} in progress."
    service.deployments.insert(0, made)
    service.steady = False
    return made


def _find(ecs: EcsBackend, members: Members) -> Service:
    cluster = ecs.cluster(members.get("cluster")).name
    arn = ecs.state.arn(f"service/{cluster}/{members['service'].rsplit('/', 1)[-1]}")
    if found := ecs.state.services.get(arn):
        return found
    raise refusal("ServiceNotFoundException", "Service not found.")


def _update(ecs: EcsBackend, members: Members) -> Members:
    service = _find(ecs, members)
    if service.status != "ACTIVE":
        raise refusal("ServiceNotActiveException", "Service was not ACTIVE.")
    wanted = members.get("taskDefinition")
    definition = usable(ecs.state, wanted) if wanted else current_definition(ecs.state, service)
    merged = {**service.request, **deepcopy({k: v for k, v in members.items() if k not in NOT_KEPT})}
    if "deploymentConfiguration" in members:  # what it does not say stays as it was
        former = service.request.get("deploymentConfiguration", {})
        merged["deploymentConfiguration"] = {**former, **merged["deploymentConfiguration"]}
    _check_request({**merged, "desiredCount": members.get("desiredCount", 0)}, definition)
    _check_registries(ecs, members.get("serviceRegistries", []))
    rolls = members.get("forceNewDeployment") or definition.arn != service.definition
    rolls = rolls or any(merged.get(key) != service.request.get(key) for key in ROLLED_OUT)
    service.definition, service.request = definition.arn, merged
    service.desired = members.get("desiredCount", service.desired)
    service.primary.desired, service.steady = service.desired, False
    if rolls:
        begin_deployment(ecs.state, service)
    return {"service": document(ecs.state, service)}


def current_definition(state: EcsState, service: Service) -> Definition:
    """Return the revision a service has, inactive or not: it may be scaled and restarted all the same."""
    family, revision = service.definition.rsplit("/", 1)[-1].split(":")
    return state.definitions[family][int(revision) - 1]


def _delete(ecs: EcsBackend, members: Members) -> Members:
    service = _find(ecs, members)
    if service.status == "INACTIVE":
        raise refusal("ServiceNotFoundException", "Service not found.")
    if service.desired > 0 and not members.get("force") and service.status == "ACTIVE":
        raise refusal(
            "InvalidParameterException", "The service cannot be stopped while it is scaled above 0."
        )
    service.status, service.desired = "DRAINING", 0
    return {"service": document(ecs.state, service)}


def _describe(ecs: EcsBackend, members: Members) -> Members:
    if len(members["services"]) > 10:
        raise refusal("InvalidParameterException", "services can have at most 10 items.")
    cluster = ecs.cluster(members.get("cluster")).name
    arns = [ecs.state.arn(f"service/{cluster}/{text.rsplit('/', 1)[-1]}") for text in members["services"]]
    tags = "TAGS" in members.get("include", [])
    here = ecs.state.services
    return {
        "services": [document(ecs.state, here[arn], tags=tags) for arn in arns if arn in here],
        "failures": [{"arn": arn, "reason": "MISSING"} for arn in arns if arn not in here],
    }


def _list(ecs: EcsBackend, members: Members) -> Members:
    cluster, launch = ecs.cluster(members.get("cluster")).name, members.get("launchType")
    found = [s for s in ecs.state.services.values() if s.cluster == cluster and s.status != "INACTIVE"]
    arns = sorted(s.arn for s in found if launch in (None, s.request["launchType"]))
    return page(
        "serviceArns", arns if members.get("schedulingStrategy") != "DAEMON" else [], members, most=10
    )


def document(state: EcsState, service: Service, *, tags: bool = False) -> Members:
    """Return a service as ECS describes it; its tags only where they are asked for."""
    tasks = state.tasks_of(service)
    request = {key: value for key, value in service.request.items() if key not in NOT_KEPT}
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
        "deployments": [_deployment(state, service, deployment) for deployment in service.deployments],
        "events": deepcopy(service.events),
        "createdAt": service.created,
        "createdBy": f"arn:aws:iam::{state.account}:root",
        "tags": service.tags if tags else None,
    }


def _deployment(state: EcsState, service: Service, deployment: Deployment) -> Members:
    tasks = [task for task in state.tasks_of(service) if task.deployment == deployment.id]
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


OPERATIONS: Final = {
    "CreateService": _create,
    "UpdateService": _update,
    "DeleteService": _delete,
    "DescribeServices": _describe,
    "ListServices": _list,
}
