"""Put the Envoy sidecar into an ECS task definition, take it out again, say who a
definition is meshed as.

Pure: definitions in, new definitions out, in RegisterTaskDefinition's own form.
Registers nothing, knows no role.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.task_definition.envoy import (
    DAEMON,
    IDENTITY,
    MAX_IGNORED_PORTS,
    METADATA_IPS,
    applications,
    envoy_of,
    identity_variable,
    is_daemon,
    names_of,
    proxy_properties,
    waiting,
)
from runbook_lib.task_definition.form import (
    Json,
    by_name,
    containers_of,
    group_of,
    mounts_efs,
    others,
    put,
    refusal,
    register_input,
    split,
    system_of,
    variables,
)
from runbook_lib.task_definition.memory import (
    OWN_VARIABLES,
    guess,
    recall,
    remember,
    restore,
    strip,
    waits_without,
)

_HEALTH_CHECK = {
    "command": [
        "CMD-SHELL",
        "curl -s http://localhost:9901/server_info | grep state | grep -q LIVE",
    ],
    "interval": 5,
    "timeout": 2,
    "retries": 3,
}
_DAEMON = {  # as the tutorial has it
    "name": DAEMON,
    "image": "amazon/aws-xray-daemon",
    "essential": True,
    "cpu": 32,
    "memoryReservation": 256,
    "portMappings": [{"containerPort": 2000, "protocol": "udp"}],
}
_NODE = re.compile(
    r"(?:arn:aws[\w-]*:appmesh:[\w-]+:\d{12}:)?mesh/([^/]+)/virtualNode/([^/]+)"
)
_EFS_PORT = 2049
_OPEN_FILES = {"name": "nofile", "softLimit": 15000, "hardLimit": 15000}
_LEAST_MEMORY_MIB = 500  # where nothing else says how much Envoy may have


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Everything needed to add Envoy to a task. What is None is left as the
    definition has it.

    Ports are TCP; `app_ports` are the node's listener ports. `ignored_ips` come on
    top of the two metadata addresses. `cpu` (CPU units) and `memory` (MiB) are
    Envoy's own, `log` its log configuration, which an empty one takes out; `task_cpu`
    and `task_memory` resize the task. `execution_role_arn` is for a definition that has
    no execution role.
    """

    image: str
    node_arn: str
    app_ports: tuple[int, ...]
    launch_type: str = "FARGATE"
    resource_cluster: str | None = None
    ignored_ips: tuple[str, ...] = ()
    ignored_ports: tuple[int, ...] = (22,)
    user: str = "1337"
    ignored_gid: str | None = None
    cpu: int | None = None
    memory: int | None = None
    start_seconds: int = 90
    log: Mapping[str, Any] | None = None
    xray: bool = False
    task_role_arn: str | None = None
    execution_role_arn: str | None = None
    task_cpu: str | None = None
    task_memory: str | None = None


@dataclass(frozen=True, slots=True)
class Meshed:
    """Who a definition is meshed as, read from itself; names are "" where the
    variable holds none.
    """

    container: str
    mesh: str
    virtual_node: str
    app_ports: tuple[int, ...]


def with_envoy(definition: Mapping[str, Any], sidecar: Sidecar) -> Json:
    """Return the register_task_definition input for `definition` with the
    Envoy sidecar in it.

    Idempotent; fields it was not asked to change are kept, those of an Envoy and of a
    proxy configuration already there included. Port 2049 is left to EFS where the task
    mounts one (App Mesh user guide, troubleshooting-connectivity). PlanError: Windows,
    a network mode other than awsvpc, a launch type the definition excludes, a container
    named `envoy` that is not App Mesh's, over 15 ignored ports, one in which it is
    unclear which container is Envoy, or that has no application.
    """
    now = register_input(definition)
    # an earlier sidecar leaves nothing behind
    before = now if recall(now) is None else without_envoy(now)
    _check_can_mesh(before, sidecar)
    there = envoy_of(before)
    name = there["name"] if there else "envoy"
    task = copy.deepcopy(before) | _task_fields(before, sidecar, name)
    envoy = _envoy(there or _beside(_named(now, name)), sidecar, name)
    if not _says_memory(task, envoy):
        envoy["memory"] = _LEAST_MEMORY_MIB
    _put(task, envoy)
    if sidecar.xray:
        _put(task, _daemon(now, sidecar))
    for container in waiting(task):
        waits = waits_without(container, [name])
        waits.append({"containerName": name, "condition": "HEALTHY"})
        container["dependsOn"] = waits
    remember(before, task, name)
    return _keeping(now, task)


def _says_memory(task: Json, envoy: Json) -> bool:
    """Tell whether one of the three sizes is stated that ECS needs for Envoy."""
    own = (envoy.get("memory"), envoy.get("memoryReservation"))
    return any((task.get("memory"), *own))


def without_envoy(definition: Mapping[str, Any]) -> Json:
    """Return the register_task_definition input for the definition
    `with_envoy` was given.

    The former values of what `with_envoy` changes are in a Docker label of the
    Envoy container, which goes with the revision and with the sidecar
    (`memory`); other edits made since are kept, which a stored original would
    undo. A definition meshed by other hands has no such label: its Envoy,
    dependencies on it and proxy configuration go; its X-Ray daemon, roles and sizes
    stay, since an application may use them. One without Envoy comes back as it is.
    PlanError: the label is not readable, or takes an application away; it is
    unclear which container is Envoy; there is no application.
    """
    task = register_input(definition)
    now = copy.deepcopy(task)
    proxy = envoy_of(task)
    if proxy is None:
        return _keeping(now, task)
    memory = recall(task) or guess(proxy)
    for container in containers_of(task):
        strip(container, proxy["name"], *memory["added"])
        restore(container, memory["containers"].get(container["name"], {}))
    task["containerDefinitions"] = others(containers_of(task), memory["added"])
    restore(task, memory["task"])
    return _keeping(now, task)


def sidecar_of(definition: Mapping[str, Any]) -> Meshed | None:
    """Return who a definition is meshed as, or None where no App Mesh Envoy in it
    says which node it is.

    PlanError: it is unclear which container is Envoy.
    """
    envoy = envoy_of(definition) or {}
    variable = identity_variable(envoy)
    if variable is None:
        return None
    node = _NODE.fullmatch(variables(envoy)[variable])
    mesh, virtual_node = node.groups() if node else ("", "")
    stated = split(proxy_properties(definition).get("AppPorts"))
    ports = tuple(int(port) for port in stated if port.isdigit())
    return Meshed(envoy["name"], mesh, virtual_node, ports)


def _keeping(before: Json, after: Json) -> Json:
    """Return a definition that was made of another; raise PlanError unless it runs the
    same applications.

    Whatever a definition says, none comes out of here without its applications, or with
    another image of one.
    """
    wanted = _application_images(before)
    made = _application_images(after)
    if not wanted:
        found = names_of(containers_of(before)) or "no container"
        raise refusal(
            before,
            f"expected an application beside Envoy and the X-Ray daemon, found {found}",
            "give the service's own task definition; one that is Envoy alone is "
            "a virtual gateway",
        )
    if made != wanted:
        raise refusal(
            before,
            f"expected its applications to stay {_listed(wanted)}; with "
            f"this change they would be {_listed(made)}",
            "register the revision the service ran before it was meshed, and run again",
        )
    return after


def _application_images(definition: Json) -> dict[str, Any]:
    return {each["name"]: each.get("image") for each in applications(definition)}


def _listed(images: Mapping[str, Any]) -> str:
    listed = [f"{name!r} ({image})" for name, image in images.items()]
    return ", ".join(listed) or "none"


def _check_can_mesh(definition: Json, sidecar: Sidecar) -> None:
    system = system_of(definition)
    if system != "LINUX":
        raise refusal(
            definition,
            f"runtimePlatform.operatingSystemFamily: expected LINUX, found {system}",
            "there is no Envoy for Windows: leave this service out of the mesh",
        )
    mode = definition.get("networkMode", "bridge")
    if mode != "awsvpc":
        raise refusal(
            definition,
            f"networkMode: expected awsvpc, found {mode}",
            "App Mesh's proxy works in awsvpc only; move the service to it "
            "first, with its own network",
        )
    accepts = definition.get("requiresCompatibilities") or [sidecar.launch_type]
    if sidecar.launch_type not in accepts:
        raise refusal(
            definition,
            f"requiresCompatibilities: expected {sidecar.launch_type}, "
            f"found {', '.join(accepts)}",
            "set the service's launch_type in the parameters file to what the "
            "definition runs on",
        )
    envoy = envoy_of(definition)
    if sidecar.xray and envoy and envoy["name"] == DAEMON:
        raise refusal(
            definition,
            f"expected no container named {DAEMON!r} but an "
            "X-Ray daemon, found App Mesh's Envoy",
            "rename that container, and the proxy configuration's name of it",
        )
    if envoy is None and _named(definition, "envoy"):
        raise refusal(
            definition,
            "expected no container named 'envoy' but App Mesh's, found another",
            "rename that container first; replacing it would take your own proxy away",
        )


def _task_fields(before: Json, sidecar: Sidecar, name: str) -> Json:
    """Return the task-level fields the sidecar sets."""
    role = before.get("executionRoleArn") or sidecar.execution_role_arn
    fields = {
        "proxyConfiguration": _proxy(before, sidecar, name),
        "taskRoleArn": sidecar.task_role_arn,
        "executionRoleArn": role,
        "cpu": sidecar.task_cpu,
        "memory": sidecar.task_memory,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _proxy(before: Json, sidecar: Sidecar, name: str) -> Json:
    """Return the proxy configuration; properties of it that are not ours stay."""
    found = proxy_properties(before)
    properties = {
        "IgnoredUID": sidecar.user,
        "IgnoredGID": sidecar.ignored_gid or found.get("IgnoredGID", ""),
        "ProxyIngressPort": "15000",
        "ProxyEgressPort": "15001",
        "AppPorts": _joined(sidecar.app_ports),
        "EgressIgnoredIPs": _joined((*METADATA_IPS, *sidecar.ignored_ips)),
        "EgressIgnoredPorts": _joined(_ignored_ports(before, sidecar)),
    }
    for key, value in found.items():
        properties.setdefault(key, value)
    return {
        "type": "APPMESH",
        "containerName": name,
        "properties": _pairs(properties),
    }


def _pairs(values: Mapping[str, str | None]) -> list[Json]:
    """Return values as ECS has variables and properties, those that are empty left
    out.
    """
    return [{"name": key, "value": value} for key, value in values.items() if value]


def _ignored_ports(before: Json, sidecar: Sidecar) -> list[int]:
    ports = list(sidecar.ignored_ports)
    if mounts_efs(before):
        ports.append(_EFS_PORT)
    count = len(set(ports))
    if count > MAX_IGNORED_PORTS:
        raise refusal(
            before,
            "EgressIgnoredPorts: expected at most 15, "
            f"found {count} with 2049 for its EFS volumes",
            "ignore one port fewer in the parameters file",
        )
    return ports


def _joined(values: Iterable[object]) -> str:
    """Return values as a property has them, each once."""
    return ",".join(str(value) for value in dict.fromkeys(values))


def _envoy(found: Json, sidecar: Sidecar, name: str) -> Json:
    """Return the Envoy container: what the one found has beside, and
    the sidecar's fields.
    """
    limits = others(found.get("ulimits"), ["nofile"])
    check = copy.deepcopy(_HEALTH_CHECK)
    return {
        **_sized(found, sidecar),
        "name": name,
        "image": sidecar.image,
        "essential": True,
        "user": _with_group(sidecar.user, found),
        "environment": _environment(found, sidecar),
        "healthCheck": {**check, "startPeriod": sidecar.start_seconds},
        "ulimits": [*limits, dict(_OPEN_FILES)],
    }


def _sized(found: Json, sidecar: Sidecar) -> Json:
    """Return the container with the sidecar's size and log configuration; an empty one
    takes out what is there.
    """
    sized = dict(found)
    asked = {
        "cpu": sidecar.cpu,
        "memory": sidecar.memory,
        "logConfiguration": copy.deepcopy(sidecar.log),
    }
    for key, value in asked.items():
        if value is not None:
            put(sized, key, value)
    if sidecar.memory and sidecar.memory <= sized.get("memoryReservation", 0):
        del sized["memoryReservation"]  # ECS refuses one that is not below the limit
    return sized


def _environment(found: Json, sidecar: Sidecar) -> list[Json]:
    """Return the variables of Envoy that is found, then the sidecar's own."""
    own = _pairs(
        {
            "APPMESH_RESOURCE_ARN": sidecar.node_arn,
            "APPMESH_RESOURCE_CLUSTER": sidecar.resource_cluster,
            "ENABLE_ENVOY_STATS_TAGS": "1",
            "APPMESH_METRIC_EXTENSION_VERSION": "1",
            "ENABLE_ENVOY_XRAY_TRACING": "1" if sidecar.xray else None,
        }
    )
    replaced = {*by_name(own), *IDENTITY}
    return [*others(found.get("environment"), replaced), *own]


def _daemon(definition: Json, sidecar: Sidecar) -> Json:
    """Return the definition's X-Ray daemon, or the tutorial's, as Envoy's user."""
    daemons = [each for each in containers_of(definition) if is_daemon(each)]
    found = daemons[0] if daemons else _DAEMON
    daemon = copy.deepcopy(found)
    daemon["user"] = _with_group(sidecar.user, daemon)
    return daemon


def _with_group(user: str, found: Json) -> str:
    """Return a user as a container runs as it: with the group that it has already."""
    group = group_of(found)
    return f"{user}:{group}" if group else user


def _beside(envoy: Json) -> Json:
    """Return what somebody gave to an earlier sidecar's Envoy, so that none of ours
    outlives its parameter.
    """
    kept = {key: value for key, value in envoy.items() if key not in ("cpu", "memory")}
    kept["environment"] = others(envoy.get("environment"), OWN_VARIABLES)
    return kept


def _named(definition: Json, name: str) -> Json:
    return by_name(containers_of(definition)).get(name, {})


def _put(task: Json, container: Json) -> None:
    """Put a container where one of its name is, or at the end."""
    containers = by_name(containers_of(task))
    containers[container["name"]] = container
    task["containerDefinitions"] = list(containers.values())
