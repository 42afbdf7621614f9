"""An internal load balancer at the local endpoint, with one rule over two groups, in an account of its own.

Import `front` by its name, and with it `network`.
"""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from runbook_lib.local.control_plane import elbv2
from tests.control_plane_fixtures import REGION, Aws, endpoint, shared_clients


@dataclass
class Front:
    """A load balancer with an HTTP listener, two groups, and a rule that forwards 100/0."""

    elbv2: Any
    account: str
    vpc: str
    subnets: list[str]
    balancer: str
    listener: str
    stable: str
    canary: str
    rule: str

    def group(self, name: str, **more: Any) -> str:
        """Create a target group and return its ARN."""
        return created_group(self.elbv2, self.vpc, name, **more)

    def shift(self, **weights: int) -> Any:
        """Write weights by the groups' names, as a forward action."""
        arns = {"stable": self.stable, "canary": self.canary}
        return self.elbv2.modify_rule(RuleArn=self.rule, Actions=forward({arns[n]: w for n, w in weights.items()}))

    def action(self) -> dict[str, Any]:
        """Return the rule's action as it is described."""
        found: dict[str, Any] = self.elbv2.describe_rules(RuleArns=[self.rule])["Rules"][0]["Actions"][0]
        return found

    def health(self, group: str) -> list[tuple[str, str]]:
        """Return state and reason of each target of a group."""
        found = self.elbv2.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return [(each["TargetHealth"]["State"], each["TargetHealth"].get("Reason", "")) for each in found]


def forward(weights: dict[str, int], **stickiness: Any) -> list[dict[str, Any]]:
    groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    config: dict[str, Any] = {"TargetGroups": groups}
    if stickiness:
        config["TargetGroupStickinessConfig"] = stickiness
    return [{"Type": "forward", "ForwardConfig": config}]


def created_group(elbv2: Any, vpc: str, name: str, **more: Any) -> str:
    settings = {"Protocol": "HTTP", "Port": 9080, "VpcId": vpc, "TargetType": "ip", **more}
    return str(elbv2.create_target_group(Name=name, **settings)["TargetGroups"][0]["TargetGroupArn"])


UNAVAILABLE = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}]
PATHS = [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}]


@dataclass(frozen=True)
class Network:
    """A VPC with two subnets; to make one takes moto a second, so there is one for all."""

    account: str
    vpc: str
    subnets: list[str]


@pytest.fixture(scope="module")
def network(shared_clients: Aws) -> Network:
    shared_clients.account = "200000000000"
    ec2 = shared_clients.ec2
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    zones = [("10.0.0.0/24", "us-west-2a"), ("10.0.1.0/24", "us-west-2b")]
    made = [ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=zone) for block, zone in zones]
    return Network("200000000000", vpc, [each["Subnet"]["SubnetId"] for each in made])


@pytest.fixture
def front(shared_clients: Aws, network: Network) -> Front:
    shared_clients.account = network.account
    elbv2.store(network.account, REGION).reset()
    client = shared_clients.elbv2
    made = client.create_load_balancer(Name="apps", Scheme="internal", Type="application", Subnets=network.subnets)
    balancer = made["LoadBalancers"][0]["LoadBalancerArn"]
    stable, canary = (created_group(client, network.vpc, name) for name in ("serviceB", "serviceBv2"))
    listening = {"LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": 80, "DefaultActions": UNAVAILABLE}
    listener = client.create_listener(**listening)["Listeners"][0]["ListenerArn"]
    actions = forward({stable: 100, canary: 0})
    created = client.create_rule(ListenerArn=listener, Priority=100, Conditions=PATHS, Actions=actions)
    rule = created["Rules"][0]["RuleArn"]
    return Front(client, network.account, network.vpc, network.subnets, balancer, listener, stable, canary, rule)
