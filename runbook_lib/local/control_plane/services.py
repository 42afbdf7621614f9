"""ECS services: create, update, delete, describe, list. What follows from a change is
left to convergence.

Sources: facts/appmesh.md 6 and the service's model. Inferred: a second create with the
very same request is answered with the service that is there, any other is "not
idempotent"; INACTIVE services stay describable.
"""

from __future__ import annotations

import re
import time
from copy import deepcopy
from typing import Any, Final

from runbook_lib.local.control_plane import cloud_map
from runbook_lib.local.control_plane.deployments import (
    begin_deployment,
    current_definition,
)
from runbook_lib.local.control_plane.ecs_resources import (
    Definition,
    EcsBackend,
    Service,
    refusal,
)
from runbook_lib.local.control_plane.elbv2_registration import check_load_balancers
from runbook_lib.local.control_plane.paging import page
from runbook_lib.local.control_plane.service_documents import (
    NOT_KEPT,
    controller_of,
    document,
)
from runbook_lib.local.control_plane.task_definitions import usable
from runbook_lib.local.control_plane.wire import ApiError

__all__ = ["OPERATIONS"]

Members = dict[str, Any]

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
    "vpcLatticeConfigurations",
    "capacityProviderStrategy",
    "gatewayConnectors",  # these two [inferred]: they are part of a service revision
    "monitoring",
)


def _create(ecs: EcsBackend, members: Members) -> Members:
    cluster = ecs.cluster(members.get("cluster")).name
    _check_name(members["serviceName"])
    arn = ecs.state.arn(f"service/{cluster}/{members['serviceName']}")
    if (there := ecs.state.services.get(arn)) and there.status != "INACTIVE":
        return {"service": document(ecs.state, _repeated(there, members))}
    _check_controller(members)
    definition = usable(ecs.state, members.get("taskDefinition", ""))
    _check_request(members, definition)
    _check_registries(ecs, members.get("serviceRegistries", []))
    check_load_balancers(ecs.account_id, ecs.region_name, members, members, definition)
    desired = members.get("desiredCount", 0)
    request = {**_defaults(members), **deepcopy(members)}
    service = Service(
        arn,
        members["serviceName"],
        cluster,
        definition.arn,
        desired,
        request,
        time.time(),
    )
    service.tags = deepcopy(members.get("tags", []))
    ecs.state.services[arn] = service
    begin_deployment(ecs.state, service)
    return {"service": document(ecs.state, service)}


def _check_controller(members: Members) -> None:
    """Refuse a service of another tool's task sets, of which there are none here."""
    if controller_of(members) != "EXTERNAL":
        return
    if members.get("taskDefinition"):
        raise refusal("InvalidParameterException", "TaskDefinition must be blank.")
    words = "The local mesh has no task sets: ECS or CodeDeploy deploys its services."
    raise ApiError("NotImplementedException", words, 501)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", name):
        raise refusal("InvalidParameterException", "Invalid service name.")


def _repeated(service: Service, members: Members) -> Service:
    if service.status == "DRAINING":
        raise refusal(
            "InvalidParameterException",
            "Unable to Start a service that is still Draining.",
        )
    if any(service.request.get(key) != value for key, value in members.items()):
        raise refusal(
            "InvalidParameterException", "Creation of service was not idempotent."
        )
    return service


def _defaults(members: Members) -> Members:
    launch = members.get("launchType", "EC2")
    fargate = (
        {"platformVersion": "LATEST", "platformFamily": "Linux"}
        if launch == "FARGATE"
        else {}
    )
    return {"launchType": launch, **fargate}


def _check_request(members: Members, definition: Definition) -> None:
    if members.get("schedulingStrategy", "REPLICA") != "REPLICA":
        raise refusal(
            "InvalidParameterException",
            "The local mesh schedules REPLICA services only.",
        )
    if members.get("desiredCount", 0) < 0:
        raise refusal("InvalidParameterException", "desiredCount cannot be negative.")
    launch = members.get("launchType", "EC2")
    if launch not in definition.document["compatibilities"]:
        words = f"Task definition does not support launch_type {launch}."
        raise refusal("InvalidParameterException", words)
    network = members.get("networkConfiguration", {}).get("awsvpcConfiguration")
    if definition.document["networkMode"] == "awsvpc" and not network:
        words = (
            "Network Configuration must be provided when networkMode "
            "'awsvpc' is specified."
        )
        raise refusal("InvalidParameterException", words)


def _check_registries(ecs: EcsBackend, registries: list[Members]) -> None:
    if len(registries) > 1:
        raise refusal(
            "InvalidParameterException", "service registries can have at most 1 items."
        )
    known = cloud_map.store(ecs.account_id, ecs.region_name).services
    for registry in registries:
        if registry.get("registryArn", "").rsplit("/", 1)[-1] not in known:
            # [inferred]
            words = f"Unable to find service registry {registry.get('registryArn')}."
            raise refusal("InvalidParameterException", words)


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
    if controller_of(service.request) == "CODE_DEPLOY":
        _refuse_to_deploy(members)
    definition = (
        usable(ecs.state, wanted) if wanted else current_definition(ecs.state, service)
    )
    request = _merged(service.request, members)
    _check_request(
        {**request, "desiredCount": members.get("desiredCount", 0)}, definition
    )
    _check_registries(ecs, members.get("serviceRegistries", []))
    check_load_balancers(ecs.account_id, ecs.region_name, members, request, definition)
    rolls = members.get("forceNewDeployment") or _rolls(service, definition, request)
    service.definition, service.request = definition.arn, request
    service.desired = service.primary.desired = members.get(
        "desiredCount", service.desired
    )
    service.steady = False
    if rolls:
        begin_deployment(ecs.state, service)
    return {"service": document(ecs.state, service)}


def _refuse_to_deploy(members: Members) -> None:
    """Refuse a deployment by ECS of a service that CodeDeploy deploys."""
    by_code_deploy = (
        "on services with a CODE_DEPLOY deployment controller. Use AWS CodeDeploy to "
        "trigger a new deployment."
    )
    if members.get("taskDefinition"):
        words = f"Unable to update task definition {by_code_deploy}"
        raise refusal("InvalidParameterException", words)
    if members.get("forceNewDeployment"):
        words = f"Cannot force a new deployment {by_code_deploy}"
        raise refusal("InvalidParameterException", words)


def _merged(request: Members, members: Members) -> Members:
    """Return a service's request with an update's members; what they do not
    say stays as it was.
    """
    given = deepcopy(
        {key: value for key, value in members.items() if key not in NOT_KEPT}
    )
    if "deploymentConfiguration" in given:
        former = request.get("deploymentConfiguration", {})
        given["deploymentConfiguration"] = {
            **former,
            **given["deploymentConfiguration"],
        }
    return {**request, **given}


def _rolls(service: Service, definition: Definition, request: Members) -> bool:
    changed = any(request.get(key) != service.request.get(key) for key in ROLLED_OUT)
    return changed or definition.arn != service.definition


def _delete(ecs: EcsBackend, members: Members) -> Members:
    service = _find(ecs, members)
    if service.status == "INACTIVE":
        raise refusal("ServiceNotFoundException", "Service not found.")
    if service.desired > 0 and not members.get("force") and service.status == "ACTIVE":
        raise refusal(
            "InvalidParameterException",
            "The service cannot be stopped while it is scaled above 0.",
        )
    service.status, service.desired = "DRAINING", 0
    return {"service": document(ecs.state, service)}


def _describe(ecs: EcsBackend, members: Members) -> Members:
    if len(members["services"]) > 10:
        raise refusal(
            "InvalidParameterException", "services can have at most 10 items."
        )
    cluster = ecs.cluster(members.get("cluster")).name
    arns = [
        ecs.state.arn(f"service/{cluster}/{text.rsplit('/', 1)[-1]}")
        for text in members["services"]
    ]
    tags = "TAGS" in members.get("include", [])
    here = ecs.state.services
    return {
        "services": [
            document(ecs.state, here[arn], tags=tags) for arn in arns if arn in here
        ],
        "failures": [
            {"arn": arn, "reason": "MISSING"} for arn in arns if arn not in here
        ],
    }


def _describe_revisions(ecs: EcsBackend, members: Members) -> Members:
    arns, kept = members["serviceRevisionArns"], ecs.state.revisions
    if not 1 <= len(arns) <= 20:
        words = "serviceRevisionArns must have from 1 to 20 items."  # [inferred]
        raise refusal("InvalidParameterException", words)
    found = [kept[arn] for arn in arns if arn in kept]
    return {
        "serviceRevisions": [
            {**deepcopy(each.document), "createdAt": each.created} for each in found
        ],
        "failures": [
            {"arn": arn, "reason": "MISSING"} for arn in arns if arn not in kept
        ],
    }


def _list(ecs: EcsBackend, members: Members) -> Members:
    cluster, launch = (
        ecs.cluster(members.get("cluster")).name,
        members.get("launchType"),
    )
    found = [
        s
        for s in ecs.state.services.values()
        if s.cluster == cluster and s.status != "INACTIVE"
    ]
    arns = sorted(s.arn for s in found if launch in (None, s.request["launchType"]))
    return page(
        "serviceArns",
        arns if members.get("schedulingStrategy") != "DAEMON" else [],
        members,
        most=10,
    )


OPERATIONS: Final = {
    "CreateService": _create,
    "UpdateService": _update,
    "DeleteService": _delete,
    "DescribeServices": _describe,
    "DescribeServiceRevisions": _describe_revisions,
    "ListServices": _list,
}
