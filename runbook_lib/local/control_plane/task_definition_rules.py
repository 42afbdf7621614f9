"""What ECS makes of a task definition at registration, and what it refuses there.

Words in quotes come from facts/appmesh.md 3.4 and 6.1, or are the service's own as moto
has them; those marked [inferred] are not documented. Two rules are stricter than some
reports: a dependency on HEALTHY needs a health check, and the reservations of all
containers must fit into the task's memory. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from itertools import chain
from typing import Any, Final

from runbook_lib.local.control_plane.ecs_resources import refusal

__all__ = ["check_definition", "fargate_accepts", "normalised"]

Members = dict[str, Any]

CONTAINER_DEFAULTS: Final[Members] = {
    "cpu": 0,
    "portMappings": [],
    "essential": True,
    "environment": [],
    "mountPoints": [],
    "volumesFrom": [],
    "systemControls": [],
}
HEALTH_DEFAULTS: Final = {"interval": 30, "timeout": 5, "retries": 3}
FARGATE: Final[dict[int, range | list[int]]] = {
    256: [512, 1024, 2048],
    512: range(1024, 4096 + 1, 1024),
    1024: range(2048, 8192 + 1, 1024),
    2048: range(4096, 16384 + 1, 1024),
    4096: range(8192, 30720 + 1, 1024),
    8192: range(16384, 61440 + 1, 4096),
    16384: range(32768, 122880 + 1, 8192),
}
UNITS: Final = {"cpu": ("vcpu", "CPU"), "memory": ("gb", "memory")}


def normalised(request: Members) -> Members:
    """Return the definition as ECS describes it: sizes in units, defaults
    in, empty values out.
    """
    document = {"volumes": [], "placementConstraints": [], **deepcopy(request)}
    document.pop("tags", None)
    for size in ("cpu", "memory"):
        if document.get(size):
            document[size] = _units(size, document[size])
    document.setdefault("networkMode", "bridge")
    awsvpc = document["networkMode"] == "awsvpc"
    document["containerDefinitions"] = [
        _container(c, awsvpc) for c in document["containerDefinitions"]
    ]
    for entry in document.get("proxyConfiguration", {}).get("properties", []):
        if entry.get("value") == "":
            # described without it, so that sending it back is refused (facts 3.4)
            del entry["value"]
    return document


def _units(size: str, text: str) -> str:
    found = re.fullmatch(
        rf"\s*(\d*\.?\d+)\s*({UNITS[size][0]})?\s*", text, re.IGNORECASE
    )
    if not found:
        raise refusal("ClientException", f"Invalid '{size}' setting for task.")
    return str(round(float(found[1]) * 1024)) if found[2] else found[1]


def _container(given: Members, awsvpc: bool) -> Members:
    container = {**deepcopy(CONTAINER_DEFAULTS), **given}
    container["environment"] = [e for e in container["environment"] if e.get("value")]
    for mapping in container["portMappings"]:
        mapping.setdefault("protocol", "tcp")
        if "containerPort" in mapping:  # a range has no host port of its own
            mapping.setdefault("hostPort", mapping["containerPort"] if awsvpc else 0)
    if container.get("healthCheck"):
        container["healthCheck"] = {**HEALTH_DEFAULTS, **container["healthCheck"]}
    return container


def check_definition(request: Members, document: Members) -> None:
    """Raise ClientException for the first thing ECS would refuse; `document` is
    `request` normalised.
    """
    faults = chain(
        _containers(document),
        _secrets(request),
        _logs(document),
        _network(document),
        _volumes(document),
        _proxy(request, document),
        _fargate(document),
        _sizes(document),
        _dependencies(document),
    )
    for fault in faults:
        raise refusal("ClientException", fault)


def _containers(document: Members) -> Iterator[str]:
    containers = document["containerDefinitions"]
    if not containers:
        yield "Container list cannot be empty."
    for member in ("name", "image"):
        if not all(container.get(member) for container in containers):
            yield f"Container.{member} should not be null or empty."
    if len({container["name"] for container in containers}) != len(containers):
        yield "Container names must be unique within a task definition."  # [inferred]
    if not any(container["essential"] for container in containers):
        yield "At least one container must be marked as essential."  # [inferred]


def _secrets(request: Members) -> Iterator[str]:
    for container in request["containerDefinitions"]:
        names = [secret["name"] for secret in container.get("secrets", [])]
        variables = [entry.get("name") for entry in container.get("environment", [])]
        twice = sorted({name for name in names if names.count(name) > 1})
        shared = sorted(set(names) & set(variables))
        if twice:
            yield (
                f"Duplicate secret names found: {', '.join(twice)}. "
                "Each secret name must be unique."
            )
        if shared:
            yield (
                "The secret name must be unique and not shared with any new or "
                "existing environment variables set on the container, such as "
                f"'{shared[0]}'."
            )


def _logs(document: Members) -> Iterator[str]:
    containers = document["containerDefinitions"]
    routed = any("firelensConfiguration" in container for container in containers)
    drivers = [c.get("logConfiguration", {}).get("logDriver") for c in containers]
    if "awsfirelens" in drivers and not routed:
        yield (
            "When awsfirelens log driver is specified in log configuration, a firelens "
            "configuration object must be configured in one of the containers."
        )
    if routed and "awsfirelens" not in drivers:
        yield (
            "When a firelensConfiguration object is specified, at least one container "
            "has to be configured with the awsfirelens log driver."
        )


def _volumes(document: Members) -> Iterator[str]:
    known = {volume.get("name") for volume in document["volumes"]}
    for container in document["containerDefinitions"]:
        name = container["name"]
        for mounted in container["mountPoints"]:
            if mounted.get("sourceVolume") not in known:
                yield f"Unknown volume '{mounted.get('sourceVolume')}'."
        for shared in container["volumesFrom"]:
            if shared.get("sourceContainer") not in _names(document):
                # [inferred]
                yield f"Invalid 'volumesFrom' setting for container '{name}'."


def _network(document: Members) -> Iterator[str]:
    for container in document["containerDefinitions"]:
        for mapping in container["portMappings"]:
            yield from _mapping(container["name"], mapping)
    mappings = [m for c in document["containerDefinitions"] for m in c["portMappings"]]
    yield from _host_ports(mappings)
    awsvpc = document["networkMode"] == "awsvpc"
    if awsvpc and any(c.get("links") for c in document["containerDefinitions"]):
        yield "Links are not supported when networkMode=awsvpc."
    if awsvpc and any(m.get("hostPort") != m.get("containerPort") for m in mappings):
        yield (
            "When networkMode=awsvpc, the host ports and container ports in port "
            "mappings must match."
        )


def _host_ports(mappings: list[Members]) -> Iterator[str]:
    """Yield each port of the task, or of its instance, that two mappings ask for."""
    seen: set[tuple[str, int]] = set()
    for mapping in mappings:
        port = (mapping["protocol"], mapping.get("hostPort") or 0)
        if port[1] and port in seen:
            protocol = port[0].upper()
            yield f"{protocol} host port '{port[1]}' is mapped multiple times in task."
        seen.add(port)


def _mapping(container: str, mapping: Members) -> Iterator[str]:
    first, dash, last = str(mapping.get("containerPortRange", "1-1")).partition("-")
    if not (
        dash
        and first.isdecimal()
        and last.isdecimal()
        and 1 <= int(first) <= int(last) <= 65535
    ):
        # [inferred]
        yield f"Invalid 'containerPortRange' setting for container '{container}'."
    if ("containerPort" in mapping) == ("containerPortRange" in mapping):
        yield f"Invalid 'containerPort' setting for container '{container}'."


def _proxy(request: Members, document: Members) -> Iterator[str]:
    proxy = request.get("proxyConfiguration")
    if not proxy:
        return
    if document["networkMode"] != "awsvpc":
        yield "APPMESH proxy configuration is only supported in networkMode=awsvpc"
    if any(entry.get("value") is None for entry in proxy.get("properties", [])):
        yield "ProxyConfiguration properties value cannot be null"
    if proxy["containerName"] not in _names(document):
        # [inferred]
        yield (
            f"Proxy container '{proxy['containerName']}' is not in the task definition."
        )


def _names(document: Members) -> list[str]:
    return [container["name"] for container in document["containerDefinitions"]]


def _reserved(container: Members) -> int:
    return int(container.get("memoryReservation") or container.get("memory") or 0)


def _sizes(document: Members) -> Iterator[str]:
    containers = document["containerDefinitions"]
    cpu, memory = int(document.get("cpu") or 0), int(document.get("memory") or 0)
    if cpu and sum(container["cpu"] for container in containers) > cpu:
        yield (
            "The sum of all container 'cpu' values cannot be greater than the value "
            "of the task 'cpu'."
        )
    if memory and sum(map(_reserved, containers)) > memory:  # [inferred] words
        yield (
            "The sum of all container memory cannot be greater than the value of "
            "the task 'memory'."
        )
    for container in containers:
        if not memory and not _reserved(container):
            yield (
                f"Invalid setting for container '{container['name']}'. "
                "At least one of 'memory' or 'memoryReservation' must be specified."
            )


def _fargate(document: Members) -> Iterator[str]:
    if "FARGATE" not in document.get("requiresCompatibilities", []):
        return
    if document["networkMode"] != "awsvpc":
        yield "Fargate only supports network mode 'awsvpc'."
    for size in ("cpu", "memory"):
        if not document.get(size):
            yield f"Fargate requires that '{size}' be defined at the task level."
    if not fargate_accepts(document):
        given = f"{document['cpu']} CPU, {document['memory']} memory"
        yield f"No Fargate configuration exists for given values: {given}."


def fargate_accepts(document: Members) -> bool:
    """Say whether a normalised definition could run on Fargate: awsvpc, and a pair
    of sizes it offers.
    """
    cpu, memory = int(document.get("cpu") or 0), int(document.get("memory") or 0)
    return document["networkMode"] == "awsvpc" and memory in FARGATE.get(cpu, [])


def _dependencies(document: Members) -> Iterator[str]:
    by_name = {
        container["name"]: container for container in document["containerDefinitions"]
    }
    for container in document["containerDefinitions"]:
        for dependency in container.get("dependsOn", []):
            yield from _dependency(
                container["name"], by_name.get(dependency["containerName"]), dependency
            )
    if _cycle(
        {
            name: [d["containerName"] for d in c.get("dependsOn", [])]
            for name, c in by_name.items()
        }
    ):
        yield "Container dependencies must not form a cycle."  # [inferred]


def _dependency(
    name: str, wanted: Members | None, dependency: dict[str, str]
) -> Iterator[str]:
    if wanted is None:
        missing = dependency["containerName"]
        # [inferred]
        yield (
            f"Container '{name}' depends on container '{missing}', "
            "which is not defined."
        )
        return
    if dependency["condition"] == "HEALTHY" and not wanted.get("healthCheck"):
        yield (
            "A dependency container with HEALTHY condition must have a health check: "
            f"'{wanted['name']}'."
        )
    if dependency["condition"] in ("SUCCESS", "COMPLETE") and wanted["essential"]:
        yield (
            "A dependency container with SUCCESS or COMPLETE condition cannot be an "
            "essential container"
        )


def _cycle(graph: dict[str, list[str]]) -> bool:
    """Take away what depends on nothing left, until nothing more goes."""
    left = dict(graph)
    while free := [name for name, needs in left.items() if not set(needs) & set(left)]:
        for name in free:
            del left[name]
    return bool(left)
