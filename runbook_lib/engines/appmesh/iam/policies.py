"""Say what an Envoy's role must be allowed, and what policies allow. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from runbook_lib.aws.naming import fitting, partition
from runbook_lib.engines.appmesh.spec import node_arn
from runbook_lib.parameters import Parameters

STREAM = "appmesh:StreamAggregatedResources"
TRACE = "xray:PutTraceSegments"
ENVOY_ACCESS = "AWSAppMeshEnvoyAccess"
XRAY_ACCESS = "AWSXRayDaemonWriteAccess"
MANAGED = (ENVOY_ACCESS, XRAY_ACCESS)
MOST_NAME = 128  # characters of a policy's name


def policy(p: Parameters, service: str) -> dict[str, Any]:
    """Return the least policy an Envoy needs: to stream its own
    node's configuration.
    """
    statement = {
        "Effect": "Allow",
        "Action": STREAM,
        "Resource": [node_arn(p, service)],
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def policy_name(p: Parameters, service: str) -> str:
    """Return the name of the policy that the runbook writes for a service's Envoy."""
    return fitting(f"runbook-envoy-{p.mesh.name}-{service}", MOST_NAME)


def managed_arn(p: Parameters, managed: str) -> str:
    """Return the ARN of one of AWS's own policies."""
    return f"arn:{partition(p)}:iam::aws:policy/{managed}"


def allows(documents: Iterable[Any], action: str, resource: str) -> bool:
    """Tell what a role's policies say together: one that denies outweighs every
    other that allows.

    Conditions are not evaluated: what is denied under one (outside of a region, say) is
    taken for allowed.
    """
    allowed = False
    for statement in _statements(documents):
        if not _is_about(statement, action, resource):
            continue
        if statement["Effect"] == "Allow":
            allowed = True
        elif statement["Effect"] == "Deny" and not statement.get("Condition"):
            return False
    return allowed


def _statements(documents: Iterable[Any]) -> list[Mapping[str, Any]]:
    statements = []
    for document in documents:
        if document:
            statements += _listed(document.get("Statement"))
    return statements


def _is_about(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    """Tell whether a statement speaks of an action, in any case, on a resource."""
    actions = [str(each).lower() for each in _listed(statement.get("Action"))]
    resources = [str(each) for each in _listed(statement.get("Resource"))]
    return _matches(action.lower(), actions) and _matches(resource, resources)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _listed(value: Any) -> list[Any]:
    """Return one or more of something as a list: IAM writes one without."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
