"""The AWS-managed policies a mesh needs, put where moto looks for them.

moto knows all of them only after parsing 1,500 documents (1.2 s, for each
account); these three are what the runbook attaches. It writes to moto's IAM
store and nowhere else.
"""

from __future__ import annotations

from typing import Any, Final

from moto.utilities.utils import get_partition

from runbook_lib.local.control_plane.wire import Target

__all__ = ["MANAGED_POLICIES", "ensure_managed_policies"]


def _policy(*actions: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}],
    }


MANAGED_POLICIES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "AWSAppMeshEnvoyAccess": ("/", _policy("appmesh:StreamAggregatedResources")),
    "AWSXRayDaemonWriteAccess": (
        "/",
        _policy(
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            "xray:GetSamplingStatisticSummaries",
        ),
    ),
    "AmazonECSTaskExecutionRolePolicy": (
        "/service-role/",
        _policy(
            "ecr:GetAuthorizationToken",
            "ecr:BatchCheckLayerAvailability",
            "ecr:GetDownloadUrlForLayer",
            "ecr:BatchGetImage",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ),
    ),
}


def ensure_managed_policies(target: Target) -> None:
    """Add the three policies to the account of an IAM call, unless they are there."""
    if target.service != "iam":
        return
    from moto.iam.models import AWSManagedPolicy, iam_backends

    partition = get_partition(target.region)
    store = iam_backends[target.account][partition]
    for name, (path, document) in MANAGED_POLICIES.items():
        if f"arn:{partition}:iam::aws:policy{path}{name}" not in store.managed_policies:
            policy = AWSManagedPolicy.from_data(
                name, target.account, target.region, _data(path, document)
            )
            store.managed_policies[policy.arn] = policy
            store.aws_managed_policies.append(policy)


def _data(path: str, document: dict[str, Any]) -> dict[str, Any]:
    return {
        "Path": path,
        "Document": document,
        "DefaultVersionId": "v1",
        "CreateDate": "2019-03-18T00:00:00+00:00",
        "UpdateDate": "2019-03-18T00:00:00+00:00",
    }
