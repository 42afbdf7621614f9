"""Plan what 01 to 03 make: each thing as one change that says how it is undone.

Pure. A thing that a change of the same plan makes is named by what that will answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from runbook_lib.aws.naming import tags
from runbook_lib.engines.alb import elbv2, place
from runbook_lib.engines.alb.building import keys, standing
from runbook_lib.engines.alb.building.standing import Found, Standing
from runbook_lib.engines.alb.rule import joined
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
    turned,
)

TITLES = {
    "01": "01_create_load_balancer",
    "02": "02_create_target_groups",
    "03": "03_create_rule_and_name",
    "04": "04_attach_services",
    "90": "90_remove_load_balancer",
}
NO_RULE = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}]
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
    for key in sorted(found.foreign):
        raise _other(key, "one that carries the runbook's tags", "none of them")
    planners = {"01": _plan_balancer, "02": _plan_groups, "03": _plan_rule}
    missing = tuple(_missing(p, found, step))
    return Plan(TITLES[step], tuple(planners[step](p, found)), assumed=missing)


def missing(p: Parameters, found: Standing) -> tuple[str, ...]:
    """Return what of 01 to 03 is not there."""
    return tuple(_missing(p, found, "04"))


def _require_certificate(p: Parameters, found: Standing) -> None:
    if found.wrong_certificate:
        raise PlanError(
            f"alb.certificate: {found.wrong_certificate}",
            hint=f"aws acm list-certificates --region {p.region}",
        )


def _missing(p: Parameters, found: Standing, step: str) -> Iterator[str]:
    there = _there(p, found)
    for earlier in ("01", "02", "03"):
        if earlier < step:
            absent = [key for key in keys.made_by(p, earlier) if not there[key]]
            yield from (f"{key} ({TITLES[earlier]})" for key in absent)


def _there(p: Parameters, found: Standing) -> dict[str, Found | None]:
    states = {
        keys.balancer(p): found.balancer,
        keys.listener(p): found.listener,
        place.key(p): found.rule,
        keys.zone(p): found.zone,
        keys.record(p): found.record,
    }
    return states | {keys.group(p, name): each for name, each in found.groups.items()}


def _labels(p: Parameters) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags(p).items()]


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
    network, name = found.network, keys.balancer(p)
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
    return _made(
        name,
        Call("elbv2", "create_load_balancer", {**said, "Tags": _labels(p)}),
        standing.balancer(p),
        {"scheme": "internal"},
        said,
        _delete(
            "load_balancer", "LoadBalancerArn", _arn_of(found.balancer, name, BALANCER)
        ),
        waits=(Wait(f"{name} active", standing.balancer(p), "state=='active'"),),
    )


BALANCER = "LoadBalancers[0].LoadBalancerArn"
GROUP = "TargetGroups[0].TargetGroupArn"
LISTENER = "Listeners[0].ListenerArn"
RULE = "Rules[0].RuleArn"


def set_balancer(
    p: Parameters, found: Standing, before: Found, wanted: Found
) -> Change:
    """Return the change of the load balancer's settings."""
    arn = _arn_of(found.balancer, keys.balancer(p), BALANCER)

    def call(values: Found) -> Call:
        said = {
            "idle_timeout.timeout_seconds": values["idle"],
            "routing.http.preserve_host_header.enabled": values["host"],
            "deletion_protection.enabled": values["protected"],
        }
        attributes = [{"Key": key, "Value": value} for key, value in said.items()]
        where = {"LoadBalancerArn": arn, "Attributes": attributes}
        return Call("elbv2", "modify_load_balancer_attributes", where)

    return _set(keys.balancer(p), standing.settings(p), call, before, wanted)


# --- 02 -------------------------------------------------------------------------------


def _plan_groups(p: Parameters, found: Standing) -> Iterator[Change]:
    wanted = {"delay": str(p.alb.deregistration_delay_seconds), "sticky": "false"}
    for service, state in found.groups.items():
        if state is None:
            yield create_group(p, found, service)
        elif state["type"] != "ip":
            raise _other(keys.group(p, service), "target type ip", state["type"])
        elif {*found.behind[service]} - {(found.balancer or {}).get("arn")}:
            others = ", ".join(found.behind[service])
            raise _other(keys.group(p, service), "no other load balancer's", others)
        elif state["version"] != VERSIONS[p.protocol]:
            wanted_version = f"version {VERSIONS[p.protocol]}"
            raise _other(keys.group(p, service), wanted_version, state["version"])
        before = found.group_settings[service] or NEW_GROUP
        if before != wanted:
            yield set_group(p, found, service, before, wanted)


def create_group(p: Parameters, found: Standing, service: str) -> Change:
    """Return the change that makes a service's target group."""
    check, name = p.alb.health_check, keys.group(p, service)
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
        Call("elbv2", "create_target_group", {**said, "Tags": _labels(p)}),
        standing.group(p, service),
        {"port": said["Port"], "vpc": said["VpcId"], "type": "ip"},
        said,
        _delete(
            "target_group",
            "TargetGroupArn",
            _arn_of(found.groups[service], name, GROUP),
        ),
    )


def port_of(p: Parameters, service: str) -> int:
    """Return the port that a service's targets listen on."""
    return p.ports_of(service)[0]


def set_group(
    p: Parameters, found: Standing, service: str, before: Found, wanted: Found
) -> Change:
    """Return the change of a target group's settings."""
    name = keys.group(p, service)
    arn = _arn_of(found.groups[service], name, GROUP)

    def call(values: Found) -> Call:
        said = {
            "deregistration_delay.timeout_seconds": values["delay"],
            "stickiness.enabled": values["sticky"],
        }
        attributes = [{"Key": key, "Value": value} for key, value in said.items()]
        where = {"TargetGroupArn": arn, "Attributes": attributes}
        return Call("elbv2", "modify_target_group_attributes", where)

    return _set(name, standing.group_settings(p, service), call, before, wanted)


# --- 03 -------------------------------------------------------------------------------


def _plan_rule(p: Parameters, found: Standing) -> Iterator[Change]:
    if found.listener is None:
        _require_certificate(p, found)
        yield create_listener(p, found)
    if found.rule is None:
        yield create_rule(p, found)
    elif p.shift.stable not in found.split.written:
        wanted = f"one that forwards to {keys.group(p, p.shift.stable)}"
        raise _other(place.key(p), wanted, found.split.as_written)
    elif p.shift.canary not in found.split.written:  # a release after the first
        key = keys.group(p, p.shift.canary)
        yield joined(found.split, assumed(found.groups[p.shift.canary], key))
    if p.alb.holding_vpc is not None and found.zone is None:
        yield create_zone(p, found, p.alb.holding_vpc)
    if p.alb.holding_vpc is not None and found.record is None:
        yield create_record(p, found)


def create_listener(p: Parameters, found: Standing) -> Change:
    """Return the change that makes the listener; what no rule takes gets a 503."""
    name, certificate = keys.listener(p), p.alb.certificate
    shown = {"Protocol": "HTTPS" if certificate else "HTTP", "Port": p.alb.port}
    said = {
        "LoadBalancerArn": assumed(found.balancer, keys.balancer(p)),
        **shown,
        "DefaultActions": NO_RULE,
    }
    if certificate:
        shown["Certificate"] = certificate
        said |= {"Certificates": [{"CertificateArn": certificate}], "SslPolicy": TLS}
    return _made(
        name,
        Call("elbv2", "create_listener", {**said, "Tags": _labels(p)}),
        standing.listener(p),
        {"protocol": shown["Protocol"]},
        shown,
        _delete("listener", "ListenerArn", _arn_of(found.listener, name, LISTENER)),
    )


def create_rule(p: Parameters, found: Standing) -> Change:
    """Return the change that makes the rule, with all weight on stable."""
    name, weights = place.key(p), {p.shift.stable: 100, p.shift.canary: 0}
    groups = {
        assumed(found.groups[service], keys.group(p, service)): weight
        for service, weight in weights.items()
    }
    forward = [{"TargetGroupArn": arn, "Weight": w} for arn, w in groups.items()]
    action = {"Type": "forward", "Order": 1, "ForwardConfig": {"TargetGroups": forward}}
    path = {"Field": "path-pattern", "PathPatternConfig": {"Values": [p.alb.path]}}
    said = {
        "ListenerArn": _arn_of(found.listener, keys.listener(p), LISTENER),
        "Priority": p.alb.priority,
        "Conditions": [path],
        "Actions": [action],
        "Tags": _labels(p),
    }
    wanted = [{"group": arn, "weight": w} for arn, w in sorted(groups.items())]
    return _made(
        name,
        elbv2.create(said),
        place.rule_reading(p),
        {"groups": wanted},
        {"path": p.alb.path, **weights},
        _delete("rule", "RuleArn", _arn_of(found.rule, name, RULE)),
    )


def create_zone(p: Parameters, found: Standing, holding: str) -> Change:
    """Return the change that makes the name's zone, in a VPC where nobody asks it."""
    name = keys.zone(p)
    told_apart = assumed(found.balancer, keys.balancer(p)).rpartition("/")[2]
    said = {
        "Name": p.shift.name,
        "CallerReference": f"{p.environment}/{p.shift.name}/{told_apart}",
        "VPC": {"VPCRegion": p.region, "VPCId": holding},
        "HostedZoneConfig": {"Comment": standing.comment(p), "PrivateZone": True},
    }
    new = Answer(name, "HostedZone.Id", seen="id")
    id = found.zone["id"] if found.zone else new
    back = Call("route53", "delete_hosted_zone", {"Id": id})
    return _made(
        name,
        Call("route53", "create_hosted_zone", said),
        standing.zone(p),
        {"vpcs": [holding]},
        {"vpc": holding},
        back,
        waits=(standing.in_effect(name),),
    )


def create_record(p: Parameters, found: Standing) -> Change:
    """Return the change that lets the name be an alias of the load balancer."""
    name, balancer = keys.record(p), found.balancer or {"dns": "", "zone": ""}
    alias = {
        "HostedZoneId": balancer["zone"],
        "DNSName": f"{balancer['dns'].lower()}.",
        "EvaluateTargetHealth": False,
    }
    zone = found.zone["id"] if found.zone else Answer(keys.zone(p), "HostedZone.Id")

    def call(action: str) -> Call:
        record = {"Name": f"{p.shift.name}.", "Type": "A", "AliasTarget": alias}
        changes = [{"Action": action, "ResourceRecordSet": record}]
        where = {"HostedZoneId": zone, "ChangeBatch": {"Changes": changes}}
        return Call("route53", "change_resource_record_sets", where)

    return _made(
        name,
        call("CREATE"),
        standing.record(p),
        alias,
        {"alias of": balancer["dns"]},
        call("DELETE"),
        waits=(standing.in_effect(name),),
    )


# --- what all of them are made of -----------------------------------------------------


def _made(
    name: str,
    call: Call,
    reading: Reading,
    wanted: Mapping[str, Any],
    said: Mapping[str, Any],
    back: Call,
    waits: tuple[Wait, ...] = (),
) -> Change:
    return Change(
        name=name,
        verb="create",
        call=call,
        reading=reading,
        expected=None,
        wanted=wanted,
        about=(name,),
        inverse=Inverse("delete", back, wanted=None),
        diff=differences({}, said),
        waits=waits,
    )


def _set(
    name: str, reading: Reading, call: Any, before: Found, wanted: Found
) -> Change:
    return Change(
        name=f"settings of {name}",
        verb="update",
        call=call(wanted),
        reading=reading,
        expected=dict(before),
        wanted=dict(wanted),
        about=(f"settings of {name}", name),
        inverse=Inverse("update", call(before), wanted=dict(before)),
        diff=differences(before, wanted),
    )


def _delete(kind: str, key: str, arn: Any) -> Call:
    return Call("elbv2", f"delete_{kind}", {key: arn})


def _arn_of(state: Found | None, name: str, query: str) -> Any:
    """Return the ARN of what is there, or what the change that makes it answers."""
    return state["arn"] if state else Answer(name, query, seen="arn")


def assumed(state: Found | None, name: str) -> str:
    """Return the ARN of what an earlier notebook made; a plan that assumes it is only
    shown.
    """
    return str(state["arn"]) if state else f"the ARN of {name}"


def without_inverse(change: Change, why: str) -> Change:
    """Return a change that has no undo."""
    return replace(change, inverse=None, no_inverse=why)


def turned_for_good(making: Change, state: Found, why: str) -> Change:
    """Return the change that removes what is there and has no undo."""
    gone = replace(turned(making), expected=dict(state), waits=())
    return without_inverse(gone, why)


def _other(name: str, wanted: str, found: str) -> PlanError:
    return PlanError(
        f"{name}: expected {wanted}; found {found}: somebody else's has this name",
        hint="name another one in the file",
    )
