"""An Application Load Balancer as an engine: each verb of `engines.protocol`, from the
module that knows it.

With a rule and target groups that are there already, notebooks 01 to 04
have nothing to do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from runbook_lib.aws import ecs
from runbook_lib.aws.reads import Reads
from runbook_lib.engines.alb import elbv2, place
from runbook_lib.engines.alb.arns import group_key, group_name, key_of
from runbook_lib.engines.alb.building import attaching, keys, making, removing
from runbook_lib.engines.alb.building.standing import read_standing, readings
from runbook_lib.engines.alb.chart import chart
from runbook_lib.engines.alb.checks import checks, serves
from runbook_lib.engines.alb.counts import counted, idle, path, series, unmatched
from runbook_lib.engines.alb.gates import gates
from runbook_lib.engines.alb.groups import (
    health_words,
    read_groups,
    read_unhealthy,
    until_healthy,
)
from runbook_lib.engines.alb.permissions import permissions
from runbook_lib.engines.alb.rule import (
    RETIRING,
    SHIFTING,
    all_on,
    plan_last_target,
    plan_mark,
    plan_retired,
    plan_rollback,
    plan_split,
    read_mark,
    read_split,
    read_weights,
    split_reading,
    weights_of,
)
from runbook_lib.engines.alb.trial import plan_trial, plan_trial_end, read_trial
from runbook_lib.engines.alb.undoing import foreign, undoable
from runbook_lib.engines.protocol import Fact, Facts, Hints, Look
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Plan

__all__ = [
    "all_on",
    "chart",
    "checks",
    "counted",
    "facts",
    "foreign",
    "gates",
    "hints",
    "idle",
    "path",
    "permissions",
    "plan_mark",
    "plan_removal",
    "plan_resources",
    "plan_retirement",
    "plan_rollback",
    "plan_split",
    "plan_trial",
    "plan_trial_end",
    "read_live",
    "read_mark",
    "read_split",
    "read_trial",
    "read_unhealthy",
    "read_weights",
    "references",
    "resources_of",
    "series",
    "serves",
    "split_reading",
    "standing",
    "steps",
    "title",
    "undoable",
    "unmatched",
    "weights_of",
]

hints = Hints(
    uncounted="metrics are missing, or nobody calls: "
    "see RequestCount of the load balancer",
    unheard="requests reach the groups by another way: look for another rule that "
    "takes them first",
    not_there="name a rule in alb.rule that forwards "
    "to the target groups of both versions",
)


def steps(p: Parameters) -> tuple[str, ...]:
    """Return the numbers of the notebooks: 01 to 04 and 90 where it makes the rule."""
    if place.is_made(p):
        return ("01", "02", "03", "04", "05", "06", "90")
    return ("05", "06")


def title(p: Parameters) -> str:
    """Return the name of the load balancer."""
    return place.balancer_name(p)


def facts(look: Look) -> tuple[Facts, ...]:
    """Return each version's target group, and how its targets are."""
    rows = []
    for service, group in look.once(read_groups).items():
        cells = {
            "service": service,
            "target group": group.name,
            "targets": health_words(group.health),
        }
        rows.append(Fact(cells, "" if group.said else "FAIL"))
    return (Facts("who is behind which target group", tuple(rows)),)


# --- what is there --------------------------------------------------------------------


def resources_of(p: Parameters, step: str) -> list[str]:
    """Return the keys of what a notebook makes: nothing, where the rule is there."""
    return keys.made_by(p, step) if place.is_made(p) else []


def read_live(session: Reads) -> dict[str, Any]:
    """Read the rule and each service's target group, and all else that is made."""
    p = session.parameters
    if place.is_made(p):
        return {key: session.read(how) for key, how in readings(p).items()}
    live = {place.key(p): session.read(split_reading(p))}
    for service in p.shift.versions:
        group = elbv2.group(p.target_group_of(service))
        live[keys.group(p, service)] = session.read(group)
    return live


def plan_resources(look: Look, step: str) -> Plan:
    """Plan what one of notebooks 01 to 04 makes; nothing, where the rule is there."""
    p = look.parameters
    if not place.is_made(p):
        if look.split.state is not None:
            return Plan(SHIFTING)
        words = f"{look.split.key} (alb.rule names none that is there)"
        return Plan(SHIFTING, assumed=(words,))
    if look.split.retired.intersection(p.shift.versions):
        return Plan(making.TITLES.get(step, SHIFTING))
    found = read_standing(look)
    if step in ("01", "02", "03"):
        return making.plan(p, found, step)
    return attaching.plan(p, found, look.running)


def standing(session: Reads) -> Mapping[str, Collection[str]]:
    """Read what stands there, with the keys of what each thing needs."""
    p = session.parameters
    if not place.is_made(p):
        return {}
    live = read_live(session)
    there = {key for key, state in live.items() if state}
    zone = live.get(keys.zone(p))
    if zone and any(vpc != p.alb.holding_vpc for vpc in zone["vpcs"]):
        there.add(keys.name(p))
    return {key: needs for key, needs in keys.uses(p).items() if key in there}


def references(session: Reads, service: str) -> list[str]:
    """List the keys of the rules that forward to a service's target group, on
    whatever listener.
    """
    p = session.parameters
    group = session.read(elbv2.group(p.target_group_of(service)))
    if group is None:
        return []
    own = session.read(place.rule_reading(p))
    found = []
    for load_balancer in dict.fromkeys(group.get("LoadBalancerArns") or ()):
        for rule in elbv2.read_rules(session, load_balancer):
            if group["TargetGroupArn"] not in elbv2.groups_of(rule["Actions"]):
                continue
            if own is not None and own["arn"] == rule["RuleArn"]:
                found.append(place.key(p))
            else:
                found.append(key_of(rule["RuleArn"]))
    return found


# --- the end --------------------------------------------------------------------------


def plan_retirement(look: Look) -> Plan:
    """Plan the stable service's end, in the order in which nobody
    notices, there and back.

    Its target group leaves the rule last: an undo of the service must find it there,
    since ECS makes no service whose group is behind no load balancer. The group itself
    stays: its ARN is in the service that undo makes again.
    """
    p, split = look.parameters, look.split
    stable, canary = p.shift.versions
    running = ecs.read_revised(look.reads, look.running[stable])
    plan = Plan(RETIRING, assumed=plan_resources(look, "06").assumed)
    if split.state is not None:
        plan += plan_retired(split, stable)
    revisions = ecs.read_own_revisions(look.reads, running, lambda definition: False)
    group = look.once(read_groups)[stable]
    back = (until_healthy(stable, group.arn),) if group.arn else ()
    plan += ecs.plan_end(p, running, revisions, back=back)
    if split.state is not None:
        plan += plan_last_target(split, survivor=canary, retire=stable)
    return plan


def plan_removal(look: Look) -> Plan:
    """Plan the end of what the runbook made, a trial that was left behind too, and name
    what stays.
    """
    p = look.parameters
    trial = plan_trial_end(look.split, read_trial(look.reads))
    if place.is_made(p):
        plan = removing.plan(p, read_standing(look), look.running)
        left = removing.read_stays(look)
        return Plan(plan.title, trial.changes, stays=left) + plan
    groups = {p.target_group_of(p.shift.stable)}
    if look.split.state is not None:
        arns = elbv2.groups_of(look.split.state["actions"])
        groups |= {group_name(arn) for arn in arns}
    kept = [look.split.key, *(group_key(name) for name in sorted(groups))]
    stays = tuple(f"{each}: it was there before" for each in kept)
    return Plan("90_remove_mesh", trial.changes, stays=stays)
