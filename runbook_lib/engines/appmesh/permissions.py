"""Say which permissions a role needs at App Mesh, and beside it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runbook_lib.aws.naming import arn, partition, role_arn
from runbook_lib.aws.permissions import Statement, reads, up_to
from runbook_lib.aws.roles import Role
from runbook_lib.engines.appmesh.route import trial_name
from runbook_lib.engines.appmesh.spec import mesh_arn, node_arn
from runbook_lib.parameters import Parameters

KINDS = ("Mesh", "Route", "VirtualNode", "VirtualRouter", "VirtualService")
LISTS = (
    "Routes",
    "TagsForResource",
    "VirtualGateways",
    "VirtualNodes",
    "VirtualRouters",
    "VirtualServices",
)
DISCOVERY = ("GetInstance", "ListInstances", "ListNamespaces", "ListServices")
OF_INSTANCES = (
    "servicediscovery:RegisterInstance",
    "servicediscovery:DeregisterInstance",
)
OF_ROLES = (
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:ListAttachedRolePolicies",
    "iam:ListRolePolicies",
)
OF_POLICIES = ("iam:GetPolicy", "iam:GetPolicyVersion")
TO_ROLES = ("iam:DeleteRolePolicy", "iam:PutRolePolicy")
MANAGED = (
    "iam:AttachRolePolicy",
    "iam:DetachRolePolicy",
    "iam:TagRole",
    "iam:UntagRole",
)


def permissions(p: Parameters, role: Role) -> list[Statement]:
    """Return what a role needs beside what every engine needs."""
    by_role: dict[Role, Iterable[Statement]] = {
        "reader": _reader(p),
        "shifter": _shifter(p),
        "builder": _builder(p),
    }
    return up_to(role, by_role)


def _reader(p: Parameters) -> Iterator[Statement]:
    describes = (f"appmesh:Describe{kind}" for kind in KINDS)
    lists = (f"appmesh:List{kind}" for kind in LISTS)
    yield Statement("LookAtTheMesh", (*describes, *lists), _whole(p))
    every = ("appmesh:ListMeshes", *(f"servicediscovery:{each}" for each in DISCOVERY))
    yield reads(p, "LookAround", *every)
    yield Statement("LookWhoSigns", OF_ROLES, (role_arn(p, "*"),))
    policies = f"arn:{partition(p)}:iam::*:policy/*"
    yield Statement("LookAtPolicies", OF_POLICIES, (policies,))


def _shifter(p: Parameters) -> Iterator[Statement]:
    nodes = [node_arn(p, name) for name in p.shift.versions]
    route = _route(p, p.route)
    yield Statement("MoveWeights", ("appmesh:UpdateRoute",), (route, *nodes))
    yield Statement("MarkWhoRolledBack", ("appmesh:TagResource",), (route,))
    if p.shift.trial is not None:
        trial = _route(p, trial_name(p.route))
        both = ("appmesh:CreateRoute", "appmesh:DeleteRoute", "appmesh:TagResource")
        yield Statement("Try", both, (trial, *nodes))


def _builder(p: Parameters) -> Iterator[Statement]:
    changes = []
    for kind in KINDS:
        changes += [f"appmesh:Create{kind}", f"appmesh:Delete{kind}"]
    changes += [f"appmesh:Update{kind}" for kind in KINDS]
    tags = ("appmesh:TagResource", "appmesh:UntagResource")
    yield Statement("BuildTheMesh", (*changes, *tags), _whole(p))
    names = arn(p, "servicediscovery", "service/*")
    yield Statement("KeepTheName", OF_INSTANCES, (names,))
    if p.iam.manage:
        actions = TO_ROLES if p.iam.policy == "node" else (*TO_ROLES, *MANAGED)
        yield Statement("LetEnvoySign", actions, (role_arn(p, "*"),))


def _whole(p: Parameters) -> tuple[str, ...]:
    mesh = mesh_arn(p)
    return mesh, f"{mesh}/*"


def _route(p: Parameters, name: str) -> str:
    return f"{mesh_arn(p)}/virtualRouter/{p.router}/route/{name}"
