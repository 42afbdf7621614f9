"""Copies of the whole control plane, for tests that go back to a state or ask whether they have seen it.

`take` and `put_back` cover App Mesh, ECS, Cloud Map and IAM in every account and region. `fingerprint` leaves
out what differs between equal states: uids, times, events, and the ids and addresses of tasks.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from moto.core.base_backend import BackendDict

from runbook_lib.local.control_plane.ecs_resources import EcsState, Task, ecs_backends
from runbook_lib.local.control_plane.lock import LOCK
from runbook_lib.local.control_plane.mesh_resources import MeshState, appmesh_backends

__all__ = ["Snapshot", "fingerprint", "put_back", "take"]

Snapshot = dict[tuple[int, str, str], dict[str, Any]]


def _stores() -> list[BackendDict[Any]]:
    from moto.ecs.models import ecs_backends as moto_ecs
    from moto.iam.models import iam_backends
    from moto.route53.models import route53_backends
    from moto.servicediscovery.models import servicediscovery_backends

    return [
        appmesh_backends,
        ecs_backends,
        moto_ecs,
        servicediscovery_backends,
        iam_backends,
        route53_backends,
    ]


def _backends() -> dict[tuple[int, str, str], Any]:
    found = {}
    for number, store in enumerate(_stores()):
        for account, regions in store.items():
            found.update({(number, account, region): backend for region, backend in regions.items()})
    return found


def _copied(backend: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Copy a backend's values; what points back at the backend goes on doing so."""
    copied: dict[str, Any] = deepcopy(values, {id(backend): backend})
    return copied


def take() -> Snapshot:
    """Return a copy of everything."""
    with LOCK:
        return {key: _copied(backend, vars(backend)) for key, backend in _backends().items()}


def put_back(snapshot: Snapshot) -> None:
    """Make everything as it was; what did not exist then is emptied. The snapshot can be put back again."""
    with LOCK:
        for key, backend in _backends().items():
            backend.reset()
            if key in snapshot:
                vars(backend).clear()
                vars(backend).update(_copied(backend, snapshot[key]))


def fingerprint() -> str:
    """Return a text that is the same for states no client can tell apart."""
    with LOCK:
        seen = [_seen(key, backend) for key, backend in sorted(_backends().items(), key=lambda item: item[0])]
    return json.dumps([entry for entry in seen if any(entry[1].values())], sort_keys=True, default=str)


def _seen(key: tuple[int, str, str], backend: Any) -> tuple[Any, dict[str, Any]]:
    state = getattr(backend, "state", None)
    if isinstance(state, MeshState):
        return key, _mesh(state)
    if isinstance(state, EcsState):
        return key, _ecs(state)
    return key, _moto(backend)


def _mesh(state: MeshState) -> dict[str, Any]:
    every = [resource for kind in state.resources.values() for resource in kind.values()]
    return {resource.arn: [resource.spec, resource.tags, resource.version] for resource in every}


def _ecs(state: EcsState) -> dict[str, Any]:
    definitions = [d for revisions in state.definitions.values() for d in revisions]
    services = {
        s.arn: [s.status, s.definition, s.desired, s.tags, s.request]
        + [[d.definition, d.primary, d.state, d.failed] for d in s.deployments]
        for s in state.services.values()
    }
    living = [_task(task) for task in state.tasks.values() if task.last != "STOPPED"]
    return {**{d.arn: [d.document, d.tags] for d in definitions}, **services, "tasks": sorted(living)}


def _task(task: Task) -> list[str]:
    revision = task.definition["taskDefinitionArn"]
    return [
        task.cluster,
        task.service or "",
        revision,
        task.desired,
        task.last,
        str(sorted(task.health.items())),
    ]


def _moto(backend: Any) -> dict[str, Any]:
    """Return what the runbook can see of a moto store: clusters, namespaces, instances or roles."""
    instances = [[s.name, i.attributes] for s in getattr(backend, "services", {}).values() for i in _instances(s)]
    for _, attributes in instances:
        if "ECS_SERVICE_NAME" in attributes:
            attributes["AWS_INSTANCE_IPV4"] = "of a task"
    services = [s.name for s in getattr(backend, "services", {}).values()]
    return {
        "services": sorted(services),
        "clusters": {c.name: c.status for c in getattr(backend, "clusters", {}).values()},
        "namespaces": sorted(n.name for n in getattr(backend, "namespaces", {}).values()),
        "instances": sorted(instances, key=str),
        "roles": {r.name: _role(r) for r in getattr(backend, "roles", {}).values()},
    }


def _instances(service: Any) -> list[Any]:
    return [deepcopy(instance) for instance in getattr(service, "instances", [])]


def _role(role: Any) -> list[Any]:
    return [role.assume_role_policy_document, sorted(role.managed_policies), role.policies]
