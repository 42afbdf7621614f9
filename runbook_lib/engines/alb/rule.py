"""Read how the rule under shift divides the traffic, and plan its weights and marks.

`read_` functions read, `plan_` functions are pure. Source: the weights of a
rule are whole numbers from 0 to 999, each group's share is its part of their
sum, and a group at 0 stays in the rule and is checked for health (Application
Load Balancer, listener rules).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from runbook_lib.aws.naming import tags
from runbook_lib.aws.reads import Reads
from runbook_lib.engines import marks
from runbook_lib.engines.alb import elbv2, place
from runbook_lib.engines.alb.arns import (
    group_dimension,
    group_key,
    group_name,
    load_balancer_dimension,
)
from runbook_lib.engines.protocol import Split, Target, shares, summed
from runbook_lib.errors import PlanError
from runbook_lib.parameters import Parameters
from runbook_lib.plan import (
    Change,
    Difference,
    Inverse,
    Moved,
    Plan,
    Reading,
    differences,
)

SHIFTING, RETIRING = "05_shift_traffic", "06_tear_down_service_b"
MOST_TARGETS = 5  # of a rule
MOST_WEIGHT = 999
AT_ZERO = "the load balancer answers 503"
WHERE_ABSENT = "name one in alb.rule"
FORWARDS = (
    "let the rule forward to the target groups of both versions, the "
    "canary's with weight 0"
)
LOGIN = "AuthenticateOidcConfig"  # where an action says how callers log in
NOT_STICKY = {"Enabled": False}
OF_WEIGHTS = ("ForwardConfig", "TargetGroupArn")  # where an action says them
# what a change of the weights leaves as it is
KEPT = ("arn", "priority", "conditions", "transforms", "others")


# --- reading --------------------------------------------------------------------------


def split_reading(p: Parameters) -> Reading:
    """Return how what carries the weights is read."""
    return place.rule_reading(p)


def read_split(session: Reads) -> Split:
    """Read how the rule divides the traffic, and who has been retired from it.

    The series of a version whose group is in the rule no more need its name too: it
    stays until it is removed.
    """
    split = read_weights(session)
    if split.state is None:
        return split
    p = session.parameters
    retired = marks.read_retired(session, _tags_of(split))
    ids = dict(split.ids)
    for service in p.shift.versions:
        if service in ids:
            continue
        group = session.read(elbv2.group(p.target_group_of(service)))
        if group:
            ids[service] = group_dimension(group["TargetGroupArn"])
    return replace(split, retired=retired, ids=ids)


def read_weights(session: Reads) -> Split:
    """Read how the rule divides the traffic, by one call, and nothing
    of who was retired.
    """
    p = session.parameters
    reading = split_reading(p)
    state = session.read(reading)
    split = Split(
        place.key(p),
        reading,
        state,
        targets_in(p, state),
        labels=tags(p),
        at_zero=AT_ZERO,
        where_absent=WHERE_ABSENT,
    )
    session.saw(split.written)
    return replace(split, ids=_ids(split))


def _ids(split: Split) -> dict[str, str]:
    """Return by which names CloudWatch knows a rule's load balancer and groups."""
    if split.state is None:
        return {}
    ids = {"load balancer": load_balancer_dimension(split.state["arn"])}
    for group, service in _owners(split).items():
        ids[service] = group_dimension(group)
    return ids


def targets_in(p: Parameters, state: Mapping[str, Any] | None) -> tuple[Target, ...]:
    """Return the targets of a rule in this state; what is nobody's of the
    file, by its group.
    """
    services = {p.target_group_of(name): name for name in p.services}
    found = []
    for group in (state or {}).get("groups", ()):
        name = group_name(group["group"])
        service = services.get(name, group_key(name))
        found.append(Target(service, group["weight"]))
    return tuple(found)


def weights_of(p: Parameters, state: Mapping[str, Any] | None) -> dict[str, int]:
    """Return the weights that a state of the rule gives, in percent by service."""
    return shares(summed(targets_in(p, state)))


def unfit(split: Split, services: Collection[str]) -> str:
    """Say why this rule cannot divide the traffic between these
    services; "" where it can.
    """
    return misshapen(split) or lacking(split, services) or split.oddity(services)


def misshapen(split: Split) -> str:
    """Say why this rule divides no traffic by weights; "" where it does."""
    state = split.state
    if state is None:
        return f"{split.key} is not there"
    if state["default"]:
        words = "is its listener's default rule, which ModifyRule cannot change"
        return f"{split.key} {words}"
    kinds = [action["Type"] for action in state["actions"]]
    if "forward" not in kinds:
        found = ", ".join(kinds)
        return f"{split.key}: expected an action that forwards; found {found}"
    if not split.targets:
        return f"{split.key}: expected target groups with weights; found one without"
    return ""


def lacking(split: Split, services: Collection[str]) -> str:
    """Say whose target group is not in the rule; "" where all are."""
    absent = ", ".join(service for service in services if service not in split.written)
    if not absent:
        return ""
    words = f"the target group of {absent} is not in it: {split.as_written}"
    return f"{split.key}: {words}"


# --- the weights ----------------------------------------------------------------------


def plan_split(
    split: Split, weights: Mapping[str, int], *, rewrite: bool = False
) -> Plan:
    """Plan the traffic's division, in percent by service; all else that
    the rule says stays.

    With `rewrite` weights that are in force are written once more: the
    rollback, rehearsed.

    Raises PlanError where the rule cannot divide it, weights are not whole percents
    that sum to 100, or one would lose its traffic that they do not name.
    """
    split.require_state()
    split.require_division(weights, MOST_TARGETS)
    require_shape(split, weights)
    if dict(weights) == split.written and not rewrite:
        return Plan(SHIFTING)
    return Plan(SHIFTING, (_shifted(split, weights),))


def plan_rollback(split: Split, stable: str, canary: str) -> Plan:
    """Plan that stable gets all that the canary has, in one write; other
    targets keep theirs.

    Without changes where the canary has none.
    """
    require_shape(split, (stable,))
    moved = split.moved_back(stable, canary, MOST_WEIGHT)
    if not moved:
        return Plan("rollback")
    return Plan("rollback", (_shifted(split, moved),))


def plan_last_target(split: Split, survivor: str, retire: str) -> Plan:
    """Plan the rule without the group of who is retired: its target
    group itself stays.

    Raises PlanError where the survivor's group is not in the rule.
    """
    settled = split.settled(survivor, retire)
    if settled == split.written:
        return Plan(RETIRING)
    require_shape(split, (survivor,))
    return Plan(RETIRING, (_shifted(split, settled),))


def joined(split: Split, arn: str, key: str) -> Change:
    """Return the change that lets one more group, called `key` in plans, into the rule,
    with weight 0.
    """
    after = {**weights_by_group(split), arn: 0}
    return rewritten(split, after, verb="update", diff=differences(None, 0, key))


def all_on(p: Parameters, change: Change, service: str) -> Change:
    """Refuse to make the rule anew: the runbook did not make it."""
    hint = f"make it as it was, with all traffic on {service}, and name it in alb.rule"
    words = "it is not there any more, and the runbook did not make it"
    raise PlanError(f"{change.name}: {words}", hint=hint)


def require_shape(split: Split, services: Collection[str]) -> Mapping[str, Any]:
    """Return the rule's state; raise PlanError where it divides no traffic
    among these services.
    """
    state = split.require_state()
    wrong = misshapen(split) or lacking(split, services)
    if wrong:
        raise PlanError(wrong, hint=FORWARDS)
    return state


def group_of(split: Split, service: str) -> str:
    """Return the ARN of a service's target group in the rule."""
    owners = _owners(split)
    return next(group for group, owner in owners.items() if owner == service)


def _owners(split: Split) -> dict[str, str]:
    """Return whose each group of the rule is, by ARN."""
    pairs = zip(split.require_state()["groups"], split.targets, strict=True)
    return {group["group"]: target.service for group, target in pairs}


def _shifted(split: Split, weights: Mapping[str, int]) -> Change:
    """Return the change to these weights; a group of a service without one
    goes out of the rule, and one that is not in it stays outside.
    """
    written = split.written
    wanted = {name: weights[name] for name in weights if name in written}
    after = {}
    for group, service in _owners(split).items():
        if service in wanted:
            after[group] = wanted[service]
    before = {name: written[name] for name in wanted}  # in the file's order, to be read
    diff = differences(before | written, wanted)
    change = rewritten(split, after, verb="shift", diff=diff)
    return replace(change, weights=Moved(split.weights, shares(wanted)))


def weights_by_group(split: Split) -> dict[str, int]:
    """Return a rule's weights by the groups' ARNs."""
    groups = split.require_state()["groups"]
    return {group["group"]: group["weight"] for group in groups}


def rewritten(
    split: Split, after: Mapping[str, int], *, verb: str, diff: tuple[Difference, ...]
) -> Change:
    """Return the change to these weights by the groups' ARNs; its inverse is the
    weights that are there.
    """
    state, before = split.require_state(), weights_by_group(split)
    arn = state["arn"]
    kept = {key: state[key] for key in KEPT}
    return Change(
        name=split.key,
        verb=verb,
        call=elbv2.modify(arn, actions_with(state, after)),
        reading=split.reading,
        expected={**kept, "groups": state["groups"], "exact": state["exact"]},
        wanted={**kept, "groups": as_read(after)},
        about=(split.key,),
        inverse=Inverse(
            verb,
            elbv2.modify(arn, actions_with(state, before)),
            wanted={**kept, "groups": as_read(before)},
        ),
        diff=diff,
    )


def actions_with(
    state: Mapping[str, Any], weights: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return a rule's actions with these weights by the groups' ARNs, each
    written; all else stays.

    A group that they do not name goes, one that is new comes last. AWS would take a
    weight that is left out for 1, and tells no client secret of a login: it is told to
    go on with the one it has.
    """
    actions: list[dict[str, Any]] = deepcopy(list(state["actions"]))
    for action in actions:
        if action["Type"] == "forward":
            action.pop("TargetGroupArn", None)  # AWS says a lone group twice
            config = action["ForwardConfig"]
            config["TargetGroups"] = weighted(config["TargetGroups"], weights)
        elif asks_for_secret(action):
            action[LOGIN]["UseExistingClientSecret"] = True
    return actions


def weighted(
    there: Sequence[Mapping[str, Any]], weights: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return an action's groups with these weights, those first that are there."""
    groups = {group["TargetGroupArn"]: group for group in there}
    for arn in weights:
        groups.setdefault(arn, {"TargetGroupArn": arn})
    return [
        {**group, "Weight": weights[arn]}
        for arn, group in groups.items()
        if arn in weights
    ]


def asks_for_secret(action: Mapping[str, Any]) -> bool:
    """Say whether an action logs in by a client secret, which AWS does not tell."""
    return LOGIN in action and "ClientSecret" not in action[LOGIN]


def beside_weights(actions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return actions without the groups they forward to; stickiness that is off
    is said by nobody.
    """
    return [_beside_weights(action) for action in actions]


def _beside_weights(action: Mapping[str, Any]) -> dict[str, Any]:
    kept = _without(action, *OF_WEIGHTS)
    config = _without(action.get("ForwardConfig") or {}, "TargetGroups")
    said = {key: value for key, value in config.items() if value != NOT_STICKY}
    if said:
        kept["ForwardConfig"] = said
    if LOGIN in kept:
        kept[LOGIN] = _without(kept[LOGIN], "UseExistingClientSecret")
    return kept


def _without(said: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in said.items() if key not in keys}


def as_read(weights: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return weights by the groups' ARNs as a rule's state has them."""
    return [{"group": arn, "weight": weights[arn]} for arn in sorted(weights)]


# --- marks on the rule ----------------------------------------------------------------


def _tags_of(split: Split) -> elbv2.Tags:
    return elbv2.Tags(split.require_state()["arn"])


def plan_mark(split: Split, before: str, words: str) -> Plan:
    """Plan a mark on the rule that says who rolled back; `before` is the last one."""
    return marks.plan_rolled_back(split, _tags_of(split), before, words)


def read_mark(session: Reads, split: Split) -> str:
    """Read who rolled back last, and when, as `plan_mark` wrote it; "" where
    nobody left a mark.
    """
    return marks.read_rolled_back(session, _tags_of(split))


def plan_retired(split: Split, service: str) -> Plan:
    """Plan the mark of who has been retired, with this service among them."""
    if service in split.retired:
        return Plan(RETIRING)
    return Plan(RETIRING, (marks.mark_retired(split, _tags_of(split), service),))
