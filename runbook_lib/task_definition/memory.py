"""Remember on the Envoy container what a task definition was before it,
and put that back.

Pure. The memory is JSON in one Docker label: it goes with the revision and with
the sidecar, needs no tag permission and has no length limit (a tag's value has
256 characters). It holds no environment value but App Mesh's own, so nothing
secret is copied into it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection
from typing import Any

from runbook_lib.task_definition.envoy import IDENTITY, LABEL, envoy_of
from runbook_lib.task_definition.form import (
    Json,
    by_name,
    containers_of,
    labels_of,
    list_in,
    others,
    put,
    refusal,
)

OWN_VARIABLES = frozenset(IDENTITY) | {
    "APPMESH_RESOURCE_CLUSTER",
    "APPMESH_VIRTUAL_NODE_CLUSTER",
    "ENABLE_ENVOY_STATS_TAGS",
    "APPMESH_METRIC_EXTENSION_VERSION",
    "ENABLE_ENVOY_XRAY_TRACING",
}


def remember(before: Json, task: Json, name: str) -> None:
    """Write into the Envoy container's label what `without_envoy` needs."""
    then = by_name(containers_of(before))
    now = by_name(containers_of(task))
    added = [each for each in now if each not in then]
    formers: Json = {}
    for each in now.keys() & then.keys():
        stripped = copy.deepcopy(now[each])
        strip(stripped, name, *added)
        put(formers, each, _former(then[each], stripped))
    memory = {"task": _former(before, task), "containers": formers, "added": added}
    label = json.dumps(memory, sort_keys=True, separators=(",", ":"))
    now[name]["dockerLabels"] = {**labels_of(now[name]), LABEL: label}


def _former(before: Json, after: Json) -> Json:
    """Return the earlier value of each field that differs, null for one
    that was not there.
    """
    keys = (before.keys() | after.keys()) - {"containerDefinitions"}
    differing = [key for key in keys if before.get(key) != after.get(key)]
    former = {key: before.get(key) for key in differing}
    entries = former.get("environment")
    if entries:
        former["environment"] = [_without_value(entry) for entry in entries]
    return former


def _without_value(variable: Json) -> Json:
    """Return a variable by its name alone, unless it is App Mesh's own."""
    name = variable["name"]
    return variable if name in OWN_VARIABLES else {"name": name}


def restore(record: Json, former: Json) -> None:
    """Give a definition or container its earlier values; variables that are not App
    Mesh's keep today's. A name may stand twice: ECS takes it.
    """
    today = others(record.get("environment"), OWN_VARIABLES)
    for key, value in former.items():
        record.pop(key, None)
        if value is not None:
            record[key] = copy.deepcopy(value)
    if former.get("environment"):
        record["environment"] = _in_former_order(former["environment"], today)


def _in_former_order(entries: list[Json], today: list[Json]) -> list[Json]:
    """Return App Mesh's former variables and all of today's others, those that were
    there before in their former places.
    """
    left = list(today)
    ordered = []
    for entry in entries:
        name = entry["name"]
        if name in OWN_VARIABLES:
            ordered.append(entry)
            continue
        names = [each["name"] for each in left]
        if name in names:
            ordered.append(left.pop(names.index(name)))
    return [*ordered, *left]


def strip(container: Json, *names: str) -> None:
    """Take out of a container the label, and each reference to one of these containers:
    waits, volumes, links.
    """
    put(container, "dependsOn", waits_without(container, names))
    labels = labels_of(container)
    labels.pop(LABEL, None)
    put(container, "dockerLabels", labels)
    if "volumesFrom" in container:
        volumes = container["volumesFrom"]
        container["volumesFrom"] = others(volumes, names, key="sourceContainer")
    if "links" in container:
        links = list_in(container, "links")
        container["links"] = [link for link in links if link.split(":")[0] not in names]


def waits_without(container: Json, names: Collection[str]) -> list[Json]:
    """Return what a container waits for, without these containers."""
    return others(container.get("dependsOn"), names, key="containerName")


def recall(task: Json) -> Json | None:
    """Return what an earlier `with_envoy` wrote down, or None."""
    envoy = envoy_of(task) or {}
    label = labels_of(envoy).get(LABEL)
    if label is None:
        return None
    try:
        said = json.loads(label)
    except (ValueError, RecursionError):
        said = None
    if not _is_memory(said):
        raise refusal(
            task,
            f"label {LABEL}: expected what was there before, found something "
            "unreadable",
            "register the revision the service ran before it was meshed, or "
            "remove the label",
        )
    return {key: said[key] for key in ("task", "containers", "added")}


def _is_memory(said: Any) -> bool:
    """Tell whether a label says what `remember` writes; whoever may register a revision
    may write anything.
    """
    match said:
        case {"task": task, "containers": dict(containers), "added": list(added)}:
            names_only = all(isinstance(name, str) for name in added)
            formers = [task, *containers.values()]
            return names_only and all(map(_is_former, formers))
    return False


def _is_former(said: Any) -> bool:
    if not isinstance(said, dict):
        return False
    entries = list_in(said, "environment")
    return isinstance(entries, list) and all(map(_is_variable, entries))


def _is_variable(said: Any) -> bool:
    return isinstance(said, dict) and "name" in said


def guess(proxy: Json) -> Json:
    """Return what to take out of a definition that was meshed by other hands: Envoy.

    An X-Ray daemon stays, since applications send it traces at a port that no
    definition names.
    """
    return {
        "task": {"proxyConfiguration": None},
        "containers": {},
        "added": [proxy["name"]],
    }
