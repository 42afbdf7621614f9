"""A load balancer of plain values: one rule, two target groups, and a session whose engine shifts it.

It answers as AWS does where the engine depends on it: a lone group is said twice, a weight
that is left out is 1, what a call does not name stays.
"""

from __future__ import annotations

import atexit
import itertools
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from runbook_lib import open_session, record, survey
from runbook_lib.aws.session import Connection, Session
from runbook_lib.survey import Survey
from tests.mock_engine import ACCOUNT, Clock, Ecs, Metrics, Pages, Scaling, Sts
from tests.scenes import in_turn

OWN = f"arn:aws:elasticloadbalancing:eu-central-1:{ACCOUNT}"
LISTENER = f"{OWN}:listener/app/shop/50dc6c495c0c9188/f2f7dc8efc522ab2"
RULE = f"{OWN}:listener-rule/app/shop/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee"
TRIAL = f"{RULE[:-16]}0000000000000001"
NUMBERS = itertools.count(1)

FILE: dict[str, Any] = {
    "environment": "shop",
    "target": "aws",
    "engine": "alb",
    "account_id": ACCOUNT,
    "region": "eu-central-1",
    "mode": "apply",
    "cluster": "shop",
    "services": {"web": {"task_definition": "web"}, "web-v2": {"task_definition": "web-v2"}},
    "alb": {"rule": RULE},
    "shift": {"name": "shop.test", "stable": "web", "canary": "web-v2", "steps": [5, 25, 100], "bake_seconds": 600},
}


def group(name: str) -> str:
    """Return the ARN of a target group."""
    return f"{OWN}:targetgroup/{name}/{sum(map(ord, name)):016x}"


def forward(stickiness: dict[str, Any] | None = None, **weights: int) -> dict[str, Any]:
    """Return an action that forwards to groups by these weights; `web_v2` is the group web-v2."""
    groups = [{"TargetGroupArn": group(name.replace("_", "-")), "Weight": w} for name, w in weights.items()]
    config = {"TargetGroups": groups, "TargetGroupStickinessConfig": stickiness or {"Enabled": False}}
    return {"Type": "forward", "Order": 1, "ForwardConfig": config}


def not_found(what: str) -> ClientError:
    return ClientError({"Error": {"Code": f"{what}NotFound", "Message": "One or more not found"}}, "Describe")


@dataclass
class Elb:
    """What Elastic Load Balancing has; it answers calls as a client does."""

    actions: list[dict[str, Any]] | None = None
    conditions: list[dict[str, Any]] = field(default_factory=list)
    transforms: list[dict[str, Any]] = field(default_factory=list)
    default: bool = False
    priority: str = "100"
    others: list[dict[str, Any]] = field(default_factory=list)
    trial: dict[str, Any] | None = None  # the rule before all others, and its tags
    tags: dict[str, str] = field(default_factory=dict)
    groups: list[str] = field(default_factory=lambda: ["web", "web-v2"])
    version: str = "HTTP1"
    attributes: dict[str, str] = field(default_factory=lambda: {"deregistration_delay.timeout_seconds": "30"})
    health: dict[str, list[str]] = field(default_factory=lambda: {"web": ["healthy"] * 2, "web-v2": ["healthy"] * 2})
    calls: list[str] = field(default_factory=list)
    after: Callable[[Elb], None] = lambda elb: None
    """What somebody else does just after a write."""

    @property
    def weights(self) -> dict[str, int]:
        """The weights by the groups' names."""
        action = next(action for action in self.actions or () if action["Type"] == "forward")
        groups = action["ForwardConfig"]["TargetGroups"]
        return {each["TargetGroupArn"].split("/")[-2]: each["Weight"] for each in groups}

    def rule(self) -> dict[str, Any]:
        actions = deepcopy(self.actions)
        return {
            "RuleArn": RULE,
            "Priority": "default" if self.default else self.priority,
            "IsDefault": self.default,
            "Conditions": deepcopy(self.conditions),
            "Transforms": deepcopy(self.transforms),
            "Actions": actions,
        }

    def describe_rules(self, RuleArns: list[str] | None = None, ListenerArn: str = "") -> dict[str, Any]:
        if ListenerArn:
            return {"Rules": [*([self.trial] if self.trial else []), self.rule(), *self.others]}
        if self.trial and RuleArns == [TRIAL]:
            return {"Rules": [self.trial]}
        if self.actions is None or RuleArns != [RULE]:
            raise not_found("Rule")
        return {"Rules": [self.rule()]}

    def modify_rule(self, RuleArn: str, Actions: list[dict[str, Any]]) -> dict[str, Any]:
        self.calls.append("modify_rule")
        self.actions = deepcopy(Actions)
        for action in self.actions:
            groups = action.get("ForwardConfig", {}).get("TargetGroups", [])
            for each in groups:
                each.setdefault("Weight", 1)
            if len(groups) == 1:
                action["TargetGroupArn"] = groups[0]["TargetGroupArn"]
        answer = {"Rules": [self.rule()]}
        self.after(self)
        return answer

    def create_rule(self, **said: Any) -> dict[str, Any]:
        self.calls.append("create_rule")
        self.trial = {"RuleArn": TRIAL, **said, "Priority": str(said["Priority"]), "IsDefault": False}
        return {"Rules": [self.trial]}

    def delete_rule(self, RuleArn: str) -> dict[str, Any]:
        assert RuleArn == TRIAL
        self.calls.append("delete_rule")
        self.trial = None
        return {}

    def describe_tags(self, ResourceArns: list[str]) -> dict[str, Any]:
        if self.trial and ResourceArns == [TRIAL]:
            return {"TagDescriptions": [{"ResourceArn": TRIAL, "Tags": self.trial.get("Tags", [])}]}
        tags = [{"Key": key, "Value": value} for key, value in self.tags.items()]
        return {"TagDescriptions": [{"ResourceArn": ResourceArns[0], "Tags": tags}]}

    def add_tags(self, ResourceArns: list[str], Tags: list[dict[str, str]]) -> dict[str, Any]:
        self.calls.append("add_tags")
        self.tags |= {tag["Key"]: tag["Value"] for tag in Tags}
        return {}

    def remove_tags(self, ResourceArns: list[str], TagKeys: list[str]) -> dict[str, Any]:
        self.calls.append("remove_tags")
        self.tags = {key: value for key, value in self.tags.items() if key not in TagKeys}
        return {}

    def describe_target_groups(self, Names: list[str]) -> dict[str, Any]:
        if Names[0] not in self.groups:
            raise not_found("TargetGroup")
        load_balancer = f"{OWN}:loadbalancer/app/shop/50dc6c495c0c9188"
        said = {"TargetGroupArn": group(Names[0]), "ProtocolVersion": self.version, "LoadBalancerArns": [load_balancer]}
        return {"TargetGroups": [said]}

    def describe_target_group_attributes(self, TargetGroupArn: str) -> dict[str, Any]:
        return {"Attributes": [{"Key": key, "Value": value} for key, value in self.attributes.items()]}

    def describe_target_health(self, TargetGroupArn: str) -> dict[str, Any]:
        states = self.health[TargetGroupArn.split("/")[-2]]
        return {"TargetHealthDescriptions": [{"TargetHealth": {"State": state}} for state in states]}

    def get_paginator(self, operation: str) -> Pages:
        if operation == "describe_listeners":
            return Pages(lambda **_: {"Listeners": [{"ListenerArn": LISTENER}]})
        return Pages(lambda **_: {"Rules": [self.rule(), *self.others]})


@dataclass
class Services(Ecs):
    """ECS, whose two services register their tasks in the groups of their names."""

    elb: Elb = field(default_factory=Elb)
    tasks: dict[str, int] = field(default_factory=lambda: {"web": 2, "web-v2": 2})
    wanted_of: dict[str, int] = field(default_factory=dict)  # where not as many tasks run as are wanted
    strategy: str = "ROLLING"
    advanced: dict[str, Any] = field(default_factory=dict)

    def _service(self, name: str) -> dict[str, Any]:
        balancer = {"targetGroupArn": group(name), "containerName": "app", "containerPort": 8080}
        if self.advanced:
            balancer["advancedConfiguration"] = self.advanced
        revision = f"arn:aws:ecs:eu-central-1:{ACCOUNT}:task-definition/{name}:1"
        said = {
            "deployments": [{"status": "PRIMARY", "taskDefinition": revision, "rolloutState": "COMPLETED"}],
            "desiredCount": self.wanted_of.get(name, self.tasks[name]),
            "loadBalancers": [balancer],
            "deploymentConfiguration": {"strategy": self.strategy},
        }
        return {**super()._service(name), **said}

    def describe_task_definition(self, taskDefinition: str, **_: Any) -> dict[str, Any]:
        family = taskDefinition.rsplit("/", 1)[-1].split(":")[0]
        return {"taskDefinition": {"taskDefinitionArn": taskDefinition, "family": family}}

    def update_service(self, cluster: str, service: str, desiredCount: int) -> dict[str, Any]:
        self.elb.calls.append("update_service")
        self.tasks[service] = desiredCount
        self.elb.health[service] = ["healthy"] * desiredCount
        return {}

    def delete_service(self, cluster: str, service: str) -> dict[str, Any]:
        self.elb.calls.append("delete_service")
        del self.tasks[service]
        return {}

    def create_service(self, serviceName: str, loadBalancers: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        self.elb.calls.append("create_service")
        if loadBalancers[0]["targetGroupArn"].split("/")[-2] not in self.elb.weights:
            words = "The target group does not have an associated load balancer."
            raise ClientError({"Error": {"Code": "InvalidParameterException", "Message": words}}, "CreateService")
        self.tasks[serviceName] = 0
        return {}

    def list_tasks(self, cluster: str, serviceName: str) -> dict[str, Any]:
        return {"taskArns": [f"{serviceName}/{number}" for number in range(self.tasks[serviceName])]}

    def describe_tasks(self, cluster: str, tasks: list[str]) -> dict[str, Any]:
        return {"tasks": [{"taskArn": task, "lastStatus": "RUNNING"} for task in tasks]}


@dataclass
class GroupMetrics(Metrics):
    """What was counted in each period, by metric and target group, of this load balancer alone."""

    def _count(self, stat: dict[str, Any]) -> int:
        metric = stat["Metric"]
        self.asked.append(stat)
        return self.counts.get(self.named(metric), 0)

    @staticmethod
    def named(metric: dict[str, Any]) -> tuple[str, str]:
        """Return what a series is called here: its metric and its group, "" for all of the load balancer."""
        said = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
        own = metric["Namespace"] == "AWS/ApplicationELB" and said["LoadBalancer"] == "app/shop/50dc6c495c0c9188"
        name = said["TargetGroup"].split("/")[1] if "TargetGroup" in said else ""
        return (metric["MetricName"], name) if own else ("", "")


@dataclass
class Sky(GroupMetrics):
    """CloudWatch at AWS's grain, and time that passes only when somebody sleeps.

    Each minute brings requests, divided by the weights then in force. Of each version's a share fails with a 5XX,
    is refused, or hangs until the load balancer, or where they are `impatient` the caller, gives up.
    """

    elb: Elb = field(default_factory=lambda: Elb([forward(web=100, web_v2=0)]))
    rate: int = 12_000  # requests a minute
    fails: dict[str, float] = field(default_factory=dict)
    refused: dict[str, float] = field(default_factory=dict)
    hangs: dict[str, float] = field(default_factory=dict)
    impatient: bool = False
    now: float = 1_000_020.0
    made: dict[int, Counter[tuple[str, str]]] = field(default_factory=dict)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass; each full minute is published."""
        end = self.now + seconds
        while self.now < end:
            minute = int(self.now // 60) * 60
            self.now = min(end, minute + 60.0)
            if self.now == minute + 60:
                self.made[minute] = self._minute()

    def _minute(self) -> Counter[tuple[str, str]]:
        made: Counter[tuple[str, str]] = Counter()
        for name, weight in self.elb.weights.items():
            requests = self.rate * weight // 100
            failed, refused, hung = (
                int(requests * shares.get(name, 0.0)) for shares in (self.fails, self.refused, self.hangs)
            )
            made["RequestCount", name] = requests
            made["HTTPCode_Target_5XX_Count", name] = failed
            made["HTTPCode_Target_2XX_Count", name] = requests - failed - refused - hung
            made["TargetConnectionErrorCount", name] = refused * 4 // 5  # one of them may fail several requests
            made["HTTPCode_ELB_502_Count", ""] += refused
            made["HTTPCode_ELB_4XX_Count" if self.impatient else "HTTPCode_ELB_504_Count", ""] += hung
        return made

    def _page(self, MetricDataQueries: list[dict[str, Any]], StartTime: Any, EndTime: Any, **_: Any) -> dict[str, Any]:
        minutes = [at for at in sorted(self.made) if StartTime.timestamp() <= at < EndTime.timestamp()]
        results = []
        for query in MetricDataQueries:
            named = self.named(query["MetricStat"]["Metric"])
            counts = {at: self.made[at][named] for at in minutes if self.made[at][named]}  # sparse, as AWS's are
            moments = [datetime.fromtimestamp(at, UTC) for at in counts]
            results.append({"Id": query["Id"], "Timestamps": moments, "Values": [float(n) for n in counts.values()]})
        return {"MetricDataResults": results}


@dataclass
class Plain:
    """A session that shifts the rule, with all that it finds."""

    session: Session
    elb: Elb
    ecs: Services
    metrics: Metrics
    clock: Clock | Sky

    def look(self) -> Survey:
        """Take a fresh look."""
        return survey(self.session)


def open_alb(
    elb: Elb | None = None,
    notebook: str = "05_shift_traffic",
    *,
    traffic: bool = False,
    ecs: Services | None = None,
    sky: Sky | None = None,
    around: Callable[[Any], Any] = lambda client: client,
    **said: Any,
) -> Plain:
    """Open a session on a rule, all of whose traffic goes to stable unless it says otherwise.

    With a `sky` there is traffic, and time is the sky's.
    What is `around` each client of the load balancer and of ECS sees its calls first.
    """
    elb = sky.elb if sky else elb or Elb([forward(web=100, web_v2=0)])
    ecs, metrics, clock = ecs or Services(elb=elb), sky or GroupMetrics(), sky or Clock()
    records = record.root() / f"alb-{next(NUMBERS)}"
    clients = {
        "sts": Sts(),
        "elbv2": around(elb),
        "ecs": around(ecs),
        "application-autoscaling": Scaling(),
        "cloudwatch": metrics,
    }
    session = open_session(
        {**FILE, "records": str(records), **said},
        notebook,
        connect=lambda p: Connection("http://127.0.0.1:9", carries_traffic=traffic or sky is not None),
        sleep=clock.sleep,
        clock=clock,
        beside=in_turn,
        wall=clock,
        clients=clients,
    )
    atexit.unregister(session.close)  # its records are gone by then
    return Plain(session, elb, ecs, metrics, clock)
