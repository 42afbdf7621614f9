"""Put the Envoy sidecar into an ECS task definition, take it out again, say who a
definition is meshed as.

Pure: definitions in, new definitions out, in RegisterTaskDefinition's own form.
Registers nothing, knows no role.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.errors import PlanError
from runbook_lib.task_definition.envoy import (
    DAEMON,
    IDENTITY,
    MAX_IGNORED_PORTS,
    METADATA_IPS,
    applications,
    envoy_of,
    is_daemon,
    proxy_properties,
    waiting,
)
from runbook_lib.task_definition.form import (
    Json,
    containers_of,
    group_of,
    mounts_efs,
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
    name = str((envoy_of(before) or {"name": "envoy"})["name"])
    task = {**copy.deepcopy(before), **_task_fields(before, sidecar, name)}
    envoy = _envoy(_named(before, name) or _beside(_named(now, name)), sidecar, name)
    if not (
        task.get("memory") or envoy.get("memory") or envoy.get("memoryReservation")
    ):
        envoy["memory"] = 500  # ECS needs one of the three
    _put(task, envoy)
    if sidecar.xray:
        daemon = next((c for c in containers_of(now) if is_daemon(c)), _DAEMON)
        user = _with_group(sidecar.user, daemon)
        _put(task, {**copy.deepcopy(daemon), "user": user})
    for container in waiting(task):
        waits = [
            d for d in container.get("dependsOn") or [] if d["containerName"] != name
        ]
        container["dependsOn"] = [
            *waits,
            {"containerName": name, "condition": "HEALTHY"},
        ]
    remember(before, task, name)
    return _keeping(now, task)


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
    now, proxy = copy.deepcopy(task), envoy_of(task)
    if proxy is None:
        return _keeping(now, task)
    memory = recall(task) or guess(proxy)
    for container in containers_of(task):
        strip(container, proxy["name"], *memory["added"])
        restore(container, memory["containers"].get(container["name"], {}))
    task["containerDefinitions"] = [
        c for c in containers_of(task) if c["name"] not in memory["added"]
    ]
    restore(task, memory["task"])
    return _keeping(now, task)


def sidecar_of(definition: Mapping[str, Any]) -> Meshed | None:
    """Return who a definition is meshed as, or None where no App Mesh Envoy in it
    says which node it is.

    PlanError: it is unclear which container is Envoy.
    """
    proxy = envoy_of(definition) or {}
    known = variables(proxy)
    identity = next((known[name] for name in IDENTITY if known.get(name)), None)
    if identity is None:
        return None
    node = _NODE.fullmatch(identity)
    mesh, virtual_node = node.groups() if node else ("", "")
    ports = split(proxy_properties(definition).get("AppPorts"))
    return Meshed(
        proxy["name"],
        mesh,
        virtual_node,
        tuple(int(port) for port in ports if port.isdigit()),
    )


def _keeping(before: Json, after: Json) -> Json:
    """Return a definition that was made of another; raise PlanError unless it runs the
    same applications.

    Whatever a definition says, none comes out of here without its applications, or with
    another image of one.
    """
    wanted, made = (
        {c["name"]: c.get("image") for c in applications(each)}
        for each in (before, after)
    )
    where = f"task definition {before.get('family', '?')}"
    if not wanted:
        raise PlanError(
            f"{where}: expected an application beside Envoy and the X-Ray daemon, "
            f"found {_named_all(before)}",
            hint="give the service's own task definition; one that is Envoy alone is "
            "a virtual gateway",
        )
    if made != wanted:
        raise PlanError(
            f"{where}: expected its applications to stay {_listed(wanted)}; with "
            "this change they would be "
            f"{_listed(made)}",
            hint="register the revision the service ran before it was "
            "meshed, and run again",
        )
    return after


def _listed(images: Mapping[str, Any]) -> str:
    return ", ".join(f"{name!r} ({image})" for name, image in images.items()) or "none"


def _named_all(definition: Json) -> str:
    return (
        ", ".join(repr(c["name"]) for c in containers_of(definition)) or "no container"
    )


def _check_can_mesh(definition: Json, sidecar: Sidecar) -> None:
    family = definition.get("family", "?")
    system = system_of(definition)
    if system != "LINUX":
        raise PlanError(
            f"task definition {family}: runtimePlatform.operatingSystemFamily: "
            f"expected LINUX, found {system}",
            hint="there is no Envoy for Windows: leave this service out of the mesh",
        )
    mode = definition.get("networkMode", "bridge")
    if mode != "awsvpc":
        raise PlanError(
            f"task definition {family}: networkMode: expected awsvpc, found {mode}",
            hint="App Mesh's proxy works in awsvpc only; move the service to it "
            "first, with its own network",
        )
    accepts = definition.get("requiresCompatibilities") or [sidecar.launch_type]
    if sidecar.launch_type not in accepts:
        raise PlanError(
            f"task definition {family}: requiresCompatibilities: expected "
            f"{sidecar.launch_type}, "
            f"found {', '.join(accepts)}",
            hint="set the service's launch_type in the parameters file to what the "
            "definition runs on",
        )
    envoy = envoy_of(definition)
    if sidecar.xray and envoy and envoy["name"] == DAEMON:
        raise PlanError(
            f"task definition {family}: expected no container named {DAEMON!r} but an "
            "X-Ray daemon, found App Mesh's Envoy",
            hint="rename that container, and the proxy configuration's name of it",
        )
    if envoy is None and _named(definition, "envoy"):
        raise PlanError(
            f"task definition {family}: expected no container named 'envoy' but App "
            "Mesh's, found another",
            hint="rename that container first; replacing it would take "
            "your own proxy away",
        )


def _task_fields(before: Json, sidecar: Sidecar, name: str) -> Json:
    """Return the task-level fields the sidecar sets."""
    asked = {
        "taskRoleArn": sidecar.task_role_arn,
        "executionRoleArn": before.get("executionRoleArn")
        or sidecar.execution_role_arn,
        "cpu": sidecar.task_cpu,
        "memory": sidecar.task_memory,
    }
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
    foreign = {key: value for key, value in found.items() if key not in properties}
    proxy = {
        "type": "APPMESH",
        "containerName": name,
        "properties": [
            {"name": key, "value": value}
            for key, value in {**properties, **foreign}.items()
            if value
        ],
    }
    return {
        "proxyConfiguration": proxy,
        **{k: v for k, v in asked.items() if v is not None},
    }


def _ignored_ports(before: Json, sidecar: Sidecar) -> tuple[int, ...]:
    ports = dict.fromkeys(
        (*sidecar.ignored_ports, *([_EFS_PORT] if mounts_efs(before) else []))
    )
    if len(ports) > MAX_IGNORED_PORTS:
        raise PlanError(
            f"task definition {before.get('family', '?')}: EgressIgnoredPorts: "
            "expected at most 15, "
            f"found {len(ports)} with 2049 for its EFS volumes",
            hint="ignore one port fewer in the parameters file",
        )
    return tuple(ports)


def _joined(values: tuple[object, ...]) -> str:
    return ",".join(str(v) for v in dict.fromkeys(values))


def _envoy(found: Json, sidecar: Sidecar, name: str) -> Json:
    """Return the Envoy container: what the one found has beside, and
    the sidecar's fields.
    """
    switches = {
        "APPMESH_RESOURCE_ARN": sidecar.node_arn,
        "APPMESH_RESOURCE_CLUSTER": sidecar.resource_cluster,
        "ENABLE_ENVOY_STATS_TAGS": "1",
        "APPMESH_METRIC_EXTENSION_VERSION": "1",
        "ENABLE_ENVOY_XRAY_TRACING": "1" if sidecar.xray else None,
    }
    own = {name: value for name, value in switches.items() if value}
    others = [
        e for e in found.get("environment") or [] if e["name"] not in {*own, *IDENTITY}
    ]
    limits = [
        limit for limit in found.get("ulimits") or [] if limit["name"] != "nofile"
    ]
    asked = {
        "cpu": sidecar.cpu,
        "memory": sidecar.memory,
        "logConfiguration": copy.deepcopy(sidecar.log),
    }
    said = {key: value for key, value in asked.items() if value is not None}
    kept = {key: value for key, value in found.items() if key not in said}
    if sidecar.memory and sidecar.memory <= kept.get("memoryReservation", 0):
        del kept["memoryReservation"]  # ECS refuses one that is not below the limit
    return {
        **kept,
        **{key: value for key, value in said.items() if value},
        "name": name,
        "image": sidecar.image,
        "essential": True,
        "user": _with_group(sidecar.user, found),
        "environment": [*others, *({"name": n, "value": v} for n, v in own.items())],
        "healthCheck": {
            **copy.deepcopy(_HEALTH_CHECK),
            "startPeriod": sidecar.start_seconds,
        },
        "ulimits": [
            *limits,
            {"name": "nofile", "softLimit": 15000, "hardLimit": 15000},
        ],
    }


def _with_group(user: str, found: Json) -> str:
    """Return a user as a container runs as it: with the group that it has already."""
    group = group_of(found)
    return f"{user}:{group}" if group else user


def _beside(envoy: Json) -> Json:
    """Return what somebody gave to an earlier sidecar's Envoy, so that none of ours
    outlives its parameter.
    """
    kept = {key: value for key, value in envoy.items() if key not in ("cpu", "memory")}
    return {
        **kept,
        "environment": [
            e for e in envoy.get("environment") or [] if e["name"] not in OWN_VARIABLES
        ],
    }


def _named(definition: Json, name: str) -> Json:
    return next((c for c in containers_of(definition) if c["name"] == name), {})


def _put(task: Json, container: Json) -> None:
    """Put a container where one of its name is, or at the end."""
    containers = containers_of(task)
    names = [c["name"] for c in containers]
    place = names.index(container["name"]) if container["name"] in names else len(names)
    task["containerDefinitions"] = [
        *containers[:place],
        container,
        *containers[place + 1 :],
    ]
