"""Read how the route under shift divides the traffic, and plan its
weights, marks and trial.

`read_` functions read, `plan_` functions are pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from runbook_lib.aws.naming import fitting, tags
from runbook_lib.aws.reads import Reads
from runbook_lib.engines import marks
from runbook_lib.engines.appmesh.changes import create, delete, reading, update
from runbook_lib.engines.appmesh.spec import Resource, targets, targets_in, variant_of
from runbook_lib.engines.protocol import Split, shares, summed
from runbook_lib.errors import PlanError
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Change, Moved, Plan, Reading, differences, merged

MOST_NAME = 255  # characters of a name in App Mesh
MOST_TARGETS = 10  # of a route
MOST_WEIGHT = 100  # of a target
WHERE_ABSENT = "apply 03_create_router_and_routes"
AT_ZERO = "Envoy keeps the weights it had before"


# --- reading --------------------------------------------------------------------------


def split_reading(p: Parameters) -> Reading:
    """Return how what carries the weights is read."""
    return reading("route", _names(p, p.route))


def _names(p: Parameters, route: str) -> dict[str, str]:
    return {"meshName": p.mesh.name, "virtualRouterName": p.router, "routeName": route}


def read_split(session: Reads) -> Split:
    """Read how the route under shift divides the traffic, and who has
    been retired from it.
    """
    split = read_weights(session)
    if split.state is None:
        return split
    return replace(split, retired=marks.read_retired(session, _tags_of(split)))


def read_weights(session: Reads) -> Split:
    """Read how the route under shift divides the traffic, by one call, and nothing
    of who was retired.
    """
    p = session.parameters
    route = Resource("route", _names(p, p.route), {}, "05")
    state = session.read(split_reading(p))
    split = Split(
        route.key,
        split_reading(p),
        state,
        targets_in(state),
        labels=tags(p),
        at_zero=AT_ZERO,
        where_absent=WHERE_ABSENT,
    )
    session.saw(split.written)
    return split


def weights_of(p: Parameters, state: Mapping[str, Any] | None) -> dict[str, int]:
    """Return the weights that a state of the route under shift gives, in
    percent by service.
    """
    return shares(summed(targets_in(state)))


def _resource(split: Split) -> Resource:
    """Return the route of a split; what it is to say is not in it."""
    names = split.reading.call.arguments
    if not isinstance(names, Mapping):
        raise TypeError(f"{split.key}: expected a reading by names")
    return Resource("route", names, {}, "05", split.labels)


# --- the weights ----------------------------------------------------------------------


def plan_split(
    split: Split, weights: Mapping[str, int], *, rewrite: bool = False
) -> Plan:
    """Plan the traffic's division, in percent by service; every other field
    of the route stays.

    With `rewrite` weights that are in force are written once more: the
    rollback, rehearsed.

    Raises PlanError where there is no route, weights are not whole percents that sum to
    100, or one would lose its traffic that they do not name.
    """
    split.require_state()
    split.require_division(weights, MOST_TARGETS)
    if dict(weights) == split.written and not rewrite:
        return Plan("05_shift_traffic")
    return Plan("05_shift_traffic", (_shifted(split, weights),))


def _shifted(split: Split, weights: Mapping[str, int]) -> Change:
    """Return the change to these weights; whatever else the route says is kept."""
    state = split.require_state()
    said = {variant_of(state): {"action": {"weightedTargets": targets(weights)}}}
    change = update(_resource(split), state, merged(state["spec"], said))
    moved = Moved(split.weights, shares(weights))
    return replace(change, verb="shift", weights=moved)


def plan_rollback(split: Split, stable: str, canary: str) -> Plan:
    """Plan that stable gets all that the canary has, in one write; what somebody
    else's target has stays.

    Without changes where the canary has none.
    """
    split.require_state()
    moved = split.moved_back(stable, canary, MOST_WEIGHT)
    if not moved:
        return Plan("rollback")
    return Plan("rollback", (_shifted(split, moved),))


def all_on(p: Parameters, change: Change, service: str) -> Change:
    """Return a change that makes what carries the weights anew, with all of
    it on one service.
    """
    spec = deepcopy(dict(change.wanted["spec"]))
    for target in spec[variant_of(change.wanted)]["action"]["weightedTargets"]:
        target["weight"] = 100 if target["virtualNode"] == service else 0
    given = change.call.arguments
    arguments = {**given, "spec": spec} if isinstance(given, Mapping) else given
    return replace(
        change,
        call=replace(change.call, arguments=arguments),
        wanted={**change.wanted, "spec": spec},
        diff=differences({}, spec),
    )


# --- marks on the route ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tags:
    """The tags of one resource of App Mesh, as `marks` uses them."""

    arn: str

    def reading(self, key: str) -> Reading:
        call = Call("appmesh", "list_tags_for_resource", {"resourceArn": self.arn})
        return Reading(
            call, f"tags[?key=='{key}'].value | [0]", absent=("NotFoundException",)
        )

    def add(self, key: str, value: str) -> Call:
        said = [{"key": key, "value": value}]
        return Call("appmesh", "tag_resource", {"resourceArn": self.arn, "tags": said})

    def remove(self, key: str) -> Call:
        return Call(
            "appmesh", "untag_resource", {"resourceArn": self.arn, "tagKeys": [key]}
        )


def _tags_of(split: Split) -> _Tags:
    return _Tags(split.require_state()["arn"])


def plan_mark(split: Split, before: str, words: str) -> Plan:
    """Plan a mark on the route that says who rolled back; `before` is the last one."""
    return marks.plan_rolled_back(split, _tags_of(split), before, words)


def read_mark(session: Reads, split: Split) -> str:
    """Read who rolled back last, and when, as `plan_mark` wrote it; "" where
    nobody left a mark.
    """
    return marks.read_rolled_back(session, _tags_of(split))


def plan_settle(split: Split, survivor: str, retire: str) -> Plan:
    """Plan the route with one target left, and the mark of who was retired."""
    settled = split.settled(survivor, retire)
    title = "06_tear_down_service_b"
    plan = Plan(title)
    if settled != split.written:
        plan += Plan(title, (_shifted(split, settled),))
    if retire not in split.retired:
        plan += Plan(title, (marks.mark_retired(split, _tags_of(split), retire),))
    return plan


# --- the trial ------------------------------------------------------------------------


def plan_trial(p: Parameters, split: Split, header: str, value: str) -> Plan:
    """Plan a route before the others that sends requests with one
    header to the canary alone.
    """
    state = split.require_state()
    variant = variant_of(state)
    if variant == "tcpRoute":
        what = "TCP carries no header to tell the trial's requests by"
        raise PlanError(f"{split.key}: {what}", hint="shift.trial: null")
    label = {"name": header, "match": {"exact": value}}
    match: dict[str, Any] = {"prefix": "/", "headers": [label]}
    if variant == "grpcRoute":
        match = {"metadata": [label]}
    action = {"weightedTargets": targets({p.shift.canary: 100})}
    body = {**state["spec"][variant], "action": action, "match": match}
    trial = replace(_trial(split), spec={"priority": 0, variant: body})
    return Plan("trial", (create(trial),))


def plan_trial_end(split: Split, state: Mapping[str, Any] | None) -> Plan:
    """Plan the end of the trial's route, where it is there."""
    return Plan("trial", delete(_trial(split), state))


def _trial(split: Split) -> Resource:
    route = _resource(split)
    names = {**route.names, "routeName": trial_name(route.name)}
    return replace(route, names=names)


def trial_name(route: str) -> str:
    """Return the name of a trial's route, by that of the route under shift."""
    return fitting(f"{route}-trial", MOST_NAME)


def read_trial(session: Reads) -> Mapping[str, Any] | None:
    """Read the trial's route."""
    p = session.parameters
    state: Mapping[str, Any] | None = session.read(
        reading("route", _names(p, trial_name(p.route)))
    )
    return state
