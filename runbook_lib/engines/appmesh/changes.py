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
    with_removed,
)

State = Mapping[str, Any]
"""A resource as it is read: its uid, version, ARN and spec."""

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
    describe = called("describe", kind, names)
    query = f"{ANSWER.get(kind, kind)}.{STATE}"
    return Reading(describe, query, absent=("NotFoundException",))


def called(verb: str, kind: str, names: Mapping[str, str], **arguments: Any) -> Call:
    """Return a call about one resource."""
    operation = f"{verb}_{kind.replace(' ', '_')}"
    return Call("appmesh", operation, {**names, **arguments})


def create(resource: Resource) -> Change:
    """Return the change that makes a resource."""
    kind, names = resource.kind, resource.names
    spec = created(resource)
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


def update(resource: Resource, state: State, spec: Mapping[str, Any]) -> Change:
    """Return the change of a resource in this state to another spec."""
    kind, names = resource.kind, resource.names
    before = state["spec"]
    verb, undo = "update", "update"
    if "provider" in spec and not before.get("provider"):
        verb, undo = "attach", "detach"
    diff = differences(before, spec)
    inverse = Inverse(
        undo,
        called("update", kind, names, spec=before),
        wanted={"spec": with_removed(spec, before)},
    )
    return Change(
        name=resource.key,
        verb=verb,
        call=called("update", kind, names, spec=spec),
        reading=reading(kind, names),
        expected={key: state[key] for key in COMPARED if key in state},
        wanted={"spec": with_removed(before, spec)},
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


def delete(resource: Resource, state: State | None) -> tuple[Change, ...]:
    """Return the change that removes a resource and can make it again; none
    where it is absent.
    """
    if state is None:
        return ()
    as_it_is = replace(resource, spec=state["spec"])
    removal = turned(create(as_it_is))
    expected = {key: state[key] for key in COMPARED}
    return (replace(removal, expected=expected),)
