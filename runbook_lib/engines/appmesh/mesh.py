"""Read the resources that the file speaks of, and plan what each notebook makes
(tutorial, steps 1 to 4).

`read_` functions and `answer` read, `plan_` functions are pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbook_lib.aws.reads import Reads, read_each
from runbook_lib.engines.appmesh.changes import create, delete, reading, update
from runbook_lib.engines.appmesh.spec import SPEC_OF, Resource, by_key, desired, updated
from runbook_lib.engines.protocol import Live
from runbook_lib.errors import CallError, PlanError
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Change, Plan, Reading, differences, kept

NOTEBOOKS = {
    "01": "01_create_mesh",
    "02": "02_create_virtual_nodes",
    "03": "03_create_router_and_routes",
    "04": "04_register_task_definitions",
    "05": "05_shift_traffic",
    "06": "06_tear_down_service_b",
}


def read_live(session: Reads) -> dict[str, Any]:
    """Read every resource the parameters speak of, retired ones too."""
    resources = by_key(session.parameters)
    mesh, *others = resources.values()
    state = session.read(reading(mesh.kind, mesh.names))
    if state is None:  # nothing is in a mesh that is not there
        return dict.fromkeys(resources)
    readings = [reading(each.kind, each.names) for each in others]
    states = [state, *read_each(session, readings)]
    return dict(zip(resources, states, strict=True))


def answer(session: Reads) -> tuple[str, str]:
    """Return what the endpoint answers now: serves, refuses or not reachable,
    and its own words.
    """
    listing = Call("appmesh", "list_meshes", {"limit": 1})
    try:
        session.read(Reading(listing, "length(meshes)"))
    except CallError as error:
        answered = hasattr(error.__cause__, "response")
        return ("refuses" if answered else "not reachable"), error.message
    return "serves", "list_meshes was answered"


# --- what a notebook makes ------------------------------------------------------------


def resources_of(p: Parameters, step: str) -> list[str]:
    """Return the keys of the resources that one notebook makes."""
    return [each.key for each in desired(p, Lifecycle()) if each.step == step]


def plan_step(p: Parameters, life: Lifecycle, live: Live, step: str) -> Plan:
    """Plan one notebook's resources.

    What earlier notebooks have not made yet is assumed made, and named in `assumed`;
    what the parameters do not speak of stays as it is, and is named in `kept`.
    """
    resources = desired(p, life)
    assumed = _assumed([each for each in resources if each.step < step], live)
    changes: list[Change] = []
    left: list[str] = []
    for resource in resources:
        if resource.step != step:
            continue
        state = live.get(resource.key)
        if state:
            left += _left_alone(resource, state["spec"])
        change = _change(resource, assumed.live)
        if change:
            changes.append(change)
    title = NOTEBOOKS[step]
    return Plan(title, tuple(changes), assumed=assumed.words, kept=tuple(left))


@dataclass(frozen=True, slots=True)
class _Assumed:
    """What is there, as if earlier notebooks had made what they have not, and in words
    what that is.
    """

    live: Live
    words: tuple[str, ...]


def _assumed(earlier: Sequence[Resource], live: Live) -> _Assumed:
    made = dict(live)
    words: dict[str, None] = {}
    for resource in earlier:
        change = _change(resource, made)
        if change and change.verb in ("create", "attach"):
            words[f"{resource.key} ({NOTEBOOKS[resource.step]})"] = None
            known = made.get(resource.key) or {}
            made[resource.key] = {"version": 0, **known, **change.wanted}
    return _Assumed(made, tuple(words))


def _left_alone(resource: Resource, spec: Mapping[str, Any]) -> Iterator[str]:
    """Say what stays as it is although a new resource would get something else, since
    the file has no key for it.
    """
    for difference in kept(spec, resource.spec):
        yield f"{resource.key}: {difference.field}: {json.dumps(difference.after)}"


def _change(resource: Resource, live: Live) -> Change | None:
    """Return what brings a resource to its spec; None where it is there."""
    state = live.get(resource.key)
    if state is None:
        return create(resource)
    spec = updated(resource, state["spec"])
    if not differences(state["spec"], spec):
        return None
    _refuse_another_protocol(resource, state["spec"], spec)
    return update(resource, state, spec)


def _refuse_another_protocol(
    resource: Resource, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Refuse to change a protocol in place: routes and nodes of two protocols
    black-hole what passes them.
    """
    old, new = _protocols(resource, before), _protocols(resource, after)
    if old and new and old != new:
        raise PlanError(
            f"{resource.key}: its protocol is {', '.join(old)}, the parameters say "
            f"{', '.join(new)}; App Mesh refuses that for a router with routes, and a "
            "node of another protocol gets no request",
            hint="create it under a new name and shift to it, or remove it first "
            "with 90_remove_mesh",
        )


def _protocols(resource: Resource, spec: Mapping[str, Any]) -> list[str]:
    """Return under which protocols a spec says that it is reached."""
    if resource.kind == "route":
        return [variant for variant in SPEC_OF.values() if spec.get(variant)]
    mappings = [listener["portMapping"] for listener in spec.get("listeners", [])]
    return sorted({mapping["protocol"] for mapping in mappings})


def plan_node_end(p: Parameters, live: Live, service: str) -> Plan:
    """Plan the end of a service's virtual node."""
    key = f"virtual node {service}"
    return Plan(NOTEBOOKS["06"], delete(by_key(p)[key], live.get(key)))
