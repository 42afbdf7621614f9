"""Make one App Mesh resource, change it, remove it: each as a change that is read back.

Pure. This alone, with `route`, names calls of the App Mesh API that change something.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from runbook_lib.engines.appmesh.spec import Resource, created
from runbook_lib.plan import (
    Call,
    Change,
    Difference,
    Inverse,
    Reading,
    differences,
    turned,
    without,
)

ANSWER = {
    "virtual service": "virtualService",
    "virtual node": "virtualNode",
    "virtual router": "virtualRouter",
    "virtual gateway": "virtualGateway",
}
STATE = "{uid: metadata.uid, version: metadata.version, arn: metadata.arn, spec: spec}"
COMPARED = ("uid", "version", "spec")  # what a change must find unchanged


def reading(kind: str, names: Mapping[str, str]) -> Reading:
    """Return how one resource is read."""
    query = f"{ANSWER.get(kind, kind)}.{STATE}"
    return Reading(
        called("describe", kind, names), query, absent=("NotFoundException",)
    )


def called(verb: str, kind: str, names: Mapping[str, str], **arguments: Any) -> Call:
    """Return a call about one resource."""
    return Call("appmesh", f"{verb}_{kind.replace(' ', '_')}", {**names, **arguments})


def create(resource: Resource) -> Change:
    """Return the change that makes a resource."""
    kind, names, spec = resource.kind, resource.names, created(resource)
    labels = [{"key": key, "value": value} for key, value in resource.tags.items()]
    return Change(
        name=resource.key,
        verb="create",
        call=called("create", kind, names, spec=spec, tags=labels),
        reading=reading(kind, names),
        expected=None,
        wanted={"spec": spec},
        about=(resource.key,),
        inverse=Inverse("delete", called("delete", kind, names), wanted=None),
        diff=differences({}, spec),
    )


def update(
    resource: Resource, state: Mapping[str, Any], spec: Mapping[str, Any]
) -> Change:
    """Return the change of a resource in this state to another spec."""
    kind, names, before = resource.kind, resource.names, state["spec"]
    attaches = "provider" in spec and not before.get("provider")
    diff = differences(before, spec)
    inverse = Inverse(
        "detach" if attaches else "update",
        called("update", kind, names, spec=before),
        wanted={"spec": without(spec, before)},
    )
    return Change(
        name=resource.key,
        verb="attach" if attaches else "update",
        call=called("update", kind, names, spec=spec),
        reading=reading(kind, names),
        expected={key: state[key] for key in COMPARED if key in state},
        wanted={"spec": without(before, spec)},
        about=(resource.key,),
        inverse=inverse,
        diff=diff,
        note=_health_check_note(diff),
    )


def _health_check_note(diff: Iterable[Difference]) -> str:
    if any("healthCheck" in difference.field for difference in diff):
        return (
            "editing a live node's health check has cost callers every endpoint for "
            "30 minutes; prefer a new node"
        )
    return ""


def delete(resource: Resource, state: Mapping[str, Any] | None) -> tuple[Change, ...]:
    """Return the change that removes a resource and can make it again; none
    where it is absent.
    """
    if state is None:
        return ()
    gone = turned(create(replace(resource, spec=state["spec"])))
    return (replace(gone, expected={key: state[key] for key in COMPARED}),)
