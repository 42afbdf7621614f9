"""Read what stands of what the runbook makes: each thing as AWS has it, None where it
is not there. It only reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbook_lib.aws.ecs import Running
from runbook_lib.aws.reads import Reads
from runbook_lib.engines.alb import elbv2, place
from runbook_lib.engines.alb.building import keys
from runbook_lib.engines.alb.building.certificate import read_wrong
from runbook_lib.engines.protocol import Look, Split
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Answer, Call, Reading, Wait

Found = Mapping[str, Any]

BALANCER = (
    "LoadBalancers[0].{arn: LoadBalancerArn, scheme: Scheme, dns: DNSName, "
    "zone: CanonicalHostedZoneId, state: State.Code}"
)
GROUP = (
    "TargetGroups[0].{arn: TargetGroupArn, port: Port, vpc: VpcId, type: TargetType, "
    "version: ProtocolVersion || 'HTTP1'}"
)
LISTENER = "{arn: ListenerArn, protocol: Protocol}"
SUBNETS = "{vpc: Subnets[0].VpcId, zones: Subnets[].AvailabilityZone}"
NO_ZONE = ("NoSuchHostedZone",)
TTL_SECONDS = 60  # of an alias: for so long callers go by what they were told


@dataclass(frozen=True, slots=True)
class Network:
    """Where the load balancer is: its VPC, its subnets, its security groups."""

    vpc: str
    zones: tuple[str, ...]
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnGroup:
    """One version's target group: its key, what it is and how it is set, None where it
    is not there, and the ARNs of the load balancers that it is behind.
    """

    key: str
    state: Found | None
    settings: Found | None
    balancers: Collection[str]

    @property
    def arn(self) -> str:
        """Its ARN, or what is shown in a plan that assumes it."""
        return assumed_arn(self.state, self.key)


def assumed_arn(state: Found | None, key: str) -> str:
    """Return the ARN of what an earlier notebook made; a plan that assumes it is only
    shown.
    """
    return str(state["arn"]) if state else f"the ARN of {key}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is there; `groups` are by service. What is wrong with the file's certificate
    is "" where nothing is; `foreign` are the keys of what has the file's names and no
    tags of the runbook's.
    """

    network: Network
    balancer: Found | None
    settings: Found | None
    groups: Mapping[str, OwnGroup]
    listener: Found | None
    split: Split
    zone: Found | None
    record: Found | None
    wrong_certificate: str = ""
    foreign: frozenset[str] = frozenset()

    @property
    def rule(self) -> Found | None:
        """The rule."""
        return self.split.state


def read_standing(look: Look) -> Standing:
    """Read what stands of it, once a look."""
    return look.once(_read)


def _read(look: Look) -> Standing:
    p, reads = look.parameters, look.reads
    balancer_there = reads.read(balancer(p))
    groups = {name: _read_group(reads, name) for name in p.shift.versions}
    zone_there = record_there = None
    if p.alb.holding_vpc is not None:
        zone_there = reads.read(zone(p))
        record_there = reads.read(record(p))
    named = {each.key: each.state for each in groups.values()}
    named[keys.balancer(p)] = balancer_there
    return Standing(
        network=_network(look),
        balancer=balancer_there,
        settings=reads.read(settings(p)),
        groups=groups,
        listener=reads.read(listener(p)),
        split=look.split,
        zone=zone_there,
        record=record_there,
        wrong_certificate=read_wrong(reads),
        foreign=frozenset(_foreign(reads, named)),
    )


def _read_group(reads: Reads, service: str) -> OwnGroup:
    p = reads.parameters
    return OwnGroup(
        key=keys.group(p, service),
        state=reads.read(group(p, service)),
        settings=reads.read(settings_of_group(p, service)),
        balancers=reads.read(_balancers(p, service)) or (),
    )


def _foreign(reads: Reads, named: Mapping[str, Found | None]) -> Iterator[str]:
    """Read which of the things that are there are not the runbook's, by key."""
    for key, found in named.items():
        if found and not elbv2.is_ours(reads, found["arn"]):
            yield key


def _balancers(p: Parameters, service: str) -> Reading:
    name = p.target_group_of(service)
    return elbv2.group(name, "TargetGroups[0].LoadBalancerArns")


def _network(look: Look) -> Network:
    """Return where the file says, or where the services under shift are."""
    p = look.parameters
    stable = awsvpc_of(look.running[p.shift.stable])
    there = stable or awsvpc_of(look.running[p.shift.canary])
    subnets = tuple(p.alb.subnets or there.get("subnets") or ())
    groups = tuple(p.alb.security_groups or there.get("securityGroups") or ())
    found = look.reads.read(of_subnets(subnets, SUBNETS)) if subnets else None
    if found is None:
        return Network("", (), subnets, groups)
    return Network(found["vpc"] or "", tuple(found["zones"]), subnets, groups)


def awsvpc_of(running: Running) -> Found:
    """Return where a service's tasks run: subnets, security groups."""
    configuration = running.settings.get("networkConfiguration") or {}
    found: Found = configuration.get("awsvpcConfiguration") or {}
    return found


def mapped_ports(container: Found) -> list[Any]:
    """Return the ports that a container of a task definition listens on."""
    mappings = container.get("portMappings") or ()
    return [each.get("containerPort") for each in mappings]


def readings(p: Parameters) -> dict[str, Reading]:
    """Return how each thing is read, by its key."""
    found = {
        keys.balancer(p): balancer(p),
        keys.listener(p): listener(p),
        place.key(p): place.rule_reading(p),
    }
    for name in p.shift.versions:
        found[keys.group(p, name)] = group(p, name)
    if p.alb.holding_vpc is not None:
        found |= {keys.zone(p): zone(p), keys.record(p): record(p)}
    return found


# --- how each is read -----------------------------------------------------------------


def of_subnets(subnets: Sequence[str], query: str) -> Reading:
    """Return how something of these subnets is read."""
    call = Call("ec2", "describe_subnets", {"SubnetIds": list(subnets)})
    return Reading(call, query)


def balancer(p: Parameters) -> Reading:
    """Return how the load balancer is read."""
    return elbv2.balancer(place.balancer_name(p), BALANCER)


def settings(p: Parameters) -> Reading:
    """Return how what the runbook sets of the load balancer is read."""
    return elbv2.settings(elbv2.BALANCER, place.balancer_arn(p))


def group(p: Parameters, service: str) -> Reading:
    """Return how a service's target group is read."""
    return elbv2.group(p.target_group_of(service), GROUP)


def settings_of_group(p: Parameters, service: str) -> Reading:
    """Return how what the runbook sets of a target group is read."""
    return elbv2.settings(elbv2.GROUP, elbv2.group_arn(p.target_group_of(service)))


def listener(p: Parameters) -> Reading:
    """Return how the listener is read."""
    return elbv2.listener(place.balancer_arn(p), p.alb.port, LISTENER)


def comment(p: Parameters) -> str:
    """Return by which words the zone is known as the runbook's."""
    return f"made by the runbook for {p.environment}"


def _zone_id(p: Parameters) -> Reading:
    own = f"Config.PrivateZone && Config.Comment=='{comment(p)}'"
    query = f"HostedZones[?Name=='{p.shift.name}.' && {own}].Id | [0]"
    named = {"DNSName": p.shift.name}
    return Reading(Call("route53", "list_hosted_zones_by_name", named), query)


def zone(p: Parameters) -> Reading:
    """Return how the private zone of the dialled name is read."""
    return zone_by(_zone_id(p))


def zone_by(id: str | Reading) -> Reading:
    """Return how a zone is read."""
    query = "{id: HostedZone.Id, vpcs: sort(VPCs[].VPCId || `[]`)}"
    return Reading(Call("route53", "get_hosted_zone", {"Id": id}), query, NO_ZONE)


def record(p: Parameters) -> Reading:
    """Return how the name's record is read: what it is an alias of."""
    where = {"HostedZoneId": _zone_id(p)}
    query = f"ResourceRecordSets[?Type=='A' && Name=='{p.shift.name}.'].AliasTarget"
    call = Call("route53", "list_resource_record_sets", where)
    return Reading(call, f"{query} | [0]", NO_ZONE)


def in_effect(name: str) -> Wait:
    """Wait until what a change of Route 53 was is in effect everywhere."""
    call = Call("route53", "get_change", {"Id": Answer(name, "ChangeInfo.Id")})
    reading = Reading(call, "ChangeInfo.Status")
    return Wait(f"{name} in effect", reading, "@=='INSYNC'")


def old_answers_ended(p: Parameters, vpc: str) -> Wait:
    """Wait until nobody in a VPC that asks the zone no more goes by an old answer."""
    return Wait(
        f"old answers for {p.shift.name} to end",
        zone(p),
        f"!contains(vpcs, '{vpc}')",
        lasting_seconds=2 if p.rehearsed else TTL_SECONDS,
    )
