"""Read App Mesh, and plan its changes: the engine that carries the weights here.

The only caller of the App Mesh client. `read_` and `list_` read, `plan_` functions are pure. What the rest of
the runbook asks of an engine is `read_lifecycle`, `read_split`, `plan_split`, `plan_settle`, `references`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from runbook_lib.errors import CallError, PlanError
from runbook_lib.mesh_spec import SPEC_OF, Lifecycle, Resource, desired, tags, targets
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Change, Inverse, Plan, Reading, differences, holds, merged, stated, turned
from runbook_lib.session import Session
from runbook_lib.telemetry import Series

__all__ = [
    "NOTEBOOKS",
    "Split",
    "inbound",
    "plan_removal",
    "plan_retirement",
    "plan_settle",
    "plan_split",
    "plan_step",
    "plan_trial",
    "plan_trial_end",
    "read_lifecycle",
    "read_live",
    "read_split",
    "read_trial",
    "references",
    "series",
    "serves",
]

OPERATION = {
    "mesh": "mesh",
    "virtual service": "virtual_service",
    "virtual node": "virtual_node",
    "virtual router": "virtual_router",
    "route": "route",
}
ANSWER = {
    "mesh": "mesh",
    "virtual service": "virtualService",
    "virtual node": "virtualNode",
    "virtual router": "virtualRouter",
    "route": "route",
}
STATE = "{uid: metadata.uid, version: metadata.version, arn: metadata.arn, spec: spec}"
NOTEBOOKS = {
    "01": "01_create_mesh",
    "02": "02_create_virtual_nodes",
    "03": "03_create_router_and_routes",
    "04": "04_register_task_definitions",
    "05": "05_shift_traffic",
    "06": "06_tear_down_service_b",
}
RETIRED = "runbook:retired"

Live = Mapping[str, Any]
"""The state of each resource by its key; None where it is absent."""


def reading(kind: str, names: Mapping[str, str]) -> Reading:
    """Return how one resource is read."""
    call = Call("appmesh", f"describe_{OPERATION[kind]}", dict(names))
    return Reading(call, f"{ANSWER[kind]}.{STATE}", absent=("NotFoundException",))


def read_live(session: Session) -> dict[str, Any]:
    """Read every resource the parameters speak of, retired ones too."""
    everything = desired(session.parameters, Lifecycle())
    live: dict[str, Any] = {}
    for resource in everything:
        if resource.key not in live:
            absent = live.get(everything[0].key, ...) is None  # nothing is in a mesh that is not there
            live[resource.key] = None if absent else session.read(reading(resource.kind, resource.names))
    return live


def serves(session: Session) -> tuple[str, str]:
    """Return what the endpoint answers now: serves, refuses or not reachable, and its own words."""
    try:
        session.read(Reading(Call("appmesh", "list_meshes", {"limit": 1}), "length(meshes)"))
    except CallError as error:
        cause = error.__cause__
        return ("refuses" if hasattr(cause, "response") else "not reachable"), error.message
    return "serves", "list_meshes was answered"


# --- the resources -----------------------------------------------------------------------------------------


def plan_step(p: Parameters, life: Lifecycle, live: Live, step: str) -> Plan:
    """Plan one notebook's resources.

    What earlier notebooks have not made yet is assumed made, and named in `assumed`.
    """
    state, assumed = dict(live), []
    for resource in desired(p, life):
        changes = _change(resource, state)
        if resource.step == step or not changes:
            continue
        if resource.step < step and changes[0].verb in ("create", "attach"):
            assumed.append(f"{resource.key} ({NOTEBOOKS[resource.step]})")
            state[resource.key] = {"version": 0, **(state.get(resource.key) or {}), **changes[0].wanted}
    wanted = [r for r in desired(p, life) if r.step == step]
    changes = tuple(c for r in wanted for c in _change(r, state))
    return Plan(NOTEBOOKS[step], changes, needs=("earlier steps",), assumed=tuple(dict.fromkeys(assumed)))


def _change(resource: Resource, live: Live) -> tuple[Change, ...]:
    state = live.get(resource.key)
    if state is None:
        return (_create(resource),)
    spec = merged(state["spec"], resource.spec)
    if holds(state["spec"], spec):
        return ()
    _refuse_another_protocol(resource, state["spec"], spec)
    return (_update(resource, state, spec),)


def _create(resource: Resource) -> Change:
    names, spec = dict(resource.names), stated(resource.spec)
    operation = OPERATION[resource.kind]
    labels = [{"key": key, "value": value} for key, value in resource.tags.items()]
    return Change(
        name=resource.key,
        verb="create",
        call=Call("appmesh", f"create_{operation}", {**names, "spec": spec, "tags": labels}),
        reading=reading(resource.kind, names),
        expected=None,
        wanted={"spec": spec},
        inverse=Inverse("delete", Call("appmesh", f"delete_{operation}", names), wanted=None),
        diff=differences({}, spec),
    )


def _update(resource: Resource, state: Mapping[str, Any], spec: Mapping[str, Any]) -> Change:
    names, operation = dict(resource.names), OPERATION[resource.kind]
    attaches = "provider" in spec and not state["spec"].get("provider")
    back = Call("appmesh", f"update_{operation}", {**names, "spec": state["spec"]})
    diff = differences(state["spec"], spec)
    return Change(
        name=resource.key,
        verb="attach" if attaches else "update",
        call=Call("appmesh", f"update_{operation}", {**names, "spec": spec}),
        reading=reading(resource.kind, names),
        expected={key: state[key] for key in ("uid", "version", "spec") if key in state},
        wanted={"spec": spec},
        inverse=Inverse("detach" if attaches else "update", back, wanted={"spec": state["spec"]}),
        diff=diff,
        note=_health_check_note(diff),
    )


def _health_check_note(diff: Iterable[Any]) -> str:
    if any("healthCheck" in d.field for d in diff):
        return "editing a live node's health check has cost callers every endpoint for 30 minutes; prefer a new node"
    return ""


def _refuse_another_protocol(resource: Resource, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Refuse to change a protocol in place: routes and nodes of two protocols black-hole what passes them."""
    old, new = (_protocols(resource, spec) for spec in (before, after))
    if old and new and old != new:
        raise PlanError(
            f"{resource.key}: its protocol is {', '.join(old)}, the parameters say {', '.join(new)}; "
            "App Mesh refuses that for a router with routes, and a node of another protocol gets no request",
            hint="create it under a new name and shift to it, or remove it first with 90_remove_mesh",
        )


def _protocols(resource: Resource, spec: Mapping[str, Any]) -> list[str]:
    if resource.kind == "route":
        return [variant for variant in SPEC_OF.values() if spec.get(variant)]
    return sorted({listener["portMapping"]["protocol"] for listener in spec.get("listeners", [])})


# --- what carries the weights -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Split:
    """How the traffic is divided now, with what a change of it must find unchanged."""

    resource: Resource
    weights: Mapping[str, int]
    state: Mapping[str, Any] | None
    retired: frozenset[str]


def read_lifecycle(session: Session) -> Lifecycle:
    """Read where the application stands."""
    split = read_split(session)
    return Lifecycle(split.weights, split.retired)


def read_split(session: Session) -> Split:
    """Read how the route under shift divides the traffic, and who has been retired from it."""
    p = session.parameters
    names = {"meshName": p.mesh.name, "virtualRouterName": p.router, "routeName": p.route}
    state = session.read(reading("route", names))
    retired = session.read(_retired_reading(state["arn"])) if state else None
    resource = Resource("route", names, {}, "05", tags(p))
    return Split(resource, _weights_in(state), state, frozenset((retired or "").split()))


def _weights_in(state: Mapping[str, Any] | None) -> dict[str, int]:
    spec = state["spec"] if state else {}
    body: Mapping[str, Any] = next((spec[v] for v in SPEC_OF.values() if spec.get(v)), {"action": {}})
    return {t["virtualNode"]: t["weight"] for t in body["action"].get("weightedTargets", [])}


def plan_split(
    split: Split, weights: Mapping[str, int], *, title: str = "05_shift_traffic", rewrite: bool = False
) -> Plan:
    """Plan the traffic's division, in percent by service; every other field of the route stays.

    With `rewrite` weights that are in force are written once more: the way back, rehearsed.

    Raises PlanError where there is no route, or weights are not whole percents that sum to 100.
    """
    if split.state is None:
        raise PlanError(f"{split.resource.key}: there is no such route", hint="apply 03_create_router_and_routes")
    whole = all(type(w) is int and 0 <= w <= 100 for w in weights.values())
    if not whole or sum(weights.values()) != 100 or not 1 <= len(weights) <= 10:
        raise PlanError(f"weights: expected 1 to 10 whole percents that sum to 100; found {dict(weights)}")
    if dict(weights) == dict(split.weights) and not rewrite:
        return Plan(title)
    variant = next(v for v in SPEC_OF.values() if split.state["spec"].get(v))
    spec = {variant: {"action": {"weightedTargets": targets(weights)}}}
    change = _update(split.resource, split.state, merged(split.state["spec"], spec))
    return Plan(title, (replace(change, verb="shift", wanted={**change.wanted}),))


def plan_settle(split: Split, survivor: str, retire: str) -> Plan:
    """Plan the route with one target left, and the mark of who was retired."""
    plan = plan_split(split, {survivor: 100}, title="06_tear_down_service_b")
    if retire in split.retired or split.state is None:
        return plan
    arn, value = split.state["arn"], " ".join(sorted({*split.retired, retire}))
    reading = _retired_reading(arn)
    before = " ".join(sorted(split.retired)) or None
    back = Call("appmesh", "untag_resource", {"resourceArn": arn, "tagKeys": [RETIRED]})
    if before:
        back = Call("appmesh", "tag_resource", {"resourceArn": arn, "tags": [{"key": RETIRED, "value": before}]})
    mark = Change(
        name=f"mark {retire} as retired",
        verb="tag",
        call=Call("appmesh", "tag_resource", {"resourceArn": arn, "tags": [{"key": RETIRED, "value": value}]}),
        reading=reading,
        expected=before,
        wanted=value,
        inverse=Inverse("untag", back, wanted=before),
        diff=differences(before, value, RETIRED),
    )
    return plan + Plan(plan.title, (mark,))


def _retired_reading(arn: str) -> Reading:
    call = Call("appmesh", "list_tags_for_resource", {"resourceArn": arn})
    return Reading(call, f"tags[?key=='{RETIRED}'].value | [0]", absent=("NotFoundException",))


def series(p: Parameters) -> dict[str, dict[str, tuple[Series, ...]]]:
    """Return what counts requests, errors and slow requests by service: the callers' sidecars, by target.

    Source: App Mesh's metric extension (`RequestCountPerTarget`, `HTTPCode_Target_5XX_Count`,
    `TargetResponseTime` in milliseconds).
    """

    def of(metric: str, target: str) -> tuple[Series, ...]:
        names = ("Mesh", "VirtualNode", "TargetVirtualService", "TargetVirtualNode")
        values = [(p.mesh.name, caller, p.shift.name, target) for caller in p.callers_of(p.shift.name)]
        return tuple(Series(metric, dict(zip(names, v, strict=True))) for v in values)

    metrics = {
        "requests": "RequestCountPerTarget",
        "errors": "HTTPCode_Target_5XX_Count",
        "latency": "TargetResponseTime",
    }
    both = (p.shift.stable, p.shift.canary)
    return {name: {kind: of(metric, name) for kind, metric in metrics.items()} for name in both}


def inbound(p: Parameters, service: str) -> Series:
    """Return what counts everything that reaches a service's own sidecar, whoever called."""
    return Series("RequestCount", {"Mesh": p.mesh.name, "VirtualNode": service})


def plan_trial(p: Parameters, split: Split, header: str, value: str) -> Plan:
    """Plan a route before the others that sends requests with one header to the canary alone."""
    if split.state is None:
        raise PlanError(f"{split.resource.key}: there is no such route", hint="apply 03_create_router_and_routes")
    variant = next(v for v in SPEC_OF.values() if split.state["spec"].get(v))
    body = dict(split.state["spec"][variant])
    label = {"name": header, "match": {"exact": value}}
    match = {"metadata": [label]} if variant == "grpcRoute" else {"prefix": "/", "headers": [label]}
    body |= {"action": {"weightedTargets": targets({p.shift.canary: 100})}, "match": match}
    names = {**split.resource.names, "routeName": f"{split.resource.name}-trial"}
    resource = Resource("route", names, {"priority": 0, variant: body}, "05", tags(p))
    return Plan("trial", (_create(resource),))


def plan_trial_end(split: Split, state: Mapping[str, Any] | None) -> Plan:
    """Plan the end of the trial's route, where it is there."""
    names = {**split.resource.names, "routeName": f"{split.resource.name}-trial"}
    return Plan("trial", _delete(replace(split.resource, names=names), state))


def read_trial(session: Session) -> Mapping[str, Any] | None:
    """Read the trial's route."""
    p = session.parameters
    names = {"meshName": p.mesh.name, "virtualRouterName": p.router, "routeName": f"{p.route}-trial"}
    state: Mapping[str, Any] | None = session.read(reading("route", names))
    return state


def plan_retirement(p: Parameters, live: Live, service: str) -> Plan:
    """Plan the end of a service's virtual node."""
    resource = next(r for r in desired(p, Lifecycle()) if r.key == f"virtual node {service}")
    return Plan("06_tear_down_service_b", _delete(resource, live.get(resource.key)))


def references(session: Session, service: str) -> list[str]:
    """List what refers to a service's node: routes (a target of weight 0 is one), and virtual services."""
    return [key for key, needs in _standing(session).items() if f"virtual node {service}" in needs]


def _standing(session: Session) -> dict[str, set[str]]:
    """Read everything the mesh holds, whoever made it, by key: with the keys of what it cannot be without."""
    mesh = session.parameters.mesh.name
    found: dict[str, set[str]] = {}
    for router in _list(session, "list_virtual_routers", "virtualRouters", meshName=mesh):
        name = router["virtualRouterName"]
        for route in _list(session, "list_routes", "routes", meshName=mesh, virtualRouterName=name):
            names = {"meshName": mesh, "virtualRouterName": name, "routeName": route["routeName"]}
            nodes = {f"virtual node {node}" for node in _weights_in(session.read(reading("route", names)))}
            found[f"route {name}/{route['routeName']}"] = {f"virtual router {name}", *nodes}
        found[f"virtual router {name}"] = set()
    for virtual in _list(session, "list_virtual_services", "virtualServices", meshName=mesh):
        names = {"meshName": mesh, "virtualServiceName": virtual["virtualServiceName"]}
        spec = (session.read(reading("virtual service", names)) or {"spec": {}})["spec"]
        provider = spec.get("provider") or {}
        node = (provider.get("virtualNode") or {}).get("virtualNodeName")
        router = (provider.get("virtualRouter") or {}).get("virtualRouterName")
        found[f"virtual service {names['virtualServiceName']}"] = {f"virtual node {node}", f"virtual router {router}"}
    for kind, key in (("virtual node", "virtualNode"), ("virtual gateway", "virtualGateway")):
        for item in _list(session, f"list_{kind.replace(' ', '_')}s", f"{key}s", meshName=mesh):
            found[f"{kind} {item[f'{key}Name']}"] = set()
    return {key: {*needs, f"mesh {mesh}"} for key, needs in found.items()}


def _list(session: Session, operation: str, key: str, **arguments: Any) -> list[Any]:
    try:
        return session.pages("appmesh", operation, key, **arguments)
    except CallError as error:
        if "NotFoundException" in error.message:
            return []
        raise


# --- taking it out again ------------------------------------------------------------------------------------


def plan_removal(session: Session, live: Live) -> tuple[Plan, tuple[str, ...]]:
    """Plan the end of every resource the runbook made, children first, and name what stays and why.

    What somebody else made stays, and with it what that stands on: App Mesh would refuse to delete it.
    """
    known = {r.key: r for r in desired(session.parameters, Lifecycle())}
    standing = _standing(session)
    made: list[Change] = []
    kept: dict[str, str] = {}
    for resource in sorted(known.values(), key=lambda r: REMOVAL.index(r.kind)):
        state = live.get(resource.key)
        users = [k for k, needs in standing.items() if resource.key in needs and (k in kept or k not in known)]
        if state and users:
            kept[resource.key] = f"{', '.join(users)} stays, and needs it"
        elif state and not (labels := _labels(session, state["arn"])):
            kept[resource.key] = "does not carry the runbook's tag"
        elif state:
            made.extend(_delete(replace(resource, tags=labels), state))
    return Plan("90_remove_mesh", tuple(made)), tuple(f"{key}: {why}" for key, why in kept.items())


REMOVAL = ("virtual service", "route", "virtual router", "virtual node", "mesh")


def _labels(session: Session, arn: str) -> dict[str, str]:
    """Read a resource's tags (a route's say who was retired); none where it is not the runbook's."""
    call = Call("appmesh", "list_tags_for_resource", {"resourceArn": arn})
    found = {tag["key"]: tag["value"] for tag in session.read(Reading(call, "tags")) or []}
    return found if "runbook" in found else {}


def _delete(resource: Resource, state: Mapping[str, Any] | None) -> tuple[Change, ...]:
    if state is None:
        return ()
    gone = turned(_create(replace(resource, spec=state["spec"])))
    return (replace(gone, expected={key: state[key] for key in ("uid", "version", "spec")}),)
