"""Say which permissions a role needs, as an IAM policy. Pure.

A role has what the one before it has: a reader looks, a shifter moves weights and rolls
back, a builder does and undoes all else. Here is what every engine needs; what carries
the weights, each engine says. Source: the Service Authorization Reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook_lib.aws.naming import arn, partition, role_arn
from runbook_lib.aws.roles import ROLES, Role
from runbook_lib.parameters import Parameters

READS = (
    "application-autoscaling:DescribeScalableTargets",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricData",
    "ecs:DescribeServiceRevisions",
    "ecs:DescribeServices",
    "ecs:DescribeTaskDefinition",
    "ecs:DescribeTasks",
    "ecs:ListServices",
    "ecs:ListTaskDefinitions",
    "ecs:ListTasks",
)


@dataclass(frozen=True, slots=True)
class Statement:
    """Actions that are allowed on resources: conditions by operator, key and value."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def up_to(role: Role, by_role: Mapping[Role, Iterable[Statement]]) -> list[Statement]:
    """Return the statements of a role and of those before it."""
    had = ROLES[: ROLES.index(role) + 1]
    return [statement for each in had for statement in by_role.get(each, ())]


def reads(p: Parameters, sid: str, *actions: str) -> Statement:
    """Return a statement of reads, which many services scope by the region alone."""
    here = {"StringEquals": {"aws:RequestedRegion": p.region}}
    return Statement(sid, actions, ("*",), here)


def permissions(p: Parameters, role: Role) -> list[Statement]:
    """Return what a role needs whatever carries the weights."""
    by_role: dict[Role, Iterable[Statement]] = {
        "reader": [reads(p, "Look", *READS), *_reads_records(p)],
        "shifter": [_keep_tasks(p), *_keeps_records(p)],
        "builder": _services(p),
    }
    return up_to(role, by_role)


def _keep_tasks(p: Parameters) -> Statement:
    action = "application-autoscaling:RegisterScalableTarget"
    return _scaling(p, "KeepTheTasksOfStable", action)


def _scaling(p: Parameters, sid: str, action: str) -> Statement:
    of_services = {
        "application-autoscaling:service-namespace": "ecs",
        "application-autoscaling:scalable-dimension": "ecs:service:DesiredCount",
    }
    target = arn(p, "application-autoscaling", "scalable-target/*")
    return Statement(sid, (action,), (target,), {"StringEquals": of_services})


def _reads_records(p: Parameters) -> list[Statement]:
    """Return what reading the records takes that are kept in a bucket."""
    bucket, objects = _bucket(p)
    if not bucket:
        return []
    beneath = {"StringLike": {"s3:prefix": [objects]}}
    return [
        Statement("ReadRecords", ("s3:GetObject",), (f"{bucket}/{objects}",)),
        Statement("ListRecords", ("s3:ListBucket",), (bucket,), beneath),
    ]


def _keeps_records(p: Parameters) -> list[Statement]:
    """Return what keeping records in a bucket takes."""
    bucket, objects = _bucket(p)
    resource = f"{bucket}/{objects}"
    return [Statement("KeepRecords", ("s3:PutObject",), (resource,))] if bucket else []


def _bucket(p: Parameters) -> tuple[str, str]:
    """Return the ARN of the bucket that records are kept in, "" for none, and which
    of its objects they are.
    """
    if not p.bucket:
        return "", ""
    bucket, _, prefix = p.bucket.removeprefix("s3://").partition("/")
    objects = f"{prefix}/*" if prefix else "*"
    return f"arn:{partition(p)}:s3:::{bucket}", objects


def _services(p: Parameters) -> list[Statement]:
    names = [p.ecs_service_of(name) for name in p.services]
    families = dict.fromkeys(each.task_definition for each in p.services.values())
    services = tuple(arn(p, "ecs", f"service/{p.cluster}/{name}") for name in names)
    revisions = tuple(arn(p, "ecs", f"task-definition/{name}:*") for name in families)
    here = {"StringEquals": {"aws:RequestedRegion": p.region}}
    made = {"ecs:CreateAction": ["CreateService", "RegisterTaskDefinition"]}
    to_tasks = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    moves = ("ecs:CreateService", "ecs:DeleteService", "ecs:UpdateService")
    end = "application-autoscaling:DeregisterScalableTarget"
    return [
        Statement("MoveServices", moves, services),
        Statement("MakeRevisions", ("ecs:RegisterTaskDefinition",), revisions),
        Statement("EndRevisions", ("ecs:DeregisterTaskDefinition",), ("*",), here),
        Statement(
            "TagWhatIsMade",
            ("ecs:TagResource",),
            (*services, *revisions),
            {"StringEquals": made},
        ),
        Statement(
            "GiveTasksTheirRoles",
            ("iam:PassRole",),
            (role_arn(p, "*"),),
            {"StringEquals": to_tasks},
        ),
        _scaling(p, "EndScaling", end),
    ]


def document(statements: Iterable[Statement]) -> dict[str, Any]:
    """Return statements as IAM takes them."""
    return {
        "Version": "2012-10-17",
        "Statement": [_as_said(statement) for statement in statements],
    }


def _as_said(statement: Statement) -> dict[str, Any]:
    said: dict[str, Any] = {
        "Sid": statement.sid,
        "Effect": "Allow",
        "Action": list(statement.actions),
        "Resource": list(statement.resources),
    }
    if statement.conditions:
        said["Condition"] = {
            key: dict(test) for key, test in statement.conditions.items()
        }
    return said
