"""Plan what 90 does: the name leads where it led before, then services leave their
groups, then all that the runbook made goes, what is used after what uses it.

`read_stays` reads; the rest is pure.

None of it has an inverse: 01 to 04 make it again, by other ARNs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from runbook_lib.aws import ecs
from runbook_lib.aws.ecs import Running
from runbook_lib.engines.alb import elbv2, place
from runbook_lib.engines.alb.arns import group_key
from runbook_lib.engines.alb.building import keys, making, standing
from runbook_lib.engines.alb.building.attaching import ask_no_more, names
from runbook_lib.engines.alb.building.standing import Found, Standing
from runbook_lib.engines.protocol import Look
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Change, Plan, Reading, differences, turned

AGAIN = "01 to 04 make it again"


def plan(p: Parameters, found: Standing, running: Mapping[str, Running]) -> Plan:
    """Plan the end of all that the runbook made."""
    return Plan(making.TITLES["90"], tuple(_changes(p, found, running)))


def _changes(
    p: Parameters, found: Standing, running: Mapping[str, Running]
) -> Iterator[Change]:
    vpc = found.network.vpc
    if found.zone and vpc in found.zone["vpcs"]:
        yield _switch_back(p, found.zone, vpc)
    for service in p.shift.versions:
        yield from _leaves(p, found, running[service])
    if found.rule:
        there = {"arn": found.rule["arn"], "exact": found.rule["exact"]}
        yield gone(elbv2.RULE, place.key(p), place.rule_reading(p), there)
    if found.listener:
        key = keys.listener(p)
        yield gone(elbv2.LISTENER, key, standing.listener(p), found.listener)
    for service, group in found.groups.items():
        if group.state:
            reading = standing.group(p, service)
            yield gone(elbv2.GROUP, group.key, reading, group.state)
    if found.balancer:
        yield from _balancer(p, found, found.balancer)
    if found.zone:
        yield from _zone(p, found, found.zone)


def read_stays(look: Look) -> tuple[str, ...]:
    """Read which target groups of earlier releases are there still, in no rule."""
    p = look.parameters
    own = {p.target_group_of(name) for name in p.shift.versions}
    stays = []
    for group in elbv2.read_groups(look.reads):
        name, arn = group["TargetGroupName"], group["TargetGroupArn"]
        if group["LoadBalancerArns"] or name in own:
            continue
        if elbv2.is_ours(look.reads, arn):
            stays.append(
                f"{group_key(name)}, of an earlier release: aws elbv2 "
                f"delete-target-group --target-group-arn {arn}"
            )
    return tuple(stays)


def _switch_back(p: Parameters, zone: Found, vpc: str) -> Change:
    """Return the change that leads callers where the name led before; it waits until
    nobody goes by an old answer.
    """
    name = keys.name(p)
    left = [each for each in zone["vpcs"] if each != vpc]
    return Change(
        name=name,
        verb="switch back",
        call=ask_no_more(p, zone, vpc),
        reading=standing.zone(p),
        expected={"vpcs": zone["vpcs"]},
        wanted={"vpcs": left},
        about=(name,),
        no_inverse=AGAIN,
        diff=differences({"asked by": zone["vpcs"]}, {"asked by": left}),
        waits=(standing.in_effect(name), standing.old_answers_ended(p, vpc)),
    )


def _leaves(p: Parameters, found: Standing, running: Running) -> Iterator[Change]:
    own = found.groups[running.service].arn
    before = running.groups
    left = [each for each in before if each.get("targetGroupArn") != own]
    if left != before:
        yield ecs.regrouped(p, running, left, names, no_inverse=AGAIN)


def _balancer(p: Parameters, found: Standing, balancer: Found) -> Iterator[Change]:
    before = found.settings or {}
    if before.get("protected") == "true":
        unprotected = {**before, "protected": "false"}
        yield _for_good(making.set_balancer(p, found, before, unprotected))
    there = {"arn": balancer["arn"]}
    yield gone(elbv2.BALANCER, keys.balancer(p), standing.balancer(p), there)


def _zone(p: Parameters, found: Standing, zone: Found) -> Iterator[Change]:
    if found.record:
        # the load balancer may be gone already: the record says what it leads to
        dns = found.record["DNSName"].removesuffix(".")
        made = making.record_of(p, zone["id"], found.record, dns)
        yield _for_good(replace(turned(made), waits=()))
    there = {"id": zone["id"]}
    delete = making.delete_zone(zone["id"])
    yield _deleted(keys.zone(p), delete, standing.zone(p), there)


def _for_good(change: Change) -> Change:
    return replace(change, inverse=None, no_inverse=AGAIN)


def gone(kind: elbv2.Kind, key: str, reading: Reading, state: Found) -> Change:
    """Return the change that deletes one thing of the load balancer, for good."""
    return _deleted(key, elbv2.delete(kind, state["arn"]), reading, state)


def _deleted(key: str, call: Call, reading: Reading, state: Found) -> Change:
    return Change(
        name=key,
        verb="delete",
        call=call,
        reading=reading,
        expected=dict(state),
        wanted=None,
        about=(key,),
        no_inverse=AGAIN,
    )
