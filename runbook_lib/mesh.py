"""Read App Mesh, and plan its changes: the engine that carries the weights here.

The only caller of the App Mesh client. `read_` and `list_` read, `plan_` functions are pure. What the rest of
the runbook asks of an engine is `read_split`, `plan_split`, `plan_settle`, `references`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from runbook_lib.aws.cloudwatch import Counted, Series
from runbook_lib.aws.session import Session
from runbook_lib.envoy_image import tag_version
from runbook_lib.errors import CallError, PlanError
from runbook_lib.mesh_spec import SPEC_OF, Lifecycle, Resource, created, desired, fitting, tags, targets, updated
from runbook_lib.parameters.model import Match, Parameters
from runbook_lib.plan import (
    Call,
    Change,
    Difference,
    Inverse,
    Plan,
    Reading,
    differences,
    kept,
    merged,
    turned,
    without,
)

__all__ = [
    "NOTEBOOKS",
    "Split",
    "all_on",
    "counted",
    "hostnames",
    "inbound",
    "plan_mark",
    "plan_removal",
    "plan_retirement",
    "plan_rollback",
    "plan_settle",
    "plan_split",
    "plan_step",
    "plan_trial",
    "plan_trial_end",
    "read_live",
    "read_mark",
    "read_split",
    "read_trial",
    "read_weights",
    "references",
    "routes_in",
    "series",
    "serves",
    "shares",
    "split_reading",
    "standing",
    "unmatched",
    "weights_of",
]

ANSWER = {
    "virtual service": "virtualService",
    "virtual node": "virtualNode",
    "virtual router": "virtualRouter",
    "virtual gateway": "virtualGateway",
}
MOST_NAME = 255  # characters of a name in App Mesh
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
COUNTS_FROM = (1, 19, 1, 1)  # the first Envoy whose metric extension counts per target
ROLLED_BACK = "runbook:rolled-back"
NO_TAG = re.compile(r"[^\w\s.:/=+@-]")  # what a tag's value may not have
TAKE_OUT = "it is not this shift's to move: take it out of the route, or shift with a file that names it"

Live = Mapping[str, Any]
"""The state of each resource by its key; None where it is absent."""


def reading(kind: str, names: Mapping[str, str]) -> Reading:
    """Return how one resource is read."""
    return Reading(_call("describe", kind, names), f"{ANSWER.get(kind, kind)}.{STATE}", absent=("NotFoundException",))


def _call(verb: str, kind: str, names: Mapping[str, str], **arguments: Any) -> Call:
    return Call("appmesh", f"{verb}_{kind.replace(' ', '_')}", {**names, **arguments})


def read_live(session: Session) -> dict[str, Any]:
    """Read every resource the parameters speak of, retired ones too."""
    mesh, *others = {r.key: r for r in desired(session.parameters, Lifecycle())}.values()
    live = {mesh.key: session.read(reading(mesh.kind, mesh.names))}
    for other in others:  # nothing is in a mesh that is not there
        live[other.key] = session.read(reading(other.kind, other.names)) if live[mesh.key] else None
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

    What earlier notebooks have not made yet is assumed made, and named in `assumed`; what the parameters do not
    speak of stays as it is, and is named in `kept`.
    """
    state = dict(live)
    assumed: dict[str, None] = {}  # each once, in their order
    left: list[str] = []
    changes: list[Change] = []
    for resource in desired(p, life):
        if resource.step == step and live.get(resource.key):
            left += _left_alone(resource, live[resource.key]["spec"])
        change = _change(resource, state) if resource.step <= step else None
        if change and resource.step == step:
            changes.append(change)
        elif change and change.verb in ("create", "attach"):
            assumed[f"{resource.key} ({NOTEBOOKS[resource.step]})"] = None
            state[resource.key] = {"version": 0, **(state.get(resource.key) or {}), **change.wanted}
    return Plan(NOTEBOOKS[step], tuple(changes), needs=("earlier steps",), assumed=tuple(assumed), kept=tuple(left))


def _left_alone(resource: Resource, spec: Mapping[str, Any]) -> Iterator[str]:
    """Say what stays as it is although a new resource would get something else, since the file has no key for it."""
    for difference in kept(spec, resource.spec):
        yield f"{resource.key}: {difference.field}: {json.dumps(difference.after)}"


def _change(resource: Resource, live: Live) -> Change | None:
    state = live.get(resource.key)
    if state is None:
        return _create(resource)
    spec = updated(resource, state["spec"])
    if not differences(state["spec"], spec):
        return None
    _refuse_another_protocol(resource, state["spec"], spec)
    return _update(resource, state, spec)


def _create(resource: Resource) -> Change:
    kind, names, spec = resource.kind, resource.names, created(resource)
    labels = [{"key": key, "value": value} for key, value in resource.tags.items()]
    return Change(
        name=resource.key,
        verb="create",
        call=_call("create", kind, names, spec=spec, tags=labels),
        reading=reading(kind, names),
        expected=None,
        wanted={"spec": spec},
        inverse=Inverse("delete", _call("delete", kind, names), wanted=None),
        diff=differences({}, spec),
    )


def _update(resource: Resource, state: Mapping[str, Any], spec: Mapping[str, Any]) -> Change:
    kind, names = resource.kind, resource.names
    attaches = "provider" in spec and not state["spec"].get("provider")
    diff = differences(state["spec"], spec)
    return Change(
        name=resource.key,
        verb="attach" if attaches else "update",
        call=_call("update", kind, names, spec=spec),
        reading=reading(kind, names),
        expected={key: state[key] for key in ("uid", "version", "spec") if key in state},
        wanted={"spec": without(state["spec"], spec)},
        inverse=Inverse(
            "detach" if attaches else "update",
            _call("update", kind, names, spec=state["spec"]),
            wanted={"spec": without(spec, state["spec"])},
        ),
        diff=diff,
        note=_health_check_note(diff),
    )


def _health_check_note(diff: Iterable[Difference]) -> str:
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
    """How the traffic is divided now, with what a change of it must find unchanged.

    `weights` are shares in whole percent, which is what a weight means: its part of the sum of all.
    """

    resource: Resource
    weights: Mapping[str, int]
    state: Mapping[str, Any] | None
    retired: frozenset[str]

    @property
    def reading(self) -> Reading:
        """How the state is read."""
        return reading("route", self.resource.names)

    @property
    def written(self) -> dict[str, int]:
        """The weights as they stand in the route, whatever they sum to."""
        return _weights_in(self.state)

    def oddity(self, names: Collection[str]) -> str:
        """Say why these weights cannot be a shift's between two services; "" where they can."""
        targets = _targets_in(self.state)
        others = sorted({t["virtualNode"] for t in targets} - {*names})
        if others:
            return f"{', '.join(others)} is a target too, and no part of this shift: {self.as_written}"
        if len(targets) > len(self.written):
            return f"a service is a target twice: {self.as_written}"
        return "" if sum(self.written.values()) == 100 or self.state is None else self._unlike_percents()

    def _unlike_percents(self) -> str:
        total = sum(self.written.values())
        if total == 0:
            return "every weight is 0, and Envoy keeps the weights it had before"
        alone = sorted(self.written.values())[:-1]
        if not any(alone):  # 1 and 0: all of it for one, by whatever number
            return ""
        return f"the weights do not sum to 100 but to {total}, so nobody meant percents: {self.as_written}"

    @property
    def as_written(self) -> str:
        """The weights as they stand in the route, with the shares they come to."""
        total = sum(self.written.values())
        own = [f"{name} {weight}" for name, weight in self.written.items()]
        shares = [f"{100 * weight / total:.4g} %" for weight in self.written.values()] if total else []
        return ", ".join(own) + (f" (shares of {', '.join(shares)})" if shares and total != 100 else "")


def split_reading(p: Parameters) -> Reading:
    """Return how what carries the weights is read."""
    return reading("route", _route(p, p.route))


def all_on(change: Change, service: str) -> Change:
    """Return a change that makes what carries the weights anew, with all of it on one service."""
    spec = deepcopy(dict(change.wanted["spec"]))
    for target in spec[_variant(change.wanted)]["action"]["weightedTargets"]:
        target["weight"] = 100 if target["virtualNode"] == service else 0
    given = change.call.arguments
    arguments = {**given, "spec": spec} if isinstance(given, Mapping) else given
    wanted, call = {**change.wanted, "spec": spec}, replace(change.call, arguments=arguments)
    return replace(change, call=call, wanted=wanted, diff=differences({}, spec))


def weights_of(state: Mapping[str, Any] | None) -> dict[str, int]:
    """Return the weights that a state of the route under shift gives, in percent by service."""
    return shares(_weights_in(state))


def read_split(session: Session) -> Split:
    """Read how the route under shift divides the traffic, and who has been retired from it."""
    split = read_weights(session)
    if split.state is None:
        return split
    retired = session.read(_retired_reading(split.state["arn"]))
    return replace(split, retired=frozenset((retired or "").split()))


def read_weights(session: Session) -> Split:
    """Read how the route under shift divides the traffic, by one call, and nothing of who was retired."""
    p = session.parameters
    resource = Resource("route", _route(p, p.route), {}, "05", tags(p))
    state = session.read(reading("route", resource.names))
    weights = _weights_in(state)
    session.saw(weights)
    return Split(resource, shares(weights), state, frozenset())


def _route(p: Parameters, name: str) -> dict[str, str]:
    return {"meshName": p.mesh.name, "virtualRouterName": p.router, "routeName": name}


def _weights_in(state: Mapping[str, Any] | None) -> dict[str, int]:
    found: Counter[str] = Counter()
    for target in _targets_in(state):
        found[target["virtualNode"]] += target["weight"]
    return dict(found)


def _targets_in(state: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return list(state["spec"][_variant(state)]["action"]["weightedTargets"]) if state else []


def shares(weights: Mapping[str, int]) -> dict[str, int]:
    """Return weights as shares of their sum in whole percent that sum to 100; who has any has at least 1.

    Where every weight is 0 nobody has a share.
    """
    total = sum(weights.values())
    if total in (0, 100):
        return dict(weights)
    whole = {name: max(100 * weight // total, min(weight, 1)) for name, weight in weights.items()}
    lost = {name: 100 * weight / total - whole[name] for name, weight in weights.items()}
    missing = max(100 - sum(whole.values()), 0)
    for name in sorted(lost, key=lambda name: -lost[name])[:missing]:
        whole[name] += 1
    largest = max(whole, key=lambda name: whole[name])
    whole[largest] += 100 - sum(whole.values())
    return whole


def _variant(state: Mapping[str, Any]) -> str:
    """Return under which of its names a route's spec is there: `http2Route`, say."""
    return next(variant for variant in SPEC_OF.values() if state["spec"].get(variant))


def plan_split(
    split: Split, weights: Mapping[str, int], *, title: str = "05_shift_traffic", rewrite: bool = False
) -> Plan:
    """Plan the traffic's division, in percent by service; every other field of the route stays.

    With `rewrite` weights that are in force are written once more: the way back, rehearsed.

    Raises PlanError where there is no route, weights are not whole percents that sum to 100, or one would lose
    its traffic that they do not name.
    """
    _there(split)
    whole = all(type(w) is int and 0 <= w <= 100 for w in weights.values())
    if not whole or sum(weights.values()) != 100 or not 1 <= len(weights) <= 10:
        raise PlanError(f"weights: expected 1 to 10 whole percents that sum to 100; found {dict(weights)}")
    if left_out := sorted(split.written.keys() - weights.keys() - split.retired):
        raise PlanError(
            f"{split.resource.key}: {', '.join(left_out)} is a target too: {split.as_written}",
            hint=TAKE_OUT,
        )
    if dict(weights) == split.written and not rewrite:
        return Plan(title)
    return Plan(title, (_shifted(split, targets(weights)),))


def _shifted(split: Split, wanted: Sequence[Mapping[str, Any]]) -> Change:
    """Return the change to these targets; whatever else one says that stays is kept."""
    state = _there(split)
    spec = {_variant(state): {"action": {"weightedTargets": list(wanted)}}}
    return replace(_update(split.resource, state, merged(state["spec"], spec)), verb="shift")


def plan_rollback(split: Split, stable: str, canary: str) -> Plan:
    """Plan that stable gets all that the canary has, in one write; what somebody else's target has stays.

    Without changes where the canary has none.
    """
    _there(split)
    written = split.written
    moved = {**written, stable: written.get(stable, 0) + written.get(canary, 0), canary: 0}
    if not written.get(canary) and any(written.values()):
        return Plan("rollback")
    if not moved.keys() - {stable, canary}:
        moved = {stable: 100, canary: 0}
    elif max(moved.values()) > 100:  # no weight may be more
        moved = shares(moved)
    return Plan("rollback", (_shifted(split, targets(moved)),))


def _there(split: Split) -> Mapping[str, Any]:
    if split.state is None:
        raise PlanError(f"{split.resource.key}: there is no such route", hint="apply 03_create_router_and_routes")
    return split.state


def plan_mark(split: Split, before: str, words: str) -> Plan:
    """Plan a mark on the route that says who rolled back, for whoever watches elsewhere; `before` is the last one."""
    arn, value = _there(split)["arn"], NO_TAG.sub("-", words)[:256]
    mark = Change(
        name=f"mark {split.resource.key} as rolled back",
        verb="tag",
        call=Call("appmesh", "tag_resource", {"resourceArn": arn, "tags": [{"key": ROLLED_BACK, "value": value}]}),
        reading=_tag_reading(arn, ROLLED_BACK),
        expected=before or None,
        wanted=value,
        no_inverse="it says who rolled back, and when",
    )
    return Plan("rollback", (mark,))


def read_mark(session: Session, split: Split) -> str:
    """Read who rolled back last, and when, as `plan_mark` wrote it; "" where nobody left a mark."""
    return session.read(_tag_reading(_there(split)["arn"], ROLLED_BACK)) or ""


def plan_settle(split: Split, survivor: str, retire: str) -> Plan:
    """Plan the route with one target left, and the mark of who was retired."""
    gone = {retire, *split.retired}
    settled = {name: weight for name, weight in split.written.items() if name not in gone} | {survivor: 100}
    plan = Plan("06_tear_down_service_b", (_shifted(split, targets(settled)),) if settled != split.written else ())
    if retire in split.retired:
        return plan
    arn = _there(split)["arn"]
    before, value = (" ".join(sorted(who)) or None for who in (split.retired, {*split.retired, retire}))

    def tag(who: str | None) -> Call:
        return Call("appmesh", "tag_resource", {"resourceArn": arn, "tags": [{"key": RETIRED, "value": who}]})

    untag = Call("appmesh", "untag_resource", {"resourceArn": arn, "tagKeys": [RETIRED]})
    mark = Change(
        name=f"mark {retire} as retired",
        verb="tag",
        call=tag(value),
        reading=_retired_reading(arn),
        expected=before,
        wanted=value,
        inverse=Inverse("untag", tag(before) if before else untag, wanted=before),
        diff=differences(before, value, RETIRED),
    )
    return plan + Plan(plan.title, (mark,))


def _retired_reading(arn: str) -> Reading:
    return _tag_reading(arn, RETIRED)


def _tag_reading(arn: str, key: str) -> Reading:
    call = Call("appmesh", "list_tags_for_resource", {"resourceArn": arn})
    return Reading(call, f"tags[?key=='{key}'].value | [0]", absent=("NotFoundException",))


def series(p: Parameters) -> dict[str, dict[str, tuple[Series, ...]]]:
    """Return what counts requests, errors and slow requests by service: the callers' sidecars, by target.

    Source: App Mesh's metric extension (`RequestCountPerTarget`, `HTTPCode_Target_5XX_Count`,
    `TargetResponseTime` in milliseconds).
    """

    metrics = {
        "requests": "RequestCountPerTarget",
        "errors": "HTTPCode_Target_5XX_Count",
        "latency": "TargetResponseTime",
    }

    def dimensions(caller: str, target: str) -> dict[str, str]:
        source = {"Mesh": p.mesh.name, "VirtualNode": caller}
        return {**source, "TargetVirtualService": p.shift.name, "TargetVirtualNode": target}

    callers = p.callers_of(p.shift.name)
    return {
        target: {
            kind: tuple(Series(metric, dimensions(caller, target)) for caller in callers)
            for kind, metric in metrics.items()
        }
        for target in (p.shift.stable, p.shift.canary)
    }


def counted(p: Parameters) -> Counted:
    """Return what the series of `series` can show of the route under shift.

    Source: App Mesh's metric extension counts per target for HTTP alone, from Envoy v1.19.1.1 on.
    """
    protocol = p.routers[p.router].protocol or p.protocol
    version = tag_version(p.envoy.image_tag)
    if protocol == "tcp":
        return Counted(False, False, "no request of a tcp route is counted: App Mesh counts requests of HTTP alone")
    if version is not None and version < COUNTS_FROM:
        words = f"Envoy {p.envoy.image_tag} publishes no metric per target; v1.19.1.1 is the first that does"
        return Counted(False, False, words)
    if protocol == "grpc":
        trailers = "gRPC failures travel in trailers of HTTP 200, which no 5XX metric counts"
        return Counted(True, False, trailers)
    return Counted(True, True, "answers of 5XX are counted, retries included")


def unmatched(p: Parameters) -> list[str]:
    """Return a sentence for each router that callers reach in which some requests match no route: those get a 404."""
    dialled = {backend for service in p.services.values() for backend in service.backends}
    routers = dict.fromkeys(p.virtual_services[name].router for name in sorted(dialled))
    return [
        f"router {name}: a request that matches none of its routes ({_conditions(p, name)}) is answered 404"
        for name in routers
        if name and not any(_takes_all(p, name, route.match) for route in p.routers[name].routes.values())
    ]


def _takes_all(p: Parameters, router: str, match: Match) -> bool:
    protocol = p.routers[router].protocol or p.protocol
    if protocol == "tcp":
        return True
    if protocol == "grpc":
        return not (match.service or match.grpc_method or match.headers)
    anywhere = not match.path and match.prefix in (None, "/")
    return anywhere and not (match.method or match.headers)


def _conditions(p: Parameters, router: str) -> str:
    return "; ".join(f"{name}: {_condition(route.match)}" for name, route in p.routers[router].routes.items())


def _condition(match: Match) -> str:
    parts = {
        "path": match.path,
        "prefix": match.prefix if match.prefix != "/" else None,
        "method": match.method,
        "service": match.service,
        "gRPC method": match.grpc_method,
    }
    said = [f"{name} {value}" for name, value in parts.items() if value]
    return ", ".join([*said, *(f"header {header.name}" for header in match.headers)])


def hostnames(plan: Plan) -> dict[str, str]:
    """Return by which DNS name a plan's virtual nodes will be found, by service."""
    found = {}
    for change in plan:
        wanted = change.wanted if isinstance(change.wanted, Mapping) else {}
        dns = (wanted.get("spec", {}).get("serviceDiscovery") or {}).get("dns")
        if dns:
            found[change.name.removeprefix("virtual node ")] = str(dns["hostname"])
    return found


def routes_in(plan: Plan) -> bool:
    """Return whether a plan makes or changes a route."""
    return any(change.name.startswith("route ") for change in plan)


def inbound(p: Parameters, service: str) -> Series:
    """Return what counts everything that reaches a service's own sidecar, whoever called."""
    return Series("RequestCount", {"Mesh": p.mesh.name, "VirtualNode": service})


def plan_trial(p: Parameters, split: Split, header: str, value: str) -> Plan:
    """Plan a route before the others that sends requests with one header to the canary alone."""
    state = _there(split)
    variant = _variant(state)
    if variant == "tcpRoute":
        what = "TCP carries no header to tell the trial's requests by"
        raise PlanError(f"{split.resource.key}: {what}", hint="shift.trial: null")
    label = {"name": header, "match": {"exact": value}}
    match = {"metadata": [label]} if variant == "grpcRoute" else {"prefix": "/", "headers": [label]}
    action = {"weightedTargets": targets({p.shift.canary: 100})}
    spec = {"priority": 0, variant: {**state["spec"][variant], "action": action, "match": match}}
    return Plan("trial", (_create(replace(_trial(split), spec=spec)),))


def plan_trial_end(split: Split, state: Mapping[str, Any] | None) -> Plan:
    """Plan the end of the trial's route, where it is there."""
    return Plan("trial", _delete(_trial(split), state))


def _trial(split: Split) -> Resource:
    return replace(split.resource, names={**split.resource.names, "routeName": _trial_name(split.resource.name)})


def _trial_name(route: str) -> str:
    return fitting(f"{route}-trial", MOST_NAME)


def read_trial(session: Session) -> Mapping[str, Any] | None:
    """Read the trial's route."""
    p = session.parameters
    state: Mapping[str, Any] | None = session.read(reading("route", _route(p, _trial_name(p.route))))
    return state


def plan_retirement(p: Parameters, live: Live, service: str) -> Plan:
    """Plan the end of a service's virtual node."""
    resource = next(r for r in desired(p, Lifecycle()) if r.key == f"virtual node {service}")
    return Plan("06_tear_down_service_b", _delete(resource, live.get(resource.key)))


def references(session: Session, service: str) -> list[str]:
    """List what refers to a service's node: routes (a target of weight 0 is one), and virtual services."""
    return [key for key, needs in standing(session).items() if f"virtual node {service}" in needs]


def standing(session: Session) -> dict[str, set[str]]:
    """Read everything the mesh holds, whoever made it, by key: with the keys of what it cannot be without."""
    mesh = {"meshName": session.parameters.mesh.name}
    if session.read(reading("mesh", mesh)) is None:
        return {}
    found: dict[str, set[str]] = {}
    for router in _names(session, "virtual router", mesh):
        for route in _names(session, "route", {**mesh, "virtualRouterName": router}):
            names = {**mesh, "virtualRouterName": router, "routeName": route}
            nodes = {f"virtual node {node}" for node in _weights_in(session.read(reading("route", names)))}
            found[f"route {router}/{route}"] = {f"virtual router {router}", *nodes}
        found[f"virtual router {router}"] = set()
    for name in _names(session, "virtual service", mesh):
        query = "virtualService.spec.provider.[virtualNode.virtualNodeName, virtualRouter.virtualRouterName]"
        call = _call("describe", "virtual service", {**mesh, "virtualServiceName": name})
        by_node, by_router = session.read(Reading(call, query, absent=("NotFoundException",))) or (None, None)
        found[f"virtual service {name}"] = {f"virtual node {by_node}", f"virtual router {by_router}"}
    for kind in ("virtual node", "virtual gateway"):
        found |= {f"{kind} {name}": set() for name in _names(session, kind, mesh)}
    return {key: {*needs, f"mesh {mesh['meshName']}"} for key, needs in found.items()}


def _names(session: Session, kind: str, within: Mapping[str, str]) -> list[str]:
    answer = ANSWER.get(kind, kind)
    listed = session.pages("appmesh", f"list_{kind.replace(' ', '_')}s", f"{answer}s", **within)
    return [item[f"{answer}Name"] for item in listed]


# --- taking it out again ------------------------------------------------------------------------------------


def plan_removal(session: Session, live: Live) -> tuple[Plan, tuple[str, ...]]:
    """Plan the end of every resource the runbook made, children first, and name what stays and why.

    What somebody else made stays, and with it what that stands on: App Mesh would refuse to delete it.
    """
    known = {r.key: r for r in desired(session.parameters, Lifecycle())}
    everything = standing(session)
    made: list[Change] = []
    kept: dict[str, str] = {}
    for resource in sorted(known.values(), key=lambda r: REMOVAL.index(r.kind)):
        state = live.get(resource.key)
        users = [k for k, needs in everything.items() if resource.key in needs and (k in kept or k not in known)]
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
