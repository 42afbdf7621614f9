"""The section of a load balancer's rule. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from runbook_lib.parameters.fields import Name, Port, Strict, Threshold, UrlPath

RuleArn = Annotated[
    str,
    StringConstraints(
        pattern=r"^arn:aws[a-z-]*:elasticloadbalancing:[a-z0-9-]+:[0-9]{12}:listener-rule/app(/[A-Za-z0-9-]{1,32}){4}$"
    ),
]
CertificateArn = Annotated[
    str,
    StringConstraints(
        pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]{1,64}$"
    ),
]
SubnetId = Annotated[str, StringConstraints(pattern=r"^subnet-[0-9a-f]{8,17}$")]
SecurityGroupId = Annotated[str, StringConstraints(pattern=r"^sg-[0-9a-f]{8,17}$")]
VpcId = Annotated[str, StringConstraints(pattern=r"^vpc-[0-9a-f]{8,17}$")]
TargetGroupName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$")
]


class GroupCheck(Strict):
    """How a load balancer checks a target's health."""

    path: UrlPath = Field("/", description="path asked for")
    matcher: Annotated[str, StringConstraints(pattern=r"^[0-9,-]+$")] = Field(
        "200", description="HTTP answers that are healthy, such as 200-299"
    )
    interval_seconds: Annotated[int, Field(ge=5, le=300)] = Field(
        10, description="between two checks"
    )
    timeout_seconds: Annotated[int, Field(ge=2, le=120)] = Field(
        5, description="until one check fails; shorter than the interval"
    )
    healthy_threshold: Threshold = Field(2, description="checks until healthy")
    unhealthy_threshold: Threshold = Field(2, description="checks until unhealthy")


class Alb(Strict):
    """An Application Load Balancer's rule: one that is there already, by its ARN, or
    one that the runbook makes with all it takes, by the load balancer's name.
    """

    rule: RuleArn | None = Field(
        None,
        description="ARN of the listener rule that forwards to both versions' "
        "target groups; null: 01 to 04 make it",
    )
    target_groups: dict[Name, TargetGroupName] = Field(
        {},
        description="names of target groups by service, where one is not called "
        "as its ECS service",
    )
    name: TargetGroupName | None = Field(
        None, description="name of the load balancer to make"
    )
    port: Port = Field(80, description="port it listens on: the one callers dial")
    certificate: CertificateArn | None = Field(
        None,
        description="ARN of a certificate for `shift.name`: the listener is HTTPS, "
        "which HTTP/2 needs; null: HTTP",
    )
    priority: Annotated[int, Field(ge=2, le=50000)] = Field(
        100, description="the rule's; 1 is the trial's"
    )
    path: Annotated[str, StringConstraints(pattern="^/", max_length=128)] = Field(
        "/*", description="path pattern of the rule"
    )
    subnets: list[SubnetId] = Field(
        [], description="its subnets, in two zones at least; none: stable's"
    )
    security_groups: list[SecurityGroupId] = Field(
        [], description="its security groups; none: stable's"
    )
    health_check: GroupCheck = Field(
        GroupCheck(), description="how targets are checked"
    )
    deregistration_delay_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        30, description="how long a target that leaves may go on answering"
    )
    idle_seconds: Annotated[int, Field(ge=1, le=4000)] = Field(
        60, description="until a connection without a byte is closed"
    )
    deletion_protection: bool = Field(True, description="refuse to delete it")
    holding_vpc: VpcId | None = Field(
        None,
        description="a VPC that nobody asks for names: the private zone of "
        "`shift.name` is made there, and moved to callers when it is whole; null: "
        "the name is not switched",
    )
