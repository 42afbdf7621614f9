"""Check what a new load balancer would break on, before any of it is made: in the order
in which others were hurt by it. It only reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbook_lib.engines.alb import place
from runbook_lib.engines.alb.building import certificate, forwarding, making, standing
from runbook_lib.engines.alb.building.standing import Network, read_standing
from runbook_lib.engines.protocol import Check, Look
from runbook_lib.plan import Call, Reading

LEAST_ADDRESSES = 8  # free ones of each subnet: a load balancer grows


def checks(look: Look) -> Iterator[Check]:
    """Yield what must be so for 01 to 04."""
    p, network = look.parameters, read_standing(look).network
    yield from _security_groups(look, network)
    yield _subnets(look, network)
    if p.alb.certificate is not None:
        yield _certificate(look, p.alb.certificate)
    for service in p.shift.versions:
        yield _service(look, service)
    if p.alb.holding_vpc is not None:
        yield _dns(look, network)
        yield _zones(look, (network.vpc, p.alb.holding_vpc))
        yield from forwarding.checks(look, network.vpc)


# --- who may reach whom ---------------------------------------------------------------

INGRESS = "SecurityGroups[].IpPermissions[]"


def _security_groups(look: Look, network: Network) -> Iterator[Check]:
    """Yield whether callers reach the load balancer, and that the targets."""
    p = look.parameters
    balancer = set(network.security_groups)
    for caller in p.callers_of(p.shift.name):
        own = _groups_of(look, caller)
        yield _hop(look, caller, own, "the load balancer", balancer, p.alb.port)
    for service in p.shift.versions:
        own = _groups_of(look, service)
        port = making.port_of(p, service)
        yield _hop(look, "the load balancer", balancer, service, own, port)


def _groups_of(look: Look, service: str) -> set[str]:
    awsvpc = standing.awsvpc_of(look.running[service])
    return set(awsvpc.get("securityGroups") or ())


def _hop(
    look: Look, sender: str, own: set[str], receiver: str, groups: set[str], port: int
) -> Check:
    where = f"{sender} reaches {receiver}"
    if not groups or not own:
        words = "the security group is the VPC's default one, or nobody runs there"
        return Check("WARN", where, words, "look at it in the console")
    call = Call("ec2", "describe_security_groups", {"GroupIds": sorted(groups)})
    rules = look.reads.read(Reading(call, INGRESS)) or ()
    if any(_lets_in(rule, own, port) for rule in rules):
        return Check("PASS", where, f"port {port} is open to it")
    one, source = sorted(groups)[0], sorted(own)[0]
    hint = (
        f"aws ec2 authorize-security-group-ingress --group-id {one} --protocol tcp "
        f"--port {port} --source-group {source} --region {look.parameters.region}"
    )
    words = f"no rule of {', '.join(sorted(groups))} lets it in at port {port}"
    return Check("FAIL", where, words, hint)


def _lets_in(rule: Mapping[str, Any], own: set[str], port: int) -> bool:
    """Say whether a rule lets a group's members in; of addresses it is assumed."""
    if rule.get("IpProtocol") != "-1" and not _has_port(rule, port):
        return False
    if rule.get("IpRanges") or rule.get("PrefixListIds"):
        return True
    pairs = rule.get("UserIdGroupPairs") or ()
    return any(each.get("GroupId") in own for each in pairs)


def _has_port(rule: Mapping[str, Any], port: int) -> bool:
    first = rule.get("FromPort")
    if first is None:
        return False
    last = rule.get("ToPort") or first
    return bool(first <= port <= last)


# --- where it is ----------------------------------------------------------------------


def _subnets(look: Look, network: Network) -> Check:
    zones = sorted({*network.zones})
    if len(zones) < making.LEAST_ZONES:
        found = ", ".join(zones) or "none"
        words = (
            f"expected subnets in {making.LEAST_ZONES} zones at least; found {found}"
        )
        return Check("FAIL", "subnets", words, "name some in alb.subnets")
    query = "Subnets[].{id: SubnetId, free: AvailableIpAddressCount}"
    reading = standing.of_subnets(network.subnets, query)
    for each in look.reads.read(reading) or ():
        if each["free"] < LEAST_ADDRESSES:
            words = f"{each['id']} has {each['free']} free addresses"
            return Check("FAIL", "subnets", words, "a load balancer needs 8 in each")
    return Check("PASS", "subnets", f"zones {', '.join(zones)}")


def _service(look: Look, service: str) -> Check:
    running, port = look.running[service], making.port_of(look.parameters, service)
    where = f"target group of {service}"
    if running.state is None:
        return Check("FAIL", where, f"{service} has no ECS service", "deploy it")
    definition = running.definition or {}
    mode = definition.get("networkMode")
    if mode != "awsvpc":
        words = (
            f"expected network mode awsvpc, whose tasks have addresses; found {mode}"
        )
        return Check("FAIL", where, words, "give its task definition that mode")
    mapped: set[Any] = set()
    for container in definition["containerDefinitions"]:
        mapped.update(standing.mapped_ports(container))
    if port not in mapped:
        words = f"no container of it maps port {port}; found {sorted(mapped)}"
        return Check("FAIL", where, words, f"say services.{service}.ports")
    return Check("PASS", where, f"its tasks listen on port {port}")


def _certificate(look: Look, arn: str) -> Check:
    reads, where = look.reads, "certificate"
    words = read_standing(look).wrong_certificate
    if words:
        hint = f"aws acm describe-certificate --certificate-arn {arn}"
        return Check("FAIL", where, words, hint)
    found = certificate.read(reads, arn) or {}
    imported = found["type"] == "IMPORTED"
    if imported and certificate.days_left(found, reads.now()) < certificate.SOON_DAYS:
        words = f"it expires on {found['until']:%Y-%m-%d}; AWS renews no imported one"
        return Check("WARN", where, words, "import its successor under the same ARN")
    return Check("PASS", where, f"it names {look.parameters.shift.name}")


ATTRIBUTES = {
    "enableDnsSupport": "--enable-dns-support",
    "enableDnsHostnames": "--enable-dns-hostnames",
}

# --- the name -------------------------------------------------------------------------


def _dns(look: Look, network: Network) -> Check:
    for attribute, option in ATTRIBUTES.items():
        asked = {"VpcId": network.vpc, "Attribute": attribute}
        query = f"{attribute[0].upper()}{attribute[1:]}.Value"
        reading = Reading(Call("ec2", "describe_vpc_attribute", asked), query)
        if look.reads.read(reading) is False:
            words = f"{attribute} of {network.vpc} is off"
            hint = f"aws ec2 modify-vpc-attribute --vpc-id {network.vpc} {option}"
            return Check("FAIL", "private zones", words, hint)
    return Check("PASS", "private zones", f"{network.vpc} asks them")


def _zones(look: Look, vpcs: tuple[str, str]) -> Check:
    """A VPC asks one zone of a name: the second one cannot be associated."""
    p, own = look.parameters, read_standing(look).zone
    where = f"zone {p.shift.name}"
    query = f"HostedZoneSummaries[?Name=='{p.shift.name}.'].HostedZoneId"
    mine = (own or {}).get("id", "").rpartition("/")[2]
    for vpc in vpcs:
        asked = {"VPCId": vpc, "VPCRegion": p.region}
        call = Call("route53", "list_hosted_zones_by_vpc", asked)
        found = look.reads.read(Reading(call, query)) or ()
        others = [id for id in found if id != mine]
        if others:
            words = f"{vpc} asks another zone of that name already: {others[0]}"
            hint = f"take it out, or alb.holding_vpc: null; {place.key(p)} is made then"
            return Check("FAIL", where, words, hint)
    return Check("PASS", where, "no other zone of that name is asked")
