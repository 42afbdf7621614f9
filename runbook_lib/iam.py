"""Read whether each task's Envoy can sign its requests, and plan the permission it lacks (tutorial, step 6).

The only caller of the IAM client. `read_` reads, `plan_` functions are pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from runbook_lib.mesh_spec import Lifecycle, node_arn
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Change, Evidence, Inverse, Plan, Reading, differences
from runbook_lib.session import Session

__all__ = [
    "Credentials",
    "evidence",
    "plan_credentials",
    "plan_credentials_end",
    "policy",
    "read_credentials",
    "role_arns",
]

STREAM = "appmesh:StreamAggregatedResources"
TRACE = "xray:PutTraceSegments"
MANAGED = {"envoy": "AWSAppMeshEnvoyAccess", "xray": "AWSXRayDaemonWriteAccess"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs for one service's Envoy: the role, where it comes from, what it may do.

    `role` is "" where no role can sign; `source` says task role, instance role, or why there is none.
    """

    service: str
    role: str
    source: str
    arn: str = ""
    may_stream: bool = False
    may_trace: bool = False
    policies: Sequence[str] = ()


def read_credentials(session: Session, definitions: Mapping[str, Mapping[str, Any] | None]) -> list[Credentials]:
    """Read, for each service's running definition, the role its Envoy signs with and whether that may stream."""
    return [_read(session, name, definition or {}) for name, definition in definitions.items()]


def _read(session: Session, name: str, definition: Mapping[str, Any]) -> Credentials:
    p = session.parameters
    role, source = _role(p, name, definition)
    found = _role_reading(role) if role else None
    arn = session.read(found) if found else None
    if arn is None:
        return Credentials(name, "", source if not role else f"role {role} does not exist")
    documents = dict(_documents(session, role))
    may = {a: any(_allows(d, a, node_arn(p, name)) for d in documents.values()) for a in (STREAM, TRACE)}
    return Credentials(name, role, source, arn, may[STREAM], may[TRACE], tuple(documents))


def _role(p: Parameters, name: str, definition: Mapping[str, Any]) -> tuple[str, str]:
    """Choose the role: a task role always on Fargate and where EC2's metadata is blocked, else also the instance's."""
    given = str(definition.get("taskRoleArn") or "").rsplit("/", 1)[-1] or p.services[name].task_role
    if given:
        return given, "task role"
    if p.launch_type_of(name) == "EC2" and not p.iam.metadata_blocked and p.iam.instance_role:
        return p.iam.instance_role, "instance role"
    needs = "Fargate" if p.launch_type_of(name) == "FARGATE" else "EC2 without an instance role it can reach"
    return "", f"none: {needs} needs a task role; name one as services.{name}.task_role"


def _role_reading(role: str) -> Reading:
    return Reading(Call("iam", "get_role", {"RoleName": role}), "Role.Arn", absent=("NoSuchEntity",))


def _documents(session: Session, role: str) -> Iterator[tuple[str, Any]]:
    for name in session.pages("iam", "list_role_policies", "PolicyNames", RoleName=role):
        yield name, session.read(_inline(role, name))
    for attached in session.pages("iam", "list_attached_role_policies", "AttachedPolicies", RoleName=role):
        arn = attached["PolicyArn"]
        version = session.read(Reading(Call("iam", "get_policy", {"PolicyArn": arn}), "Policy.DefaultVersionId"))
        call = Call("iam", "get_policy_version", {"PolicyArn": arn, "VersionId": version})
        yield attached["PolicyName"], session.read(Reading(call, "PolicyVersion.Document"))


def _inline(role: str, name: str) -> Reading:
    call = Call("iam", "get_role_policy", {"RoleName": role, "PolicyName": name})
    return Reading(call, "PolicyDocument", absent=("NoSuchEntity",))


def _allows(document: Any, action: str, resource: str) -> bool:
    statements = _listed((document or {}).get("Statement"))
    hits = [s for s in statements if _matches(s.get("Action"), action) and _matches(s.get("Resource"), resource)]
    return any(s["Effect"] == "Allow" for s in hits) and not any(s["Effect"] == "Deny" for s in hits)


def _matches(patterns: Any, value: str) -> bool:
    return any(fnmatchcase(value.lower(), str(pattern).lower()) for pattern in _listed(patterns))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def role_arns(credentials: Sequence[Credentials]) -> dict[str, str]:
    """Return the task role's ARN for each service that has one."""
    return {c.service: c.arn for c in credentials if c.role and c.source == "task role"}


def policy(p: Parameters, service: str) -> dict[str, Any]:
    """Return the least policy an Envoy needs: to stream its own node's configuration."""
    statement = {"Effect": "Allow", "Action": STREAM, "Resource": [node_arn(p, service)]}
    return {"Version": "2012-10-17", "Statement": [statement]}


def evidence(p: Parameters, life: Lifecycle, credentials: Sequence[Credentials], planned: Plan) -> Evidence:
    """Return whether every Envoy will be able to sign, once `planned` is applied."""
    covered = {change.name for change in planned}
    lacking = [
        f"{c.service}: {c.source if not c.role else f'{c.role} may not {STREAM} on its node'}"
        for c in credentials
        if c.service not in life.retired and not c.may_stream and _title(p, c, "envoy") not in covered
    ]
    documents = "; ".join(json.dumps(policy(p, c.service)) for c in credentials if c.role and not c.may_stream)
    hint = f"attach to the role: {documents}" if documents else "give the service a task role"
    return Evidence("credentials", not lacking, "; ".join(lacking) or "every Envoy can sign", hint if lacking else "")


def plan_credentials(p: Parameters, life: Lifecycle, credentials: Sequence[Credentials]) -> Plan:
    """Plan the permission each role lacks, where the parameters let the runbook manage IAM."""
    changes: dict[str, Change] = {}
    for c in credentials if p.iam.manage else ():
        if not c.role or c.service in life.retired:
            continue
        if not c.may_stream:
            change = _attach(p, c, "envoy") if p.iam.policy == "managed" else _put(p, c)
            changes[change.name] = change
        if p.envoy.xray and not c.may_trace:
            change = _attach(p, c, "xray")
            changes[change.name] = change
    return Plan("04_register_task_definitions", tuple(changes.values()), needs=("earlier steps",))


def plan_credentials_end(session: Session, credentials: Sequence[Credentials]) -> Plan:
    """Plan the end of the policies the runbook put on roles: those that carry its name."""
    p = session.parameters
    changes = []
    for c in credentials:
        name = _policy_name(p, c.service)
        document = session.read(_inline(c.role, name)) if name in c.policies else None
        if document:
            changes.append(_unput(c, name, document))
    return Plan("90_remove_mesh", tuple(changes))


def _policy_name(p: Parameters, service: str) -> str:
    return f"runbook-envoy-{p.mesh.name}-{service}"[:128]


def _title(p: Parameters, c: Credentials, what: str) -> str:
    if what == "envoy" and p.iam.policy == "node":
        return f"policy {_policy_name(p, c.service)} on {c.role}"
    return f"policy {MANAGED[what]} on {c.role}"


def _put(p: Parameters, c: Credentials) -> Change:
    name, document = _policy_name(p, c.service), policy(p, c.service)
    where = {"RoleName": c.role, "PolicyName": name}
    return Change(
        name=_title(p, c, "envoy"),
        verb="create",
        call=Call("iam", "put_role_policy", {**where, "PolicyDocument": json.dumps(document)}),
        reading=_inline(c.role, name),
        expected=None,
        wanted=document,
        inverse=Inverse("delete", Call("iam", "delete_role_policy", where), wanted=None),
        diff=differences({}, document),
    )


def _unput(c: Credentials, name: str, document: Mapping[str, Any]) -> Change:
    where = {"RoleName": c.role, "PolicyName": name}
    again = Call("iam", "put_role_policy", {**where, "PolicyDocument": json.dumps(document)})
    return Change(
        name=f"policy {name} on {c.role}",
        verb="delete",
        call=Call("iam", "delete_role_policy", where),
        reading=_inline(c.role, name),
        expected=document,
        wanted=None,
        inverse=Inverse("create", again, wanted=document),
        diff=differences(document, {}),
    )


def _attach(p: Parameters, c: Credentials, what: str) -> Change:
    partition = "aws-cn" if p.region.startswith("cn-") else "aws"
    where = {"RoleName": c.role, "PolicyArn": f"arn:{partition}:iam::aws:policy/{MANAGED[what]}"}
    query = f"AttachedPolicies[?PolicyName=='{MANAGED[what]}'].PolicyName | [0]"
    return Change(
        name=_title(p, c, what),
        verb="attach",
        call=Call("iam", "attach_role_policy", where),
        reading=Reading(Call("iam", "list_attached_role_policies", {"RoleName": c.role}), query),
        expected=None,
        wanted=MANAGED[what],
        inverse=Inverse("detach", Call("iam", "detach_role_policy", where), wanted=None),
        diff=differences(None, MANAGED[what], "policy"),
    )
