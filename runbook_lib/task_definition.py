"""Put the Envoy sidecar into an ECS task definition, take it out again, say who a definition is meshed as.

Pure: definitions in, new definitions out, in RegisterTaskDefinition's own form. Registers nothing, knows no
role. How definitions are read and compared is in `task_form`, the way back in `task_memory`, the image table
in `envoy_image`, what ECS would refuse or break on in `task_lint`; their words are offered here too.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runbook_lib.envoy_image import (
    ENVOY_ACCOUNTS,
    FIPS_REGIONS,
    REGIONS,
    check_fips,
    check_image_tag,
    check_region,
    envoy_image,
)
from runbook_lib.errors import ParametersError, PlanError
from runbook_lib.task_form import (
    IDENTITY,
    MAX_IGNORED_PORTS,
    METADATA_IPS,
    Json,
    app_containers,
    containers_of,
    is_daemon,
    normalise,
    proxy_container,
    proxy_properties,
    register_input,
    same,
    split,
    variables,
)
from runbook_lib.task_lint import FARGATE_SIZES, Finding, lint
from runbook_lib.task_memory import LABEL, OWN_VARIABLES, guess, recall, remember, restore, strip

__all__ = [
    "ENVOY_ACCOUNTS",
    "FARGATE_SIZES",
    "FIPS_REGIONS",
    "REGIONS",
    "Finding",
    "Meshed",
    "Sidecar",
    "check_fips",
    "check_image_tag",
    "check_region",
    "envoy_image",
    "lint",
    "normalise",
    "register_input",
    "same",
    "sidecar_of",
    "with_envoy",
    "without_envoy",
]

_HEALTH = "curl -s http://localhost:9901/server_info | grep state | grep -q LIVE"
_NODE = re.compile(r"(?:arn:aws[\w-]*:appmesh:([\w-]+):\d{12}:)?mesh/([^/]+)/virtualNode/([^/]+)")
_EFS_PORT = 2049


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Everything needed to add Envoy to a task. What is None is left as the definition has it.

    Ports are TCP; `app_ports` are the node's listener ports. `ignored_ips` come on top of the two metadata
    addresses. `cpu` (CPU units) and `memory` (MiB, hard limit) are Envoy's; without `memory` Envoy gets 500
    where the task has no memory of its own (ECS needs one of the two). `task_cpu`, `task_memory` resize
    the task. `start_period` (seconds, 0-300) is 90, not the documentation's 10: fetching its configuration
    has been seen to take Envoy 70 s (aws/eks-charts#604), and since a check that succeeds ends it, a long
    one delays nothing but the end of an Envoy that never comes up.
    """

    image: str
    node_arn: str
    app_ports: tuple[int, ...]
    region: str
    launch_type: Literal["FARGATE", "EC2"] = "FARGATE"
    resource_cluster: str | None = None
    ignored_ips: tuple[str, ...] = ()
    ignored_ports: tuple[int, ...] = (22,)
    user: str = "1337"
    cpu: int | None = None
    memory: int | None = None
    xray: bool = False
    task_role_arn: str | None = None
    execution_role_arn: str | None = None
    task_cpu: str | None = None
    task_memory: str | None = None
    start_period: int = 90
    open_files: int | None = 15000
    stats_tags: bool = True
    metric_extension: bool = True

    def __post_init__(self) -> None:
        """Refuse what no definition could be made of (ParametersError)."""
        node = _NODE.fullmatch(self.node_arn)
        here = node is not None and node[1] == self.region
        _require(here, "node ARN", f"one in {self.region}", self.node_arn)
        _require(self.launch_type in ("FARGATE", "EC2"), "launch type", "FARGATE or EC2", self.launch_type)
        _require(bool(self.app_ports), "app ports", "at least one", self.app_ports)
        for port in (*self.app_ports, *self.ignored_ports):
            _require(1 <= port <= 65535, "port", "1-65535", port)
        few = len(self.ignored_ports) <= MAX_IGNORED_PORTS
        _require(few, "ignored ports", "at most 15", self.ignored_ports)
        _require(self.user.isdigit() and self.user != "0", "user", "a numeric user id, not root's", self.user)
        _require(0 <= self.start_period <= 300, "start period", "0-300 seconds", self.start_period)


@dataclass(frozen=True, slots=True)
class Meshed:
    """Who a definition is meshed as, read from itself.

    `node` is the value of `variable` (an ARN, or the short form the old variables take); `remembered` tells
    whether `without_envoy` knows what was there before.
    """

    container: str
    image: str
    variable: str
    node: str
    mesh: str
    virtual_node: str
    app_ports: tuple[int, ...]
    user: str
    xray: bool
    remembered: bool


def with_envoy(definition: Mapping[str, Any], sidecar: Sidecar) -> Json:
    """Return the register_task_definition input for `definition` with the Envoy sidecar in it.

    Idempotent; fields it was not asked to change are kept, those of an Envoy already there included, but the
    proxy configuration is the sidecar's alone. Port 2049 is left to EFS where the task mounts one (App Mesh
    user guide, troubleshooting-connectivity). PlanError: a network mode other than awsvpc, a launch type the
    definition excludes, a container named `envoy` that is not App Mesh's, over 15 ignored ports.
    """
    now = register_input(definition)
    before = now if recall(now) is None else without_envoy(now)  # an earlier sidecar leaves nothing behind
    _check_can_mesh(before, sidecar)
    name = str((proxy_container(before) or {"name": "envoy"})["name"])
    task = {**copy.deepcopy(before), **_task_fields(before, sidecar, name)}
    _put(task, _envoy(_named(now, name), _named(before, name), before, sidecar, name))
    if sidecar.xray:
        daemon = next((c for c in containers_of(now) if is_daemon(c)), _daemon())
        _put(task, {**daemon, "user": sidecar.user})
    for container in app_containers(task):
        waits = [d for d in container.get("dependsOn") or [] if d["containerName"] != name]
        container["dependsOn"] = [*waits, {"containerName": name, "condition": "HEALTHY"}]
    remember(before, task, name)
    return task


def without_envoy(definition: Mapping[str, Any]) -> Json:
    """Return the register_task_definition input for the definition `with_envoy` was given.

    The former values of what `with_envoy` changes are in a Docker label of the Envoy container, which goes
    with the revision and with the sidecar (`task_memory`); other edits made since are kept, which a stored
    original would undo. A definition meshed by other hands has no such label: its Envoy, traced X-Ray daemon,
    dependencies and proxy configuration go, its roles and sizes stay, since nothing says whose they are. One
    without Envoy comes back as it is. PlanError: the label is not readable.
    """
    task = register_input(definition)
    proxy = proxy_container(task)
    if proxy is None:
        return task
    memory = recall(task) or guess(task, proxy)
    for container in containers_of(task):
        strip(container, proxy["name"])
        restore(container, memory["containers"].get(container["name"], {}))
    task["containerDefinitions"] = [c for c in containers_of(task) if c["name"] not in memory["added"]]
    restore(task, memory["task"])
    return task


def sidecar_of(definition: Mapping[str, Any]) -> Meshed | None:
    """Return who a definition is meshed as, or None where no App Mesh Envoy in it says which node it is."""
    proxy = proxy_container(definition)
    known = variables(proxy or {})
    variable = next((name for name in IDENTITY if known.get(name)), None)
    if proxy is None or variable is None:
        return None
    node = _NODE.fullmatch(known[variable])
    return Meshed(
        container=proxy["name"],
        image=proxy.get("image", ""),
        variable=variable,
        node=known[variable],
        mesh=node[2] if node else "",
        virtual_node=node[3] if node else "",
        app_ports=tuple(int(p) for p in split(proxy_properties(definition).get("AppPorts")) if p.isdigit()),
        user=str(proxy.get("user", "")),
        xray=known.get("ENABLE_ENVOY_XRAY_TRACING") == "1",
        remembered=LABEL in (proxy.get("dockerLabels") or {}),
    )


def _require(holds: bool, what: str, expected: str, found: object) -> None:
    if not holds:
        raise ParametersError(
            f"sidecar {what}: expected {expected}, found {found!r}",
            hint="correct it in the parameters file",
        )


def _check_can_mesh(definition: Json, sidecar: Sidecar) -> None:
    family, mode = definition.get("family", "?"), definition.get("networkMode", "bridge")
    if mode != "awsvpc":
        raise PlanError(
            f"task definition {family}: networkMode: expected awsvpc, found {mode}",
            hint="App Mesh's proxy works in awsvpc only; move the service to it first, with its own network",
        )
    accepts = definition.get("requiresCompatibilities") or [sidecar.launch_type]
    if sidecar.launch_type not in accepts:
        raise PlanError(
            f"task definition {family}: requiresCompatibilities: expected {sidecar.launch_type}, "
            f"found {', '.join(accepts)}",
            hint="set the service's launch_type in the parameters file to what the definition runs on",
        )
    if proxy_container(definition) is None and _named(definition, "envoy"):
        raise PlanError(
            f"task definition {family}: expected no container named 'envoy' but App Mesh's, found another",
            hint="rename that container first; replacing it would take your own proxy away",
        )


def _task_fields(before: Json, sidecar: Sidecar, name: str) -> Json:
    """Return the task-level fields the sidecar sets."""
    asked = {
        "taskRoleArn": sidecar.task_role_arn,
        "executionRoleArn": sidecar.execution_role_arn,
        "cpu": sidecar.task_cpu,
        "memory": sidecar.task_memory,
    }
    properties = {
        "IgnoredUID": sidecar.user,
        "ProxyIngressPort": "15000",
        "ProxyEgressPort": "15001",
        "AppPorts": _joined(sidecar.app_ports),
        "EgressIgnoredIPs": _joined((*METADATA_IPS, *sidecar.ignored_ips)),
        "EgressIgnoredPorts": _joined(_ignored_ports(before, sidecar)),
    }
    proxy = {
        "type": "APPMESH",
        "containerName": name,
        "properties": [{"name": k, "value": v} for k, v in properties.items() if v],
    }
    return {"proxyConfiguration": proxy, **{k: v for k, v in asked.items() if v is not None}}


def _ignored_ports(before: Json, sidecar: Sidecar) -> tuple[int, ...]:
    mounts_efs = any(v.get("efsVolumeConfiguration") for v in before.get("volumes") or [])
    ports = dict.fromkeys((*sidecar.ignored_ports, *([_EFS_PORT] if mounts_efs else [])))
    if len(ports) > MAX_IGNORED_PORTS:
        raise PlanError(
            f"task definition {before.get('family', '?')}: EgressIgnoredPorts: expected at most 15, "
            f"found {len(ports)} with 2049 for its EFS volumes",
            hint="ignore one port fewer in the parameters file",
        )
    return tuple(ports)


def _joined(values: tuple[object, ...]) -> str:
    return ",".join(str(v) for v in dict.fromkeys(values))


def _envoy(now: Json, base: Json, before: Json, sidecar: Sidecar, name: str) -> Json:
    """Return the Envoy container: what an Envoy already there (`now`) has beside, and the sidecar's fields.

    `base` is the Envoy from before the runbook, {} mostly: settings of its own that the sidecar does not
    speak of come from there, so that none of ours outlives its parameter.
    """
    kept = {k: v for k, v in now.items() if k not in ("cpu", "memory", "ulimits")}
    sized: Json = {k: base[k] for k in ("cpu", "memory") if k in base}
    asked = {"cpu": sidecar.cpu, "memory": sidecar.memory}
    envoy: Json = {
        **kept,
        **sized,
        **{k: v for k, v in asked.items() if v is not None},
        "name": name,
        "image": sidecar.image,
        "essential": True,
        "user": sidecar.user,
        "environment": _environment(now, base, sidecar),
        "healthCheck": _health_check(sidecar.start_period),
    }
    sizes = (before.get("memory"), sidecar.task_memory, envoy.get("memory"), envoy.get("memoryReservation"))
    if not any(sizes):
        envoy["memory"] = 500
    if limits := _ulimits(now if sidecar.open_files else base, sidecar.open_files):
        envoy["ulimits"] = limits
    return envoy


def _environment(now: Json, base: Json, sidecar: Sidecar) -> list[Json]:
    switches = {
        "APPMESH_RESOURCE_ARN": sidecar.node_arn,
        "APPMESH_RESOURCE_CLUSTER": sidecar.resource_cluster,
        "ENABLE_ENVOY_STATS_TAGS": "1" if sidecar.stats_tags else None,
        "APPMESH_METRIC_EXTENSION_VERSION": "1" if sidecar.metric_extension else None,
        "ENABLE_ENVOY_XRAY_TRACING": "1" if sidecar.xray else None,
    }
    own = {name: value for name, value in switches.items() if value}
    others = [e for e in now.get("environment") or [] if e["name"] not in OWN_VARIABLES]
    earlier = [e for e in base.get("environment") or [] if e["name"] in OWN_VARIABLES - {*own, *IDENTITY}]
    return [*others, *earlier, *({"name": n, "value": v} for n, v in own.items())]


def _health_check(start_period: int) -> Json:
    return {
        "command": ["CMD-SHELL", _HEALTH],
        "startPeriod": start_period,
        "interval": 5,
        "timeout": 2,
        "retries": 3,
    }


def _ulimits(envoy: Json, open_files: int | None) -> list[Json]:
    if open_files is None:
        return list(envoy.get("ulimits") or [])
    others = [u for u in envoy.get("ulimits") or [] if u["name"] != "nofile"]
    return [*others, {"name": "nofile", "softLimit": open_files, "hardLimit": open_files}]


def _daemon() -> Json:
    """Return the X-Ray daemon as the tutorial has it, its user still to be set to Envoy's."""
    return {
        "name": "xray-daemon",
        "image": "amazon/aws-xray-daemon",
        "essential": True,
        "cpu": 32,
        "memoryReservation": 256,
        "portMappings": [{"containerPort": 2000, "protocol": "udp"}],
    }


def _named(definition: Json, name: str) -> Json:
    return next((c for c in containers_of(definition) if c["name"] == name), {})


def _put(task: Json, container: Json) -> None:
    """Put a container where one of its name is, or at the end."""
    containers = containers_of(task)
    names = [c["name"] for c in containers]
    place = names.index(container["name"]) if container["name"] in names else len(names)
    task["containerDefinitions"] = [*containers[:place], container, *containers[place + 1 :]]
