"""Create what an environment with a load balancer's rule has already, on the
local control plane.

Most ECS teams have it: an internal load balancer, a listener, a rule over both
versions' target groups at 100/0, and a name that callers dial. It has the ARNs that the
file says. Can be repeated after a crash.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runbook_lib.engines.alb import place
from runbook_lib.errors import TargetError
from runbook_lib.parameters import Parameters

__all__ = [
    "CALLERS",
    "Front",
    "certificate_of",
    "container_port",
    "create_callers",
    "create_front",
    "listener_port",
]

Client = Callable[[str], Any]

CALLERS = "callers"  # an ECS service that dials the name where the file names no caller
PORTS = {"HTTP": 80, "HTTPS": 443}
VERSIONS = {"http": "HTTP1", "http2": "HTTP2"}  # of groups, by protocol
PRIORITY = 100
HEALTH_PATH = "/__status"  # the stand-in application answers it whatever its faults are
DELAY_SECONDS = "2"  # of deregistration: the longest request of a rehearsal is shorter
PLAIN_PORT = 8080  # of an application whose file names none
EVERY_PATH = [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}]
NOT_FOUND = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}]


@dataclass(frozen=True, slots=True)
class Front:
    """What services stand behind: the ARN of each one's target group."""

    groups: dict[str, str]

    def load_balancers_of(self, p: Parameters, service: str) -> list[dict[str, Any]]:
        """Return `loadBalancers` of an ECS service; none for one
        that is in no group.
        """
        if service not in self.groups:
            return []
        port = container_port(p, service)
        return [
            {
                "targetGroupArn": self.groups[service],
                "containerName": "app",
                "containerPort": port,
            }
        ]


def container_port(p: Parameters, service: str) -> int:
    """Return the port of a service's application; where the file
    names none, any does.
    """
    own = p.services[service].ports
    if own:
        return own[0]
    return p.port if "port" in p.model_fields_set else PLAIN_PORT


def create_front(
    p: Parameters, client: Client, vpc: str, subnets: Sequence[str], group: str
) -> Front:
    """Create the load balancer of the file's rule, and all that belongs to it.

    The control plane has been told which ARNs the rule and its certificate are to
    have. Raises TargetError for what the local AWS does not carry.
    """
    if p.protocol not in VERSIONS:
        raise TargetError(
            f"protocol {p.protocol}: the local load balancer carries http and http2",
            hint="rehearse with protocol: http2",
        )
    elbv2 = client("elbv2")
    name = place.balancer_name(p)
    balancer = elbv2.create_load_balancer(
        Name=name,
        Scheme="internal",
        Type="application",
        Subnets=list(subnets),
        SecurityGroups=[group],
    )["LoadBalancers"][0]
    groups = {name: _group(p, elbv2, name, vpc) for name in p.shift.versions}
    listener = _listener(p, elbv2, balancer["LoadBalancerArn"])
    _rule(elbv2, listener, [groups[p.shift.stable], groups[p.shift.canary]])
    _name(p, client("route53"), vpc, balancer)
    return Front(groups)


def listener_port(p: Parameters) -> int:
    """Return the port that callers dial."""
    if p.alb.rule is None:
        return p.alb.port
    return PORTS["HTTPS" if certificate_of(p) else "HTTP"]


def certificate_of(p: Parameters) -> str | None:
    """Return the ARN of the listener's certificate; None where it speaks HTTP.

    Beside a rule the file names none; HTTP/2 takes one.
    """
    if p.engine != "alb" or p.alb.rule is None or p.protocol == "http":
        return p.alb.certificate if p.engine == "alb" else None
    own = uuid.uuid5(uuid.NAMESPACE_URL, p.alb.rule)
    return f"arn:aws:acm:{p.region}:{p.account_id}:certificate/{own}"


def _group(p: Parameters, elbv2: Any, service: str, vpc: str) -> str:
    made = elbv2.create_target_group(
        Name=p.target_group_of(service),
        Protocol="HTTP",
        ProtocolVersion=VERSIONS[p.protocol],
        Port=container_port(p, service),
        VpcId=vpc,
        TargetType="ip",
        HealthCheckPath=HEALTH_PATH,
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
        HealthyThresholdCount=2,
        UnhealthyThresholdCount=2,
    )
    arn = str(made["TargetGroups"][0]["TargetGroupArn"])
    delay = {"Key": "deregistration_delay.timeout_seconds", "Value": DELAY_SECONDS}
    elbv2.modify_target_group_attributes(TargetGroupArn=arn, Attributes=[delay])
    return arn


def _listener(p: Parameters, elbv2: Any, balancer: str) -> str:
    there = elbv2.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
    if not there:
        certificate = certificate_of(p)
        new = {
            "LoadBalancerArn": balancer,
            "Protocol": "HTTPS" if certificate else "HTTP",
            "Port": listener_port(p),
            "DefaultActions": NOT_FOUND,
        }
        if certificate:
            new["Certificates"] = [{"CertificateArn": certificate}]
        there = elbv2.create_listener(**new)["Listeners"]
    return str(there[0]["ListenerArn"])


def _rule(elbv2: Any, listener: str, groups: Sequence[str]) -> None:
    """Create the rule with all weight on the first group."""
    rules = elbv2.describe_rules(ListenerArn=listener)["Rules"]
    if any(rule["Priority"] == str(PRIORITY) for rule in rules):
        return
    weights = [
        {"TargetGroupArn": arn, "Weight": 0 if index else 100}
        for index, arn in enumerate(groups)
    ]
    action = {"Type": "forward", "Order": 1, "ForwardConfig": {"TargetGroups": weights}}
    elbv2.create_rule(
        ListenerArn=listener, Priority=PRIORITY, Conditions=EVERY_PATH, Actions=[action]
    )


def _name(p: Parameters, route53: Any, vpc: str, balancer: dict[str, Any]) -> None:
    """Let the name that callers dial lead to the load balancer, in a
    private zone of its own.
    """
    dialled = f"{p.shift.name}."
    where = {"VPCRegion": p.region, "VPCId": vpc}
    asked = route53.list_hosted_zones_by_vpc(**where)["HostedZoneSummaries"]
    there = [zone["HostedZoneId"] for zone in asked if zone["Name"] == dialled]
    if not there:
        new = {
            "Name": dialled,
            "CallerReference": f"{dialled} of {vpc}",
            "VPC": where,
            "HostedZoneConfig": {"PrivateZone": True},
        }
        there = [route53.create_hosted_zone(**new)["HostedZone"]["Id"]]
    target = {
        "HostedZoneId": balancer["CanonicalHostedZoneId"],
        "DNSName": balancer["DNSName"],
        "EvaluateTargetHealth": False,
    }
    record = {"Name": dialled, "Type": "A", "AliasTarget": target}
    changes = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
    route53.change_resource_record_sets(HostedZoneId=there[0], ChangeBatch=changes)


def create_callers(p: Parameters, ecs: Any, subnets: Sequence[str], group: str) -> None:
    """Create a service that stands for callers outside of the file."""
    container = {"name": "app", "image": "callers:1", "essential": True, "memory": 256}
    definition = ecs.register_task_definition(
        family=CALLERS,
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        containerDefinitions=[container],
    )["taskDefinition"]["taskDefinitionArn"]
    where = {
        "subnets": list(subnets),
        "securityGroups": [group],
        "assignPublicIp": "DISABLED",
    }
    ecs.create_service(
        cluster=p.cluster,
        serviceName=CALLERS,
        taskDefinition=definition,
        desiredCount=1,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": where},
    )
