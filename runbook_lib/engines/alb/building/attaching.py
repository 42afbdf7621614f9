"""Plan what 04 does: services join their target groups, then callers are led to the
load balancer by the name they dial. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runbook_lib.aws import ecs
from runbook_lib.aws.ecs import Running
from runbook_lib.engines.alb.arns import group_name
from runbook_lib.engines.alb.building import keys, making, standing
from runbook_lib.engines.alb.building.standing import Found, Standing
from runbook_lib.engines.alb.groups import arns_of, until_healthy
from runbook_lib.engines.protocol import Look
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Change, Inverse, Plan, Wait, differences

GRACE_SECONDS = 60  # in which ECS lets a new task fail the load balancer's checks


def plan(p: Parameters, found: Standing, running: Mapping[str, Running]) -> Plan:
    """Plan that both versions are targets of their groups, the canary first, and that
    the name leads to them.
    """
    changes = tuple(_changes(p, found, running))
    return Plan(making.TITLES["04"], changes, assumed=making.missing(p, found, "04"))


def is_done(look: Look) -> bool:
    """Say whether callers are led to both versions by the load balancer."""
    found = plan(look.parameters, standing.read_standing(look), look.running)
    return not found.changes and not found.assumed


def _changes(
    p: Parameters, found: Standing, running: Mapping[str, Running]
) -> Iterator[Change]:
    for service in (p.shift.canary, p.shift.stable):
        if running[service].state is not None:
            yield from _joins(p, found, running[service])
    holding = p.alb.holding_vpc
    if holding is not None:
        zone = found.zone or {"id": f"the id of {keys.zone(p)}", "vpcs": [holding]}
        if found.network.vpc not in zone["vpcs"]:
            yield _switch(p, found, zone)


def _joins(p: Parameters, found: Standing, running: Running) -> Iterator[Change]:
    service = running.service
    arn = found.groups[service].arn
    if arn in arns_of(running):
        return
    own = {
        "targetGroupArn": arn,
        "containerName": _container(p, running),
        "containerPort": making.port_of(p, service),
    }
    waits: tuple[Wait, ...] = ()
    if running.state and running.state["desiredCount"]:
        waits = (until_healthy(service, arn),)
    wanted = [*running.groups, own]
    yield ecs.regrouped(p, running, wanted, names, grace=GRACE_SECONDS, waits=waits)


def names(load_balancers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the target groups that a service's tasks are in."""
    shown = []
    for each in load_balancers:
        arn = each.get("targetGroupArn")
        if arn:  # one that is only assumed has words in place of an ARN
            shown.append(group_name(arn) if "/" in arn else arn)
    return shown


def _container(p: Parameters, running: Running) -> str:
    """Return the container that listens on the service's port; the first where none
    says so: ECS then names what it found.
    """
    containers = (running.definition or {}).get("containerDefinitions") or [{}]
    port = making.port_of(p, running.service)
    for each in containers:
        if port in standing.mapped_ports(each):
            return str(each["name"])
    return str(containers[0].get("name", ""))


def _switch(p: Parameters, found: Standing, zone: Found) -> Change:
    """Return the change that lets callers' VPC ask the name's own zone; one call leads
    them back.
    """
    name = keys.name(p)
    vpc = found.network.vpc
    before = zone["vpcs"]
    ready = [
        until_healthy(service, group.arn)
        for service, group in found.groups.items()
        if group.state
    ]
    return Change(
        name=name,
        verb="switch",
        call=Call("route53", "associate_vpc_with_hosted_zone", _asking(p, zone, vpc)),
        reading=standing.zone(p),
        expected={"vpcs": before},
        wanted={"vpcs": sorted([*before, vpc])},
        about=(name,),
        inverse=Inverse(
            "switch back",
            ask_no_more(p, zone, vpc),
            wanted={"vpcs": before},
            waits=(standing.old_answers_ended(p, vpc),),
        ),
        diff=differences({"asked by": before}, {"asked by": [vpc]}),
        ready=tuple(ready),
        waits=(standing.in_effect(name),),
    )


def ask_no_more(p: Parameters, zone: Found, vpc: str) -> Call:
    """Return the call after which a VPC asks the zone no more."""
    where = _asking(p, zone, vpc)
    return Call("route53", "disassociate_vpc_from_hosted_zone", where)


def _asking(p: Parameters, zone: Found, vpc: str) -> dict[str, Any]:
    there = {"VPCRegion": p.region, "VPCId": vpc}
    return {"HostedZoneId": zone["id"], "VPC": there}
