"""ECS tasks: their documents; list, describe and stop. Only convergence starts one or
lets it come to its end.
"""

from __future__ import annotations

from typing import Any, Final

from runbook_lib.local.control_plane import identity
from runbook_lib.local.control_plane.ecs_resources import EcsBackend, Task, refusal
from runbook_lib.local.control_plane.paging import page
from runbook_lib.local.control_plane.wire import ApiError

__all__ = ["OPERATIONS", "document"]

Members = dict[str, Any]


def document(task: Task, *, tags: bool = False) -> Members:
    """Return a task as ECS describes it."""
    definition = task.definition
    return {
        **task.request,
        "taskArn": task.arn,
        "clusterArn": identity.arn(
            "ecs", task.region, task.account, f"cluster/{task.cluster}"
        ),
        "taskDefinitionArn": definition["taskDefinitionArn"],
        "attachments": [_interface(task)]
        if definition["networkMode"] == "awsvpc"
        else [],
        "availabilityZone": f"{task.region}a",
        "connectivity": "CONNECTED",
        "containers": [
            _container(task, container)
            for container in definition["containerDefinitions"]
        ],
        "cpu": definition.get("cpu"),
        "memory": definition.get("memory"),
        "desiredStatus": task.desired,
        "lastStatus": _last(task),
        "healthStatus": task.healthy,
        "group": f"service:{task.service}"
        if task.service
        else f"family:{definition['family']}",
        "overrides": {
            "containerOverrides": [{"name": name} for name in task.containers]
        },
        "startedBy": task.deployment,
        "stopCode": task.stop_code or None,
        "stoppedReason": task.reason or None,
        "tags": task.tags if tags else [],
        "version": 1,
        **_times(task),
    }


def _last(task: Task) -> str:
    leaving = task.desired == "STOPPED" and task.last == "RUNNING"
    if not leaving:
        return task.last
    return "DEPROVISIONING" if task.told_to_stop else "DEACTIVATING"


def _times(task: Task) -> Members:
    moments = {
        "startedAt": task.started,
        "stoppingAt": task.stopping,
        "stoppedAt": task.stopped,
    }
    return {"createdAt": task.created, "connectivityAt": task.created, **moments}


def _interface(task: Task) -> Members:
    subnets = (
        task.request.get("networkConfiguration", {})
        .get("awsvpcConfiguration", {})
        .get("subnets", [])
    )
    details = {
        "subnetId": subnets[0] if subnets else None,
        "networkInterfaceId": f"eni-{identity.hexadecimal(17, task.arn)}",
        "privateIPv4Address": task.address,
    }
    return {
        "id": identity.uid(task.arn, "eni"),
        "type": "ElasticNetworkInterface",
        "status": "DELETED" if task.last == "STOPPED" else "ATTACHED",
        "details": [
            {"name": name, "value": value} for name, value in details.items() if value
        ],
    }


def _container(task: Task, definition: Members) -> Members:
    name = definition["name"]
    awsvpc = task.definition["networkMode"] == "awsvpc"
    interface = {
        "attachmentId": identity.uid(task.arn, "eni"),
        "privateIpv4Address": task.address,
    }
    container = task.arn.replace(":task/", ":container/")
    return {
        "containerArn": f"{container}/{identity.uid(task.arn, name)}",
        "taskArn": task.arn,
        "name": name,
        "image": definition["image"],
        "runtimeId": f"{task.id}-{identity.digits(10, task.arn, name)}",
        "lastStatus": task.last,
        "exitCode": task.exit_codes.get(name),
        "networkBindings": [] if awsvpc else _bindings(definition),
        "networkInterfaces": [interface] if awsvpc else [],
        "healthStatus": task.health.get(name, "UNKNOWN")
        if name in task.checked
        else "UNKNOWN",
        "cpu": str(definition["cpu"]),
        "memory": _text(definition.get("memory")),
        "memoryReservation": _text(definition.get("memoryReservation")),
    }


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _bindings(definition: Members) -> list[Members]:
    return [
        {"bindIP": "0.0.0.0", "protocol": m["protocol"], **_bound(m)}
        for m in definition["portMappings"]
    ]


def _bound(mapping: Members) -> Members:
    if ports := mapping.get("containerPortRange"):
        return {"containerPortRange": ports, "hostPortRange": ports}
    return {
        "containerPort": mapping["containerPort"],
        "hostPort": mapping["hostPort"] or mapping["containerPort"],
    }


def _here(ecs: EcsBackend, members: Members) -> list[Task]:
    cluster = ecs.cluster(members.get("cluster")).name
    return [task for task in ecs.state.tasks.values() if task.cluster == cluster]


def _list(ecs: EcsBackend, members: Members) -> Members:
    wanted = {
        "service": members.get("serviceName", "").rsplit("/", 1)[-1] or None,
        "family": members.get("family"),
        "started_by": members.get("startedBy"),
        "launch_type": members.get("launchType"),
    }
    desired = members.get("desiredStatus", "RUNNING")
    found = [
        t.arn
        for t in _here(ecs, members)
        if t.desired == desired and _matches(t, wanted)
    ]
    return page("taskArns", found, members, most=100)


def _matches(task: Task, wanted: dict[str, str | None]) -> bool:
    has = {
        "service": task.service,
        "family": task.definition["family"],
        "started_by": task.deployment,
        "launch_type": task.request.get("launchType"),
    }
    return all(value in (None, has[name]) for name, value in wanted.items())


def _describe(ecs: EcsBackend, members: Members) -> Members:
    if len(members["tasks"]) > 100:
        raise refusal("InvalidParameterException", "tasks can have at most 100 items.")
    here = {task.id: task for task in _here(ecs, members)}
    ids = {text: text.rsplit("/", 1)[-1] for text in members["tasks"]}
    tags = "TAGS" in members.get("include", [])
    missing = [
        text if ":" in text else ecs.state.arn(f"task/{text}")
        for text, key in ids.items()
        if key not in here
    ]
    return {
        "tasks": [
            document(here[key], tags=tags) for key in ids.values() if key in here
        ],
        "failures": [{"arn": arn, "reason": "MISSING"} for arn in missing],
    }


def _stop(ecs: EcsBackend, members: Members) -> Members:
    wanted = members["task"].rsplit("/", 1)[-1]
    task = next((task for task in _here(ecs, members) if task.id == wanted), None)
    if task is None:
        raise refusal("InvalidParameterException", "The referenced task was not found.")
    if task.desired == "RUNNING":
        task.desired, task.stop_code = "STOPPED", "UserInitiated"
        task.reason = members.get("reason", "Task stopped by user")
    return {"task": document(task)}


def _out_of_scope(ecs: EcsBackend, members: Members) -> Members:
    """Say so: moto would look for the task definition in its own
    store and not find it.
    """
    raise ApiError(
        "NotImplementedException", "The local mesh runs tasks of services only.", 501
    )


OPERATIONS: Final = {
    "ListTasks": _list,
    "DescribeTasks": _describe,
    "StopTask": _stop,
    "RunTask": _out_of_scope,
    "StartTask": _out_of_scope,
    "CreateTaskSet": _out_of_scope,
}
