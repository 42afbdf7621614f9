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
from typing import Any

from runbook_lib.errors import PlanError
from runbook_lib.task_definition.envoy import IDENTITY, LABEL, envoy_of
from runbook_lib.task_definition.form import Json, containers_of

OWN_VARIABLES = frozenset(IDENTITY) | {
    "APPMESH_RESOURCE_CLUSTER",
    "APPMESH_VIRTUAL_NODE_CLUSTER",
    "ENABLE_ENVOY_STATS_TAGS",
    "APPMESH_METRIC_EXTENSION_VERSION",
    "ENABLE_ENVOY_XRAY_TRACING",
}


def remember(before: Json, task: Json, name: str) -> None:
    """Write into the Envoy container's label what `without_envoy` needs."""
    then = {c["name"]: c for c in containers_of(before)}
    stripped = copy.deepcopy(containers_of(task))
    added = [c["name"] for c in stripped if c["name"] not in then]
    for container in stripped:
        strip(container, name, *added)
    formers = {
        c["name"]: _former(then[c["name"]], c) for c in stripped if c["name"] in then
    }
    memory = {
        "task": _former(
            before, {k: v for k, v in task.items() if k != "containerDefinitions"}
        ),
        "containers": {n: former for n, former in formers.items() if former},
        "added": added,
    }
    envoy = next(c for c in containers_of(task) if c["name"] == name)
    label = json.dumps(memory, sort_keys=True, separators=(",", ":"))
    envoy["dockerLabels"] = {**(envoy.get("dockerLabels") or {}), LABEL: label}


def _former(before: Json, after: Json) -> Json:
    """Return the earlier value of each field that differs, null for one
    that was not there.
    """
    keys = (before.keys() | after.keys()) - {"containerDefinitions"}
    former = {key: before.get(key) for key in keys if before.get(key) != after.get(key)}
    if entries := former.get("environment"):
        former["environment"] = [
            e if e["name"] in OWN_VARIABLES else {"name": e["name"]} for e in entries
        ]
    return former


def restore(record: Json, former: Json) -> None:
    """Give a definition or container its earlier values; variables that are not App
    Mesh's keep today's. A name may stand twice: ECS takes it.
    """
    today = [
        e for e in record.get("environment") or [] if e["name"] not in OWN_VARIABLES
    ]
    for key, value in former.items():
        record.pop(key, None)
        if value is not None:
            record[key] = copy.deepcopy(value)
    if entries := former.get("environment"):
        record["environment"] = _in_former_order(entries, today)


def _in_former_order(entries: list[Json], today: list[Json]) -> list[Json]:
    """Return App Mesh's former variables and all of today's others, those that were
    there before in their former places.
    """
    left = list(today)
    ordered = []
    for entry in entries:
        if entry["name"] in OWN_VARIABLES:
            ordered.append(entry)
        elif same := next((e for e in left if e["name"] == entry["name"]), None):
            left.remove(same)
            ordered.append(same)
    return [*ordered, *left]


def strip(container: Json, *names: str) -> None:
    """Take out of a container the label, and each reference to one of these containers:
    waits, volumes, links.
    """
    labels = {
        k: v for k, v in (container.get("dockerLabels") or {}).items() if k != LABEL
    }
    waits = [
        d for d in container.get("dependsOn") or [] if d["containerName"] not in names
    ]
    volumes = [
        v
        for v in container.get("volumesFrom") or []
        if v.get("sourceContainer") not in names
    ]
    links = [
        link for link in container.get("links") or [] if link.split(":")[0] not in names
    ]
    for key, rest in (("dependsOn", waits), ("dockerLabels", labels)):
        container.pop(key, None)
        if rest:
            container[key] = rest
    for key, kept in (("volumesFrom", volumes), ("links", links)):
        if key in container and container[key] != kept:
            container[key] = kept


def recall(task: Json) -> Json | None:
    """Return what an earlier `with_envoy` wrote down, or None."""
    label = ((envoy_of(task) or {}).get("dockerLabels") or {}).get(LABEL)
    if label is None:
        return None
    try:
        said = json.loads(label)
    except (ValueError, RecursionError):
        said = None
    if not _is_memory(said):
        raise PlanError(
            f"task definition {task.get('family', '?')}: label {LABEL}: expected "
            "what was there before, "
            "found something unreadable",
            hint="register the revision the service ran before it was meshed, or "
            "remove the label",
        )
    return {key: said[key] for key in ("task", "containers", "added")}


def _is_memory(said: Any) -> bool:
    """Tell whether a label says what `remember` writes; whoever may register a revision
    may write anything.
    """
    if not isinstance(said, dict) or not said.keys() >= {"task", "containers", "added"}:
        return False
    if not isinstance(said["containers"], dict) or not isinstance(said["added"], list):
        return False
    formers = [said["task"], *said["containers"].values()]
    return all(map(_is_former, formers)) and all(
        isinstance(name, str) for name in said["added"]
    )


def _is_former(said: Any) -> bool:
    entries = said.get("environment") or [] if isinstance(said, dict) else None
    return isinstance(entries, list) and all(
        isinstance(e, dict) and "name" in e for e in entries
    )


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
