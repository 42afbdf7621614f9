"""Read a task definition: what can be registered of it, its comparison form, its
containers and their ports.

Pure: dicts in, new dicts out, with the ECS API's own keys. Never
changes what it is given.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from runbook_lib.errors import PlanError

Json = dict[str, Any]

# What DescribeTaskDefinition answers and RegisterTaskDefinition does not take
# (botocore's two shapes; a test compares).
READ_ONLY = frozenset(
    {
        "taskDefinitionArn",
        "revision",
        "status",
        "requiresAttributes",
        "compatibilities",
        "registeredAt",
        "registeredBy",
        "deregisteredAt",
        "deleteRequestedAt",
    }
)
# "" is a value in these
_FREE_TEXT = frozenset({"dockerLabels", "options", "driverOpts", "labels"})
_ORDERED = frozenset({"environmentFiles"})  # the first file that names a variable wins
_PORT_SETS = frozenset({"AppPorts", "EgressIgnoredPorts", "EgressIgnoredIPs"})
_DEFAULTS: dict[str, Json] = {
    "task": {"networkMode": "bridge"},
    "containerDefinitions": {"essential": True, "cpu": 0},
    "healthCheck": {"interval": 30, "timeout": 5, "retries": 3, "startPeriod": 0},
    "portMappings": {"protocol": "tcp", "hostPort": 0},
    "proxyConfiguration": {"type": "APPMESH"},
}


def register_input(definition: Mapping[str, Any]) -> Json:
    """Return what RegisterTaskDefinition takes of a described
    definition, as a deep copy.

    Takes a `taskDefinition`, a whole DescribeTaskDefinition answer (its tags come
    along) or a register call. Drops read-only keys, empty `inferenceAccelerators`, tags
    reserved to AWS (`aws:`), and proxy properties without a value ("ProxyConfiguration
    properties value cannot be null").
    """
    described = dict(definition)
    if "taskDefinition" in definition:
        described = dict(definition["taskDefinition"])
        described["tags"] = definition.get("tags", [])
    result = copy.deepcopy(described)
    for key in READ_ONLY:
        result.pop(key, None)
    tags = list_in(result, "tags")
    own_tags = [tag for tag in tags if not tag["key"].startswith("aws:")]
    put(result, "tags", own_tags)
    put(result, "inferenceAccelerators", result.get("inferenceAccelerators"))
    proxy = result.get("proxyConfiguration")
    if proxy:
        proxy["properties"] = valued_properties(proxy)
    return result


def valued_properties(proxy: Mapping[str, Any]) -> list[Json]:
    """Return the properties of a proxy configuration that have a value."""
    properties = list_in(proxy, "properties")
    return [each for each in properties if each.get("value") is not None]


def list_in(record: Mapping[str, Any], key: str) -> list[Any]:
    """Return the list that is a record's field; an empty one where it is absent."""
    found: list[Any] = record.get(key) or []
    return found


def record_in(record: Mapping[str, Any], key: str) -> Json:
    """Return the record that is a record's field; an empty one where it is absent."""
    found: Json = record.get(key) or {}
    return found


def put(record: Json, key: str, value: Any) -> None:
    """Give a record a field, or take it out where the value is empty."""
    if value:
        record[key] = value
    else:
        record.pop(key, None)


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Tell whether ECS would run two definitions alike, however they are written."""
    return normalise(a) == normalise(b)


def normalise(definition: Mapping[str, Any]) -> Json:
    """Return the comparison form of a definition; not for registering.

    "0.5 vCPU" is "512" and "1 GB" is "1024"; empties, nulls and the values ECS fills in
    are absent; lists of records are sorted, and so is what is a set.
    """
    task = register_input(definition)
    for key in ("cpu", "memory"):
        stated = task.get(key)
        if stated is not None:
            units = task_units(stated)
            task[key] = str(stated if units is None else units)
    if task.get("networkMode") in ("awsvpc", "host"):
        _drop_equal_host_ports(task)
    proxy = record_in(task, "proxyConfiguration")
    for given in list_in(proxy, "properties"):
        if given.get("name") in _PORT_SETS:
            given["value"] = ",".join(sorted(split(given["value"])))
    task["requiresCompatibilities"] = sorted(list_in(task, "requiresCompatibilities"))
    result: Json = _plain(task, "task")
    return result


def task_units(value: object) -> int | None:
    """Return a task-level cpu in CPU units or memory in MiB, or None where it is
    neither form of number.
    """
    found = re.fullmatch(r"(\d*\.?\d+)\s*(vcpu|gb)?", str(value).strip(), re.IGNORECASE)
    if not found:
        return None
    amount = float(found[1])
    if found[2]:
        amount *= 1024
    return int(amount) if amount.is_integer() else None


def split(value: object) -> list[str]:
    """Return the parts of a comma-separated property value, blanks dropped."""
    parts = [part.strip() for part in str(value or "").split(",")]
    return [part for part in parts if part]


def refusal(definition: Mapping[str, Any], problem: str, hint: str) -> PlanError:
    """Return the error that says of which definition something is refused."""
    family = definition.get("family", "?")
    return PlanError(f"task definition {family}: {problem}", hint=hint)


def by_name(records: Iterable[Json]) -> dict[str, Json]:
    """Return records by their names."""
    return {record["name"]: record for record in records}


def others(
    records: Iterable[Json] | None, names: Collection[str], *, key: str = "name"
) -> list[Json]:
    """Return the records that name, by `key`, none of these."""
    return [record for record in records or [] if record.get(key) not in names]


def containers_of(definition: Mapping[str, Any]) -> list[Json]:
    """Return the container definitions, empty where there are none."""
    return list(list_in(definition, "containerDefinitions"))


def variables(container: Mapping[str, Any]) -> dict[str, str]:
    """Return a container's plain environment, name to value."""
    entries = list_in(container, "environment")
    return {entry["name"]: entry.get("value") or "" for entry in entries}


def tcp_ports(container: Mapping[str, Any]) -> set[int]:
    """Return the TCP ports of a container's port mappings, those of a range one by one.

    In awsvpc a mapping documents a port and opens none: an application may
    listen without one.
    """
    ports: set[int] = set()
    for mapping in list_in(container, "portMappings"):
        if mapping.get("protocol") in (None, "tcp"):
            ports |= _mapped(mapping)
    return ports


def _mapped(mapping: Mapping[str, Any]) -> set[int]:
    """Return the container ports of one mapping."""
    stated = mapping.get("containerPortRange") or mapping.get("containerPort") or ""
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", str(stated))
    if found is None:
        return set()
    first = int(found[1])
    last = int(found[2] or first)
    return set(range(first, last + 1))


def labels_of(container: Mapping[str, Any]) -> dict[str, str]:
    """Return a copy of a container's Docker labels, empty where it has none."""
    return dict(record_in(container, "dockerLabels"))


def user_of(container: Mapping[str, Any]) -> str:
    """Return the user that a container runs as; "" where it says none."""
    return str(container.get("user") or "").split(":")[0]


def group_of(container: Mapping[str, Any]) -> str:
    """Return the group that a container runs as; "" where it says none."""
    return str(container.get("user") or "").partition(":")[2]


def system_of(definition: Mapping[str, Any]) -> str:
    """Return the operating system that a task runs on."""
    platform = record_in(definition, "runtimePlatform")
    return platform.get("operatingSystemFamily") or "LINUX"


def mounts_efs(definition: Mapping[str, Any]) -> bool:
    """Tell whether a task mounts an EFS volume."""
    volumes = list_in(definition, "volumes")
    return any(volume.get("efsVolumeConfiguration") for volume in volumes)


def _drop_equal_host_ports(task: Json) -> None:
    for container in containers_of(task):
        for port in list_in(container, "portMappings"):
            if str(port.get("hostPort")) == str(port.get("containerPort")):
                port.pop("hostPort", None)


def _plain(value: Any, key: str) -> Any:
    """Return a value without what is empty or a default, its records in a fixed
    order; `key` holds it.
    """
    if key in _FREE_TEXT:
        return value
    if isinstance(value, dict):
        return _plain_record(value, key)
    if isinstance(value, list):
        return _plain_list(value, key)
    return value


def _plain_record(record: Json, key: str) -> Json:
    defaults = _DEFAULTS.get(key, {})
    result = {}
    for name, value in record.items():
        plain = _plain(value, name)
        is_default = plain == defaults.get(name)
        if not is_default and not _absent(plain, name):
            result[name] = plain
    return result


def _plain_list(items: list[Any], key: str) -> list[Any]:
    plain = [_plain(item, key) for item in items]
    are_records = all(isinstance(item, dict) for item in plain)
    if are_records and key not in _ORDERED:
        plain.sort(key=_sort_key)
    return plain


def _sort_key(record: Json) -> str:
    return json.dumps(record, sort_keys=True, default=str)


def _absent(value: Any, key: str) -> bool:
    """Tell whether a value says no more than an absent one."""
    if value is False:
        return key != "essential"
    return value in (None, "", [], {})
