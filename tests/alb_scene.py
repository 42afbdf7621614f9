"""A load balancer on the local control plane, in this very process: a rule over the groups of two ECS services."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

from runbook_lib import record
from runbook_lib.aws.session import Session
from tests.control_plane_fixtures import definition
from tests.plain_alb import FILE
from tests.scenes import ACCOUNTS, NUMBERS, other, reopen, settle, somebody

REGION = "us-west-2"
NAMES = ("web", "web-v2")
HOST = {"Field": "host-header", "HostHeaderConfig": {"Values": ["shop.test"]}}
LOGIN = {
    "Type": "authenticate-oidc",
    "Order": 1,
    "AuthenticateOidcConfig": {
        "Issuer": "https://login.test",
        "AuthorizationEndpoint": "https://login.test/authorize",
        "TokenEndpoint": "https://login.test/token",
        "UserInfoEndpoint": "https://login.test/user",
        "ClientId": "shop",
        "ClientSecret": "none",
    },
}


@dataclass(frozen=True)
class Front:
    """An account with a load balancer, and a session of its shift."""

    session: Session
    rule: str
    groups: Mapping[str, str]

    @property
    def elbv2(self) -> Any:
        """Somebody else's client."""
        return somebody(self.session, "elbv2")

    @property
    def ecs(self) -> Any:
        """Somebody else's client."""
        return somebody(self.session, "ecs")

    def described(self) -> dict[str, Any]:
        """Return the rule as somebody else reads it."""
        found: dict[str, Any] = self.elbv2.describe_rules(RuleArns=[self.rule])["Rules"][0]
        return found

    def weights(self) -> dict[str, int]:
        """Return the weights in force, by service."""
        action = next(action for action in self.described()["Actions"] if action["Type"] == "forward")
        weights = {each["TargetGroupArn"]: each["Weight"] for each in action["ForwardConfig"]["TargetGroups"]}
        return {service: weights[group] for service, group in self.groups.items() if group in weights}

    def write(self, **weights: int) -> None:
        """Give the rule other weights, as somebody does at a console; `web_v2` is the group web-v2."""
        by_group = {self.groups[name.replace("_", "-")]: weight for name, weight in weights.items()}
        self.elbv2.modify_rule(RuleArn=self.rule, Actions=[forward(by_group)])

    def healthy(self, name: str) -> int:
        """Return how many targets of a group are healthy."""
        found = self.elbv2.describe_target_health(TargetGroupArn=self.groups[name])["TargetHealthDescriptions"]
        return sum(each["TargetHealth"]["State"] == "healthy" for each in found)

    def services(self) -> list[str]:
        """Return the ECS services that are there."""
        found = self.ecs.describe_services(cluster=self.session.parameters.cluster, services=list(NAMES))["services"]
        return [service["serviceName"] for service in found if service["status"] == "ACTIVE"]


def forward(weights: Mapping[str, int]) -> dict[str, Any]:
    """Return an action that forwards to groups by ARN; a weight of None is left out."""
    groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    return {"Type": "forward", "Order": 2, "ForwardConfig": {"TargetGroups": groups}}


@cache
def account() -> str:
    """Return the account of all fronts: clients of another would have to be made again."""
    return str(next(ACCOUNTS))


@cache
def network() -> tuple[str, list[str]]:
    """Make a VPC with two subnets, once."""
    ec2 = other(account(), "ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"]
        for n, zone in enumerate("ab")
    ]
    return vpc, [subnet["SubnetId"] for subnet in subnets]


@cache
def clients() -> dict[str, Any]:
    """Return the sessions' clients, which are slow to make: one session fills them for all."""
    return {"sts": other(account(), "sts")}


def open_front(notebook: str = "05_shift_traffic", *, login: bool = False, **said: Any) -> Front:
    """Make what most teams have, all traffic on stable, and open a session of its shift."""
    name = f"shop-{next(NUMBERS)}"
    groups = {service: _group(f"{name}-{service}") for service in NAMES}
    rule = _rule(name, groups, login=login)
    _services(name, groups)
    settle()
    values = {
        **deepcopy(FILE),
        "environment": name,
        "account_id": account(),
        "region": REGION,
        "cluster": name,
        "services": {service: {"task_definition": f"{name}-{service}"} for service in NAMES},
        "alb": {"rule": rule, "target_groups": {service: f"{name}-{service}" for service in NAMES}},
        "records": str(record.root() / name),
    }
    session = reopen({**values, **said}, notebook, shared=clients())
    return Front(session, rule, groups)


def _group(name: str) -> str:
    elbv2 = other(account(), "elbv2")
    settings = {"Protocol": "HTTP", "Port": 80, "VpcId": network()[0], "TargetType": "ip"}
    group: str = elbv2.create_target_group(Name=name, **settings)["TargetGroups"][0]["TargetGroupArn"]
    delay = {"Key": "deregistration_delay.timeout_seconds", "Value": "0"}
    elbv2.modify_target_group_attributes(TargetGroupArn=group, Attributes=[delay])
    return group


def _rule(name: str, groups: Mapping[str, str], *, login: bool) -> str:
    elbv2 = other(account(), "elbv2")
    made = elbv2.create_load_balancer(Name=name, Scheme="internal", Subnets=network()[1])["LoadBalancers"][0]
    answer = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}
    listener = elbv2.create_listener(
        LoadBalancerArn=made["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=[answer]
    )
    action = forward({groups["web"]: 100, groups["web-v2"]: 0})
    rule: str = elbv2.create_rule(
        ListenerArn=listener["Listeners"][0]["ListenerArn"],
        Priority=100,
        Conditions=[HOST],
        Actions=[LOGIN, action] if login else [action],
        Tags=[{"Key": "team", "Value": "shop"}],
    )["Rules"][0]["RuleArn"]
    return rule


def _services(cluster: str, groups: Mapping[str, str]) -> None:
    other(account(), "ecs").create_cluster(clusterName=cluster)
    execution = f"arn:aws:iam::{account()}:role/{cluster}-execution"
    for name, group in groups.items():
        behind = {"targetGroupArn": group, "containerName": "app", "containerPort": 80}
        deploy(cluster, name, behind, executionRoleArn=execution)


def deploy(cluster: str, name: str, *behind: Mapping[str, Any], **said: Any) -> None:
    """Make a service of two tasks, behind these load balancers; `said` goes into its task definition."""
    ecs = other(account(), "ecs")
    ecs.register_task_definition(**definition(f"{cluster}-{name}", **said))
    ecs.create_service(
        cluster=cluster,
        serviceName=name,
        taskDefinition=f"{cluster}-{name}",
        desiredCount=2,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": network()[1]}},
        loadBalancers=list(behind),
    )


def again(front: Front, notebook: str = "05_shift_traffic", **more: Any) -> Front:
    """Open the same account as a notebook opened later does."""
    named = {"environment": front.session.parameters.environment, **more}
    return Front(reopen(front.session, notebook, **named), front.rule, front.groups)
