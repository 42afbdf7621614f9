"""Say which permissions it takes to make a load balancer and to take it away. Pure.

Route 53 is no region's: its reads have no condition of one.
"""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.aws.naming import arn, partition
from runbook_lib.aws.permissions import Statement, reads
from runbook_lib.aws.roles import Role
from runbook_lib.parameters import Parameters

ELB = "elasticloadbalancing"
LOOKS = (
    f"{ELB}:DescribeLoadBalancerAttributes",
    f"{ELB}:DescribeLoadBalancers",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcAttribute",
)
OF_CERTIFICATE = "acm:DescribeCertificate"
LOOKS_AT_NAMES = (
    "route53:GetChange",
    "route53:GetHostedZone",
    "route53:ListHostedZonesByName",
    "route53:ListHostedZonesByVPC",
    "route53:ListResourceRecordSets",
)
OF_THEIR_VPC = (
    "route53profiles:ListProfileAssociations",
    "route53profiles:ListProfileResourceAssociations",
    "route53resolver:ListResolverRuleAssociations",
    "route53resolver:ListResolverRules",
)
OF_ZONES = (
    "route53:AssociateVPCWithHostedZone",
    "route53:CreateHostedZone",
    "route53:DeleteHostedZone",
    "route53:DisassociateVPCFromHostedZone",
)


def by_role(p: Parameters) -> dict[Role, list[Statement]]:
    """Return what a reader and a builder need more than where the rule is there."""
    looks = list(LOOKS)
    if p.alb.certificate:
        looks.append(OF_CERTIFICATE)
    if p.alb.holding_vpc:
        looks += OF_THEIR_VPC
    return {
        "reader": [
            reads(p, "LookAtTheLoadBalancer", *looks),
            Statement("LookAtNames", LOOKS_AT_NAMES, ("*",)),
        ],
        "builder": [*_load_balancer(p), *_names(p)],
    }


def _load_balancer(p: Parameters) -> Iterator[Statement]:
    own = arn(p, ELB, f"loadbalancer/app/{p.alb.name}/*")
    at_listeners = arn(p, ELB, f"listener*/app/{p.alb.name}/*")  # their rules too
    whole = [own, at_listeners]
    for name in p.shift.versions:
        whole.append(arn(p, ELB, f"targetgroup/{p.target_group_of(name)}/*"))
    internal = {"StringEquals": {f"{ELB}:Scheme": "internal"}}
    create = (f"{ELB}:CreateLoadBalancer",)
    yield Statement("MakeTheLoadBalancer", create, (own,), internal)
    yield Statement("MakeTheRule", (f"{ELB}:CreateRule",), (at_listeners,))
    changes = (
        f"{ELB}:CreateListener",
        f"{ELB}:CreateTargetGroup",
        f"{ELB}:DeleteListener",
        f"{ELB}:DeleteLoadBalancer",
        f"{ELB}:DeleteRule",
        f"{ELB}:DeleteTargetGroup",
        f"{ELB}:ModifyLoadBalancerAttributes",
        f"{ELB}:ModifyTargetGroupAttributes",
    )
    yield Statement("BuildAndTakeAway", changes, tuple(whole))
    acts = ["CreateListener", "CreateLoadBalancer", "CreateRule", "CreateTargetGroup"]
    made = {"StringEquals": {f"{ELB}:CreateAction": acts}}
    yield Statement("TagTheLoadBalancer", (f"{ELB}:AddTags",), tuple(whole), made)


def _names(p: Parameters) -> Iterator[Statement]:
    if p.alb.holding_vpc is None:
        return
    zones = f"arn:{partition(p)}:route53:::hostedzone/*"
    yield Statement("SwitchTheName", OF_ZONES, ("*",))
    only = {
        "ForAllValues:StringEquals": {
            "route53:ChangeResourceRecordSetsNormalizedRecordNames": [p.shift.name]
        }
    }
    record = ("route53:ChangeResourceRecordSets",)
    yield Statement("LeadTheName", record, (zones,), only)
    here = {"StringEquals": {"aws:RequestedRegion": p.region}}
    yield Statement("KnowVpcs", ("ec2:DescribeVpcs",), ("*",), here)
