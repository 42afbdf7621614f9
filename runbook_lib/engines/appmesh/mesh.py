"""Read what the mesh holds, and plan its resources, there and back
(tutorial, steps 1 to 4).

`read_` functions and `references` read, `plan_` functions are pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from runbook_lib.aws.reads import Reads
from runbook_lib.engines.appmesh.changes import (
    ANSWER,
    called,
    create,
    delete,
    reading,
    update,
)
from runbook_lib.engines.appmesh.spec import (
    SPEC_OF,
    Resource,
    desired,
    targets_in,
    updated,
)
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
# children first
REMOVAL = ("virtual service", "route", "virtual router", "virtual node", "mesh")


def read_live(session: Reads) -> dict[str, Any]:
    """Read every resource the parameters speak of, retired ones too."""
    resources = {r.key: r for r in desired(session.parameters, Lifecycle())}
    mesh, *others = resources.values()
    state = session.read(reading(mesh.kind, mesh.names))
    if state is None:  # nothing is in a mesh that is not there
        return dict.fromkeys(resources)
    asks = [partial(session.read, reading(each.kind, each.names)) for each in others]
    states = session.together(asks)
    return dict(zip(resources, [state, *states], strict=True))


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


# --- the resources --------------------------------------------------------------------


def resources_of(p: Parameters, step: str) -> list[str]:
    """Return the keys of the resources that one notebook makes."""
    return [
        resource.key for resource in desired(p, Lifecycle()) if resource.step == step
    ]


def plan_step(p: Parameters, life: Lifecycle, live: Live, step: str) -> Plan:
    """Plan one notebook's resources.

    What earlier notebooks have not made yet is assumed made, and named in `assumed`;
    what the parameters do not speak of stays as it is, and is named in `kept`.
    """
    resources = desired(p, life)
    earlier = [resource for resource in resources if resource.step < step]
    assumed, state = _assumed(earlier, live)
    left: list[str] = []
    changes: list[Change] = []
    for resource in resources:
        if resource.step != step:
            continue
        if live.get(resource.key):
            left += _left_alone(resource, live[resource.key]["spec"])
        change = _change(resource, state)
        if change:
            changes.append(change)
    return Plan(
        NOTEBOOKS[step],
        tuple(changes),
        assumed=tuple(assumed),
        kept=tuple(left),
    )


def _assumed(
    earlier: Sequence[Resource], live: Live
) -> tuple[list[str], dict[str, Any]]:
    """Return in words what earlier notebooks have not made yet, and the state as if
    they had.
    """
    state = dict(live)
    missing: list[str] = []
    for resource in earlier:
        change = _change(resource, state)
        if change and change.verb in ("create", "attach"):
            missing.append(f"{resource.key} ({NOTEBOOKS[resource.step]})")
            known = state.get(resource.key) or {}
            state[resource.key] = {"version": 0, **known, **change.wanted}
    return list(dict.fromkeys(missing)), state


def _left_alone(resource: Resource, spec: Mapping[str, Any]) -> Iterator[str]:
    """Say what stays as it is although a new resource would get something else, since
    the file has no key for it.
    """
    for difference in kept(spec, resource.spec):
        yield f"{resource.key}: {difference.field}: {json.dumps(difference.after)}"


def _change(resource: Resource, live: Live) -> Change | None:
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
    old, new = (_protocols(resource, spec) for spec in (before, after))
    if old and new and old != new:
        raise PlanError(
            f"{resource.key}: its protocol is {', '.join(old)}, the parameters say "
            f"{', '.join(new)}; "
            "App Mesh refuses that for a router with routes, and a node of another "
            "protocol gets no request",
            hint="create it under a new name and shift to it, or remove it first "
            "with 90_remove_mesh",
        )


def _protocols(resource: Resource, spec: Mapping[str, Any]) -> list[str]:
    if resource.kind == "route":
        return [variant for variant in SPEC_OF.values() if spec.get(variant)]
    return sorted(
        {listener["portMapping"]["protocol"] for listener in spec.get("listeners", [])}
    )


def plan_node_end(p: Parameters, live: Live, service: str) -> Plan:
    """Plan the end of a service's virtual node."""
    key = f"virtual node {service}"
    resource = next(r for r in desired(p, Lifecycle()) if r.key == key)
    return Plan(NOTEBOOKS["06"], delete(resource, live.get(key)))


# --- what stands there, whoever made it -----------------------------------------------


def references(session: Reads, service: str) -> list[str]:
    """List what refers to a service's node: routes (a target of weight 0 is one),
    and virtual services.
    """
    node = f"virtual node {service}"
    return [key for key, needs in standing(session).items() if node in needs]


def standing(session: Reads) -> dict[str, set[str]]:
    """Read everything the mesh holds, whoever made it, by key: with the keys of what it
    cannot be without.
    """
    mesh = {"meshName": session.parameters.mesh.name}
    if session.read(reading("mesh", mesh)) is None:
        return {}
    parts = session.together(
        [
            partial(_routers, session, mesh),
            partial(_virtual_services, session, mesh),
            partial(_without_needs, session, mesh, "virtual node"),
            partial(_without_needs, session, mesh, "virtual gateway"),
        ]
    )
    every = {key: needs for part in parts for key, needs in part.items()}
    return {key: {*needs, f"mesh {mesh['meshName']}"} for key, needs in every.items()}


def _routers(session: Reads, mesh: Mapping[str, str]) -> dict[str, set[str]]:
    """Read every router with its routes, by key, with the keys of what they need."""
    routers = _names(session, "virtual router", mesh)
    asks = [partial(_routes, session, mesh, router) for router in routers]
    found: dict[str, set[str]] = {}
    for router, routes in zip(routers, session.together(asks), strict=True):
        found |= routes
        found[f"virtual router {router}"] = set()
    return found


def _routes(
    session: Reads, mesh: Mapping[str, str], router: str
) -> dict[str, set[str]]:
    inside = {**mesh, "virtualRouterName": router}
    names = _names(session, "route", inside)
    asks = [
        partial(_nodes_of, session, {**inside, "routeName": name}) for name in names
    ]
    nodes = zip(names, session.together(asks), strict=True)
    return {
        f"route {router}/{name}": {f"virtual router {router}", *of_route}
        for name, of_route in nodes
    }


def _virtual_services(session: Reads, mesh: Mapping[str, str]) -> dict[str, set[str]]:
    names = _names(session, "virtual service", mesh)
    asks = [partial(_providers_of, session, mesh, name) for name in names]
    keys = [f"virtual service {name}" for name in names]
    return dict(zip(keys, session.together(asks), strict=True))


def _without_needs(
    session: Reads, mesh: Mapping[str, str], kind: str
) -> dict[str, set[str]]:
    return {f"{kind} {name}": set() for name in _names(session, kind, mesh)}


def _nodes_of(session: Reads, route: Mapping[str, str]) -> set[str]:
    """Read the keys of the nodes that a route has for targets."""
    state = session.read(reading("route", route))
    return {f"virtual node {target.service}" for target in targets_in(state)}


def _providers_of(session: Reads, mesh: Mapping[str, str], name: str) -> set[str]:
    """Read the keys of what a virtual service is answered by."""
    call = called("describe", "virtual service", {**mesh, "virtualServiceName": name})
    providers = "[virtualNode.virtualNodeName, virtualRouter.virtualRouterName]"
    query = f"virtualService.spec.provider.{providers}"
    found = session.read(Reading(call, query, absent=("NotFoundException",)))
    by_node, by_router = found or (None, None)
    return {f"virtual node {by_node}", f"virtual router {by_router}"}


def _names(session: Reads, kind: str, within: Mapping[str, str]) -> list[str]:
    answer = ANSWER.get(kind, kind)
    operation = f"list_{kind.replace(' ', '_')}s"
    listed = session.pages("appmesh", operation, f"{answer}s", **within)
    return [item[f"{answer}Name"] for item in listed]


# --- taking it out again --------------------------------------------------------------


def plan_resources_end(session: Reads, live: Live) -> Plan:
    """Plan the end of every resource the runbook made, children first, and name
    what stays and why.

    What somebody else made stays, and with it what that stands on: App Mesh would
    refuse to delete it.
    """
    known = {
        resource.key: resource for resource in desired(session.parameters, Lifecycle())
    }
    children_first = sorted(
        known.values(), key=lambda resource: REMOVAL.index(resource.kind)
    )
    needs = standing(session)
    staying = {key for key in needs if key not in known}
    made: list[Change] = []
    kept_as_it_is: list[str] = []
    for resource in children_first:
        state = live.get(resource.key)
        if state is None:
            continue
        users = [key for key in needs if key in staying and resource.key in needs[key]]
        labels = {} if users else _labels(session, state["arn"])
        if labels:
            made.extend(delete(replace(resource, tags=labels), state))
            continue
        why = (
            f"{', '.join(users)} stays, and needs it"
            if users
            else "does not carry the runbook's tag"
        )
        staying.add(resource.key)
        kept_as_it_is.append(f"{resource.key}: {why}")
    return Plan("90_remove_mesh", tuple(made), stays=tuple(kept_as_it_is))


def _labels(session: Reads, arn: str) -> dict[str, str]:
    """Read a resource's tags (a route's say who was retired); none where it is
    not the runbook's.
    """
    call = Call("appmesh", "list_tags_for_resource", {"resourceArn": arn})
    found = {
        tag["key"]: tag["value"] for tag in session.read(Reading(call, "tags")) or []
    }
    return found if "runbook" in found else {}
