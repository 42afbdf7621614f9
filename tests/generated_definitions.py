"""Task definitions made of RegisterTaskDefinition's own model.

`complete` has each of its members, `ANY` whatever the model allows, contradictions too, `PLAUSIBLE` what people
deploy: each of these can be registered.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import botocore.session
from hypothesis import strategies as st

Json = dict[str, Any]
Path = tuple[str, ...]
MODEL = botocore.session.get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
ENVOY = "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.29.6.1-prod"
NAMES = ("orders", "worker", "log", "envoy", "xray-daemon")
IMAGES = ("orders:41", "fluent/fluent-bit:3", "public.ecr.aws/xray/aws-xray-daemon:3", ENVOY)
PROPERTIES = {"AppPorts": "9080", "IgnoredUID": "1337", "IgnoredGID": "1338", "Other": "x"}
FREE = ("options", "dockerLabels", "driverOpts", "labels")  # maps of names that nobody lists

# What a member may hold where not anything of its type will do; the first is `complete`'s.
SAMPLES: dict[str, list[Any]] = {
    "family": ["orders"],
    "networkMode": ["awsvpc", "awsvpc", "awsvpc", "bridge"],
    "cpu": ["1024", "1 vCPU"],
    "memory": ["2048", "4 GB"],
    "requiresCompatibilities": [["FARGATE"], ["EC2"], ["EC2", "FARGATE"], []],
    "tags.key": ["team", "aws:cloudformation:stack-name"],
    "proxyConfiguration.containerName": ["envoy", "orders"],
    "proxyConfiguration.properties.name": list(PROPERTIES),
    "containerDefinitions.name": list(NAMES),
    "containerDefinitions.image": list(IMAGES),
    "containerDefinitions.cpu": [0, 64],
    "containerDefinitions.memory": [128, 256],
    "containerDefinitions.memoryReservation": [64],
    "containerDefinitions.user": ["0:1338", "0", "1000:1000", "1337", "app"],
    "containerDefinitions.environment.name": ["STAGE", "APPMESH_VIRTUAL_NODE_NAME"],
    "containerDefinitions.links": [["envoy:proxy"], ["worker"], []],
    "containerDefinitions.volumesFrom.sourceContainer": list(NAMES),
    "containerDefinitions.dependsOn.containerName": list(NAMES),
    "containerDefinitions.portMappings.containerPortRange": ["9100-9110"],
    "containerDefinitions.portMappings.containerPort": [9080, 80],
    "containerDefinitions.portMappings.hostPort": [9080, 0],
    "runtimePlatform.operatingSystemFamily": ["LINUX", "WINDOWS_SERVER_2022_CORE"],
}
NEEDED = {"name", "image", "value", "key", "sourceContainer", "networkMode"}
TYPED: dict[str, list[Any]] = {"string": ["a", "b"], "integer": [1, 60], "boolean": [True, False]}


def members(shape: Any = MODEL, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each member of the model, those that hold others included; lists add no part."""
    if shape.type_name == "list":
        yield from members(shape.member, path)
    elif shape.type_name == "structure":
        for name, member in shape.members.items():
            yield (*path, name)
            yield from members(member, (*path, name))


def found_in(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each member that a definition has."""
    if isinstance(value, list):
        for item in value:
            yield from found_in(item, path)
    elif isinstance(value, dict) and path[-1:] not in [(name,) for name in FREE]:
        for name, inner in value.items():
            yield (*path, name)
            yield from found_in(inner, (*path, name))


def _samples(shape: Any, path: Path) -> list[Any] | None:
    known = SAMPLES.get(".".join(path))
    return known or getattr(shape, "enum", None) or TYPED.get(shape.type_name)


def complete(shape: Any = MODEL, path: Path = ()) -> Any:
    """Return a value of a shape with every member that there is."""
    if samples := _samples(shape, path):
        return copy.deepcopy(samples[0])
    if shape.type_name == "list":
        return [complete(shape.member, path)]
    if shape.type_name == "map":
        return {"k": "v"}
    return {name: complete(member, (*path, name)) for name, member in shape.members.items()}


def values(shape: Any = MODEL, path: Path = ()) -> st.SearchStrategy[Any]:
    """Return values of a shape as the model allows them; a structure has its required members and up to five more."""
    if samples := _samples(shape, path):
        return st.sampled_from(samples).map(copy.deepcopy)
    if shape.type_name == "list":
        of_a_name = (lambda one: one["name"]) if path == ("containerDefinitions",) else None
        return st.lists(values(shape.member, path), max_size=4, unique_by=of_a_name)
    if shape.type_name == "map":
        return st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["a", "b"]), max_size=1)
    known = {name: values(member, (*path, name)) for name, member in shape.members.items()}
    needed = {*shape.required_members, *known.keys() & NEEDED}
    if shape.is_tagged_union:
        needed = {next(iter(known))}
    others = sorted(known.keys() - needed)
    required = st.fixed_dictionaries({name: known[name] for name in sorted(needed)})
    if shape.is_tagged_union or not others:
        return required
    chosen = st.lists(st.sampled_from(others), max_size=5, unique=True)
    more = chosen.flatmap(lambda names: st.fixed_dictionaries({name: known[name] for name in names}))
    return st.builds(dict.__or__, required, more)


ANY = values()


def registrable(definition: Json) -> Json:
    """Return a definition without what contradicts itself in it, so that ECS registers it."""
    task = copy.deepcopy(definition)
    containers = {c["name"]: c for c in task["containerDefinitions"]}
    containers.setdefault("orders", {"name": "orders"})
    containers["orders"] |= {"image": "orders:41", "essential": True}
    for place, container in enumerate(containers.values()):
        _without_contradictions(container, list(containers)[:place], containers)
    task |= {"networkMode": "awsvpc", "cpu": "1024", "memory": "2048", "containerDefinitions": [*containers.values()]}
    task["volumes"] = [{"name": "a"}, {"name": "b"}]
    task.pop("proxyConfiguration", None)
    if "envoy" in containers:
        properties = [{"name": name, "value": value} for name, value in PROPERTIES.items()]
        task["proxyConfiguration"] = {"containerName": "envoy", "properties": properties}
    _route_logs(list(containers.values()))
    return task


def _without_contradictions(container: Json, earlier: list[str], containers: dict[str, Json]) -> None:
    name = container["name"]
    for key in ("links", "portMappings"):
        container.pop(key, None)
    if name == "orders":
        container["portMappings"] = [{"containerPortRange": "9100-9110"}, {"containerPort": 9080}]
    if name == "xray-daemon":
        container["portMappings"] = [{"containerPort": 2000, "protocol": "udp"}]
    if name == "envoy":
        container |= {"image": ENVOY, "healthCheck": {"command": ["CMD", "true"]}}
    elif container["image"] == ENVOY:
        container["image"] = "worker:1"
    waits = [wait for wait in container.get("dependsOn", []) if wait["containerName"] in earlier]
    for wait in waits:
        wait["condition"] = "HEALTHY" if "healthCheck" in containers[wait["containerName"]] else "START"
    secrets = {secret["name"]: secret for secret in container.get("secrets", [])}
    variables = {entry["name"]: entry for entry in container.get("environment", [])}
    container |= {
        "dependsOn": waits,
        "volumesFrom": [v for v in container.get("volumesFrom", []) if v["sourceContainer"] in earlier],
        "secrets": [secrets[name] for name in secrets.keys() - variables.keys()],
        "environment": list(variables.values()),
        "mountPoints": [m for m in container.get("mountPoints", []) if m.get("sourceVolume")],
    }


def _route_logs(containers: list[Json]) -> None:
    """Take log routers and what logs to them out, unless there are both."""
    logging = [c for c in containers if c.get("logConfiguration", {}).get("logDriver") == "awsfirelens"]
    routers = [c for c in containers if "firelensConfiguration" in c]
    if not (logging and routers):
        for container in (*logging, *routers):
            container.pop("logConfiguration", None)
            container.pop("firelensConfiguration", None)


PLAUSIBLE = ANY.map(registrable)
