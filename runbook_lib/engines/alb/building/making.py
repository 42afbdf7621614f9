"""Plan what 01 to 03 make: each thing as one change that says how it is undone.

Pure. A thing that a change of the same plan makes is named by what that will answer.
"""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.aws.naming import tags
from runbook_lib.engines.alb import elbv2, place
from runbook_lib.engines.alb.building import keys, standing
from runbook_lib.engines.alb.building.standing import (
    Found,
    OwnGroup,
    Standing,
    assumed_arn,
)
from runbook_lib.engines.alb.elbv2 import BALANCER, GROUP, LISTENER, RULE, Kind
from runbook_lib.engines.alb.rule import as_read, joined, weighted
from runbook_lib.errors import PlanError
from runbook_lib.parameters import Parameters
from runbook_lib.plan import (
    Answer,
    Call,
    Change,
    Inverse,
    Plan,
    Reading,
    Wait,
    differences,
)

TITLES = {
    "01": "01_create_load_balancer",
    "02": "02_create_target_groups",
    "03": "03_create_rule_and_name",
    "04": "04_attach_services",
    "90": "90_remove_load_balancer",
}
NO_MATCH = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}]
TLS = "ELBSecurityPolicy-TLS13-1-2-2021-06"
# What AWS sets of a new load balancer and a new target group.
NEW_BALANCER = {"idle": "60", "host": "false", "protected": "false"}
NEW_GROUP = {"delay": "300", "sticky": "false"}
LEAST_ZONES = 2
VERSIONS = {"http": "HTTP1", "http2": "HTTP2"}  # of target groups


def plan(p: Parameters, found: Standing, step: str) -> Plan:
    """Plan what one of notebooks 01 to 03 makes and is not there yet, or not so.

    Raises PlanError where a name of the file is somebody else's.
    """
    if found.foreign:
        key = min(found.foreign)
        raise _other(key, "one that carries the runbook's tags", "none of them")
    planners = {"01": _plan_balancer, "02": _plan_groups, "03": _plan_rule}
    changes = planners[step](p, found)
    return Plan(TITLES[step], tuple(changes), assumed=missing(p, found, step))


def missing(p: Parameters, found: Standing, step: str) -> tuple[str, ...]:
    """Return what notebooks before a step make and is not there."""
    there = _there(p, found)
    absent = []
    for earlier in ("01", "02", "03"):
        if earlier >= step:
            break
        for key in keys.made_by(p, earlier):
            if not there[key]:
                absent.append(f"{key} ({TITLES[earlier]})")
    return tuple(absent)


def _require_certificate(p: Parameters, found: Standing) -> None:
    if found.wrong_certificate:
        raise PlanError(
            f"alb.certificate: {found.wrong_certificate}",
            hint=f"aws acm list-certificates --region {p.region}",
        )


def _there(p: Parameters, found: Standing) -> dict[str, Found | None]:
    there = {group.key: group.state for group in found.groups.values()}
    there[keys.balancer(p)] = found.balancer
    there[keys.listener(p)] = found.listener
    there[place.key(p)] = found.rule
    there[keys.zone(p)] = found.zone
    there[keys.record(p)] = found.record
    return there


# --- 01 -------------------------------------------------------------------------------


def _plan_balancer(p: Parameters, found: Standing) -> Iterator[Change]:
    if found.listener is None:
        _require_certificate(p, found)
    if found.balancer is None:
        yield create_balancer(p, found)
    elif found.balancer["scheme"] != "internal":
        raise _other(keys.balancer(p), "an internal one", found.balancer["scheme"])
    wanted = {
        "idle": str(p.alb.idle_seconds),
        "host": "true",
        "protected": str(p.alb.deletion_protection).lower(),
    }
    before = found.settings or NEW_BALANCER
    if before != wanted:
        yield set_balancer(p, found, before, wanted)


def create_balancer(p: Parameters, found: Standing) -> Change:
    """Return the change that makes the load balancer."""
    network = found.network
    name = keys.balancer(p)
    if len(set(network.zones)) < LEAST_ZONES:
        raise PlanError(
            f"{name}: expected subnets in two zones at least; found "
            f"{', '.join(network.zones) or 'none'}",
            hint="name subnets of two zones in alb.subnets",
        )
    said = {
        "Name": p.alb.name,
        "Scheme": "internal",
        "Type": "application",
        "IpAddressType": "ipv4",
        "Subnets": list(network.subnets),
        "SecurityGroups": list(network.security_groups),
    }
    reading = standing.balancer(p)
    return _made(
        name,
        call=elbv2.create(BALANCER, said, tags(p)),
        back=elbv2.delete(BALANCER, _arn_made(BALANCER, name)),
        reading=reading,
        wanted={"scheme": "internal"},
        shown=said,
        waits=(Wait(f"{name} active", reading, "state=='active'"),),
    )


def set_balancer(
    p: Parameters, found: Standing, before: Found, wanted: Found
) -> Change:
    """Return the change of the load balancer's settings."""
    name = keys.balancer(p)
    arn = _arn_of(BALANCER, found.balancer, name)
    return _set(BALANCER, name, arn, standing.settings(p), before, wanted)


# --- 02 -------------------------------------------------------------------------------


def _plan_groups(p: Parameters, found: Standing) -> Iterator[Change]:
    wanted = {"delay": str(p.alb.deregistration_delay_seconds), "sticky": "false"}
    for service, group in found.groups.items():
        if group.state is None:
            yield create_group(p, found, service)
        else:
            _require_own_group(p, found.balancer, group, group.state)
        before = group.settings or NEW_GROUP
        if before != wanted:
            yield set_group(p, found, service, before, wanted)


def _require_own_group(
    p: Parameters, balancer: Found | None, group: OwnGroup, state: Found
) -> None:
    if state["type"] != "ip":
        raise _other(group.key, "target type ip", state["type"])
    own = balancer["arn"] if balancer else None
    if any(arn != own for arn in group.balancers):
        others = ", ".join(group.balancers)
        raise _other(group.key, "no other load balancer's", others)
    version = VERSIONS[p.protocol]
    if state["version"] != version:
        raise _other(group.key, f"version {version}", state["version"])


def create_group(p: Parameters, found: Standing, service: str) -> Change:
    """Return the change that makes a service's target group."""
    name = found.groups[service].key
    check = p.alb.health_check
    said = {
        "Name": p.target_group_of(service),
        "Protocol": "HTTP",
        "ProtocolVersion": VERSIONS[p.protocol],
        "Port": port_of(p, service),
        "VpcId": found.network.vpc,
        "TargetType": "ip",
        "HealthCheckPath": check.path,
        "Matcher": {"HttpCode": check.matcher},
        "HealthCheckIntervalSeconds": check.interval_seconds,
        "HealthCheckTimeoutSeconds": check.timeout_seconds,
        "HealthyThresholdCount": check.healthy_threshold,
        "UnhealthyThresholdCount": check.unhealthy_threshold,
    }
    return _made(
        name,
        call=elbv2.create(GROUP, said, tags(p)),
        back=elbv2.delete(GROUP, _arn_made(GROUP, name)),
        reading=standing.group(p, service),
        wanted={"port": said["Port"], "vpc": said["VpcId"], "type": "ip"},
        shown=said,
    )


def port_of(p: Parameters, service: str) -> int:
    """Return the port that a service's targets listen on."""
    return p.ports_of(service)[0]


def set_group(
    p: Parameters, found: Standing, service: str, before: Found, wanted: Found
) -> Change:
    """Return the change of a target group's settings."""
    group = found.groups[service]
    arn = _arn_of(GROUP, group.state, group.key)
    reading = standing.settings_of_group(p, service)
    return _set(GROUP, group.key, arn, reading, before, wanted)


# --- 03 -------------------------------------------------------------------------------


def _plan_rule(p: Parameters, found: Standing) -> Iterator[Change]:
    if found.listener is None:
        _require_certificate(p, found)
        yield create_listener(p, found)
    if found.rule is None:
        yield create_rule(p, found)
    elif p.shift.stable not in found.split.written:
        wanted = f"one that forwards to {found.groups[p.shift.stable].key}"
        raise _other(place.key(p), wanted, found.split.as_written)
    elif p.shift.canary not in found.split.written:  # a release after the first
        group = found.groups[p.shift.canary]
        yield joined(found.split, group.arn, group.key)
    holding = p.alb.holding_vpc
    if holding is None:
        return
    if found.zone is None:
        yield create_zone(p, found, holding)
    if found.record is None:
        yield create_record(p, found)


def create_listener(p: Parameters, found: Standing) -> Change:
    """Return the change that makes the listener; what no rule takes gets a 503."""
    name = keys.listener(p)
    certificate = p.alb.certificate
    protocol = "HTTPS" if certificate else "HTTP"
    shown = {"Protocol": protocol, "Port": p.alb.port}
    said = {
        "LoadBalancerArn": assumed_arn(found.balancer, keys.balancer(p)),
        **shown,
        "DefaultActions": NO_MATCH,
    }
    if certificate:
        shown["Certificate"] = certificate
        said["Certificates"] = [{"CertificateArn": certificate}]
        said["SslPolicy"] = TLS
    return _made(
        name,
        call=elbv2.create(LISTENER, said, tags(p)),
        back=elbv2.delete(LISTENER, _arn_made(LISTENER, name)),
        reading=standing.listener(p),
        wanted={"protocol": protocol},
        shown=shown,
    )


def create_rule(p: Parameters, found: Standing) -> Change:
    """Return the change that makes the rule, with all weight on stable."""
    name = place.key(p)
    weights = p.shift.weights_at(0)
    groups = {found.groups[name].arn: weight for name, weight in weights.items()}
    forward = {"TargetGroups": weighted((), groups)}
    action = {"Type": "forward", "Order": 1, "ForwardConfig": forward}
    path = {"Field": "path-pattern", "PathPatternConfig": {"Values": [p.alb.path]}}
    said = {
        "ListenerArn": _arn_of(LISTENER, found.listener, keys.listener(p)),
        "Priority": p.alb.priority,
        "Conditions": [path],
        "Actions": [action],
    }
    return _made(
        name,
        call=elbv2.create(RULE, said, tags(p)),
        back=elbv2.delete(RULE, _arn_made(RULE, name)),
        reading=place.rule_reading(p),
        wanted={"groups": as_read(groups)},
        shown={"path": p.alb.path, **weights},
    )


def create_zone(p: Parameters, found: Standing, holding: str) -> Change:
    """Return the change that makes the name's zone, in a VPC where nobody asks it."""
    name = keys.zone(p)
    balancer = assumed_arn(found.balancer, keys.balancer(p))
    told_apart = balancer.rpartition("/")[2]
    said = {
        "Name": p.shift.name,
        "CallerReference": f"{p.environment}/{p.shift.name}/{told_apart}",
        "VPC": {"VPCRegion": p.region, "VPCId": holding},
        "HostedZoneConfig": {"Comment": standing.comment(p), "PrivateZone": True},
    }
    return _made(
        name,
        call=Call("route53", "create_hosted_zone", said),
        back=delete_zone(_zone_id(p, found)),
        reading=standing.zone(p),
        wanted={"vpcs": [holding]},
        shown={"vpc": holding},
        waits=(standing.in_effect(name),),
    )


def delete_zone(id: str | Answer) -> Call:
    """Return the call that deletes a zone."""
    return Call("route53", "delete_hosted_zone", {"Id": id})


def _zone_id(p: Parameters, found: Standing) -> str | Answer:
    """Return the id of the zone that is there, or what its change answers."""
    if found.zone:
        return str(found.zone["id"])
    return Answer(keys.zone(p), "HostedZone.Id", seen="id")


def create_record(p: Parameters, found: Standing) -> Change:
    """Return the change that lets the name be an alias of the load balancer."""
    balancer = found.balancer or {"dns": "", "zone": ""}
    alias = {
        "HostedZoneId": balancer["zone"],
        "DNSName": f"{balancer['dns'].lower()}.",
        "EvaluateTargetHealth": False,
    }
    return record_of(p, _zone_id(p, found), alias, balancer["dns"])


def record_of(p: Parameters, zone: str | Answer, alias: Found, dns: str) -> Change:
    """Return the change that makes the name an alias; `dns` is shown of it."""
    name = keys.record(p)
    record = {"Name": f"{p.shift.name}.", "Type": "A", "AliasTarget": alias}
    return _made(
        name,
        call=_change_record(zone, "CREATE", record),
        back=_change_record(zone, "DELETE", record),
        reading=standing.record(p),
        wanted=alias,
        shown={"alias of": dns},
        waits=(standing.in_effect(name),),
    )


def _change_record(zone: str | Answer, action: str, record: Found) -> Call:
    changes = [{"Action": action, "ResourceRecordSet": record}]
    where = {"HostedZoneId": zone, "ChangeBatch": {"Changes": changes}}
    return Call("route53", "change_resource_record_sets", where)


# --- what all of them are made of -----------------------------------------------------


def _made(
    name: str,
    *,
    call: Call,
    back: Call,
    reading: Reading,
    wanted: Found,
    shown: Found,
    waits: tuple[Wait, ...] = (),
) -> Change:
    """Return the change that makes a thing, which `back` deletes again."""
    return Change(
        name=name,
        verb="create",
        call=call,
        reading=reading,
        expected=None,
        wanted=wanted,
        about=(name,),
        inverse=Inverse("delete", back, wanted=None),
        diff=differences({}, shown),
        waits=waits,
    )


def _set(
    kind: Kind,
    name: str,
    arn: str | Answer,
    reading: Reading,
    before: Found,
    wanted: Found,
) -> Change:
    """Return the change of a thing's settings."""
    settings = f"settings of {name}"
    back = elbv2.set_values(kind, arn, before)
    return Change(
        name=settings,
        verb="update",
        call=elbv2.set_values(kind, arn, wanted),
        reading=reading,
        expected=dict(before),
        wanted=dict(wanted),
        about=(settings, name),
        inverse=Inverse("update", back, wanted=dict(before)),
        diff=differences(before, wanted),
    )


def _arn_of(kind: Kind, state: Found | None, name: str) -> str | Answer:
    """Return the ARN of what is there, or what the change that makes it answers."""
    return str(state["arn"]) if state else _arn_made(kind, name)


def _arn_made(kind: Kind, name: str) -> Answer:
    """Return the ARN in the answer of the change that makes a thing of this name."""
    return Answer(name, kind.first_arn, seen="arn")


def _other(name: str, wanted: str, found: str) -> PlanError:
    return PlanError(
        f"{name}: expected {wanted}; found {found}: somebody else's has this name",
        hint="name another one in the file",
    )
