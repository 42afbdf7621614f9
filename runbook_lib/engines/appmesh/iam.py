"""Read whether each task's Envoy can sign its requests, and plan the permission it
lacks (tutorial, step 6).

The only caller of the IAM client. `read_` reads, `plan_` functions are pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from runbook_lib.aws import ecs
from runbook_lib.aws.naming import fitting, partition
from runbook_lib.aws.reads import Reads
from runbook_lib.engines.appmesh.spec import node_arn
from runbook_lib.engines.protocol import Finding, Look
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Change, Inverse, Plan, Reading, differences, turned

STREAM = "appmesh:StreamAggregatedResources"
TRACE = "xray:PutTraceSegments"
MANAGED = (ENVOY_ACCESS, XRAY_ACCESS) = (
    "AWSAppMeshEnvoyAccess",
    "AWSXRayDaemonWriteAccess",
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs for one service's Envoy: the role, where it comes from, what it may do.

    `role` is "" where no role can sign; `source` says task role, instance role, or why
    there is none. `attached` are the managed policies that the runbook attached, as its
    mark on the role says.
    """

    service: str
    role: str
    source: str
    arn: str = ""
    may_stream: bool = False
    may_trace: bool = False
    policies: Sequence[str] = ()
    attached: Sequence[str] = ()


def who_signs(look: Look) -> list[Credentials]:
    """Return who signs for each service that is there, as this look found it."""
    return look.once(_who_signs)


def _who_signs(look: Look) -> list[Credentials]:
    there = {
        name: found.definition for name, found in look.running.items() if found.state
    }
    return read_credentials(look.reads, there)


def credentials_of_retired(look: Look) -> list[Credentials]:
    """Read who signed for services that are gone."""
    return read_credentials(look.reads, _last_definitions(look))


def _last_definitions(look: Look) -> dict[str, Mapping[str, Any]]:
    """Read, of each service that is gone, the newest definition of its family."""
    gone = [name for name, found in look.running.items() if not found.state]
    families = [look.parameters.services[name].task_definition for name in gone]
    last = look.reads.together(
        [partial(ecs.read_last_definition, look.reads, family) for family in families]
    )
    return {name: found for name, found in zip(gone, last, strict=True) if found}


def foreign(look: Look, inverse: Inverse) -> str:
    """Say why an undo may not write to a role: no Envoy of the file's services signs
    with it; "" where it may.
    """
    given = inverse.call.arguments
    if inverse.call.service != "iam" or not isinstance(given, Mapping):
        return ""
    role = given.get("RoleName")
    if role in look.once(_roles):
        return ""
    words = (
        f"role {role!r} is neither in {look.parameters.environment}'s file nor that "
        "of a service it names"
    )
    return f"{words}; where it is right, name it as services.NAME.task_role"


def _roles(look: Look) -> frozenset[str]:
    """Read every role that an Envoy may sign with: those in the file, and those in its
    services' definitions.

    The newest definition of a service that is gone may be another's, where
    both share a family.
    """
    p, found = look.parameters, look.running
    definitions = [
        (name, d) for name, r in found.items() for d in (r.definition, r.newest) if d
    ]
    for name in (name for name, r in found.items() if not r.state):
        family = p.services[name].task_definition
        definitions += [(name, d) for d in ecs.read_definitions(look.reads, family)]
    named = [
        p.iam.instance_role,
        *(service.task_role for service in p.services.values()),
    ]
    return frozenset(filter(None, [*named, *(task_role(p, *d) for d in definitions)]))


def read_credentials(
    session: Reads, definitions: Mapping[str, Mapping[str, Any] | None]
) -> list[Credentials]:
    """Read, for each service's running definition, the role its Envoy signs with and
    whether that may stream.
    """
    asks = [
        partial(_read, session, name, definition or {})
        for name, definition in definitions.items()
    ]
    return session.together(asks)


def _read(session: Reads, name: str, definition: Mapping[str, Any]) -> Credentials:
    p = session.parameters
    role, source = _role(p, name, definition)
    if not role:
        return Credentials(name, "", source)
    found = session.read(_role_reading(role))
    if found is None:
        return Credentials(name, "", f"role {role} does not exist")
    inline, attached = session.together(
        [
            partial(_inline_documents, session, role),
            partial(_attached_documents, session, role),
        ]
    )
    documents = {**inline, **attached}
    node = node_arn(p, name)
    marks = {tag["Key"] for tag in found["tags"] or []}
    return Credentials(
        service=name,
        role=role,
        source=source,
        arn=found["arn"],
        may_stream=_allows(documents.values(), STREAM, node),
        may_trace=_allows(documents.values(), TRACE, node),
        policies=tuple(documents),
        attached=tuple(managed for managed in MANAGED if _mark_key(managed) in marks),
    )


def _role_reading(role: str) -> Reading:
    get = Call("iam", "get_role", {"RoleName": role})
    return Reading(get, "Role.{arn: Arn, tags: Tags}", absent=("NoSuchEntity",))


def _role(p: Parameters, name: str, definition: Mapping[str, Any]) -> tuple[str, str]:
    """Choose the role, and say where it comes from.

    A task role always on Fargate and where EC2's metadata is blocked, else also the
    instance's.
    """
    given = task_role(p, name, definition)
    if given:
        return given, "task role"
    on_ec2 = p.launch_type_of(name) == "EC2"
    if on_ec2 and p.iam.instance_role and not p.iam.metadata_blocked:
        return p.iam.instance_role, "instance role"
    needs = "EC2 without an instance role it can reach" if on_ec2 else "Fargate"
    return "", f"none: {needs} needs a task role; name one as services.{name}.task_role"


def task_role(p: Parameters, name: str, definition: Mapping[str, Any]) -> str:
    """Return the name of a service's task role, as its definition
    says, else the file.
    """
    given = str(definition.get("taskRoleArn") or "").rsplit("/", 1)[-1]
    return given or p.services[name].task_role or ""


def _inline_documents(session: Reads, role: str) -> dict[str, Any]:
    """Read the policies that stand in a role itself, by name."""
    names = session.pages("iam", "list_role_policies", "PolicyNames", RoleName=role)
    asks = [partial(session.read, _inline(role, name)) for name in names]
    return dict(zip(names, session.together(asks), strict=True))


def _attached_documents(session: Reads, role: str) -> dict[str, Any]:
    """Read the policies that are attached to a role, by name."""
    listed = session.pages(
        "iam", "list_attached_role_policies", "AttachedPolicies", RoleName=role
    )
    names = [policy["PolicyName"] for policy in listed]
    asks = [partial(_managed_document, session, p["PolicyArn"]) for p in listed]
    return dict(zip(names, session.together(asks), strict=True))


def _managed_document(session: Reads, arn: str) -> Any:
    newest = Reading(
        Call("iam", "get_policy", {"PolicyArn": arn}), "Policy.DefaultVersionId"
    )
    call = Call("iam", "get_policy_version", {"PolicyArn": arn, "VersionId": newest})
    return session.read(Reading(call, "PolicyVersion.Document"))


def _inline(role: str, name: str) -> Reading:
    call = Call("iam", "get_role_policy", {"RoleName": role, "PolicyName": name})
    return Reading(call, "PolicyDocument", absent=("NoSuchEntity",))


def _allows(documents: Iterable[Any], action: str, resource: str) -> bool:
    """Tell what a role's policies say together: one that denies outweighs every
    other that allows.

    Conditions are not evaluated: what is denied under one (outside of a region, say) is
    taken for allowed.
    """
    allowed = False
    for statement in _statements(documents):
        if not (
            _names(statement.get("Action"), action)
            and _covers(statement.get("Resource"), resource)
        ):
            continue
        if statement["Effect"] == "Deny" and not statement.get("Condition"):
            return False
        if statement["Effect"] == "Allow":
            allowed = True
    return allowed


def _statements(documents: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for document in documents:
        yield from _listed((document or {}).get("Statement"))


def _names(actions: Any, action: str) -> bool:
    return any(
        fnmatchcase(action.lower(), str(pattern).lower())
        for pattern in _listed(actions)
    )


def _covers(resources: Any, resource: str) -> bool:
    return any(fnmatchcase(resource, str(pattern)) for pattern in _listed(resources))


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def role_arns(credentials: Sequence[Credentials]) -> dict[str, str]:
    """Return the task role's ARN for each service that has one."""
    return {c.service: c.arn for c in credentials if c.role and c.source == "task role"}


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


def finding(
    p: Parameters, life: Lifecycle, credentials: Sequence[Credentials], planned: Plan
) -> Finding:
    """Return whether every Envoy will be able to sign, once `planned` is applied."""
    covered = {change.name for change in planned}
    lacking = [
        c for c in _needing(life, credentials) if _streaming(p, c).name not in covered
    ]
    if not lacking:
        return Finding(True, "every Envoy has a role that may read its node")
    words = [f"{c.service}: {_lack(c)}" for c in lacking]
    hints = [_hint(p, c) for c in lacking]
    return Finding(False, "; ".join(words), "; ".join(hints))


def _needing(life: Lifecycle, credentials: Sequence[Credentials]) -> list[Credentials]:
    return [
        c for c in credentials if c.service not in life.retired and not c.may_stream
    ]


def _lack(c: Credentials) -> str:
    return f"{c.role} may not {STREAM} on its node" if c.role else c.source


def _hint(p: Parameters, c: Credentials) -> str:
    if c.role:
        return f"attach to role {c.role}: {json.dumps(policy(p, c.service))}"
    return (
        f"give {c.service} a task role, and name it as services.{c.service}.task_role"
    )


def lacking_traces(
    p: Parameters, credentials: Sequence[Credentials]
) -> list[Credentials]:
    """Return whose role may not write traces although the file wants X-Ray, and the
    runbook may not change that.
    """
    asked = p.envoy.xray and not p.iam.manage
    return [c for c in credentials if asked and c.role and not c.may_trace]


def plan_credentials(
    p: Parameters, life: Lifecycle, credentials: Sequence[Credentials]
) -> Plan:
    """Plan the permission each role lacks, where the parameters let the
    runbook manage IAM.
    """
    changes: list[Change] = []
    for c in credentials:
        if p.iam.manage and c.role and c.service not in life.retired:
            changes += _lacking(p, c)
    return Plan(
        "04_register_task_definitions",
        _each_once(changes),
    )


def _lacking(p: Parameters, c: Credentials) -> Iterator[Change]:
    if not c.may_stream:
        yield _streaming(p, c)
    if not c.may_stream and p.iam.policy == "managed":
        yield _mark(p, c, ENVOY_ACCESS)
    if p.envoy.xray and not c.may_trace:
        yield _attach(p, c, XRAY_ACCESS)
        yield _mark(p, c, XRAY_ACCESS)


def _streaming(p: Parameters, c: Credentials) -> Change:
    if p.iam.policy == "managed":
        return _attach(p, c, ENVOY_ACCESS)
    return _put(c, policy_name(p, c.service), policy(p, c.service))


def plan_credentials_end(session: Reads, credentials: Sequence[Credentials]) -> Plan:
    """Plan the end of the policies the runbook put on roles: those that carry its name,
    or that its mark names.
    """
    made: list[Change] = []
    for c in credentials:
        made += [*_own_policy(session, c), *_attached_by_us(session.parameters, c)]
    return Plan("90_remove_mesh", _each_once(map(turned, made)))


def _each_once(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Return each change once, about all services that share its role."""
    once: dict[str, Change] = {}
    for change in changes:
        known = once.get(change.thing, change)
        about = dict.fromkeys((*known.about, *change.about))
        once[change.thing] = replace(known, about=tuple(about))
    return tuple(once.values())


def _own_policy(session: Reads, c: Credentials) -> Iterator[Change]:
    """Yield the making of the policy that carries the runbook's name,
    where it is there.
    """
    name = policy_name(session.parameters, c.service)
    document = session.read(_inline(c.role, name)) if name in c.policies else None
    if document:
        yield _put(c, name, document)


def _attached_by_us(p: Parameters, c: Credentials) -> Iterator[Change]:
    """Yield the making of each attachment that the runbook's mark
    names, and of the mark.
    """
    for managed in c.attached:
        if managed in c.policies:  # somebody may have detached it
            yield _attach(p, c, managed)
        yield _mark(p, c, managed)


def policy_name(p: Parameters, service: str) -> str:
    """Return the name of the policy that the runbook writes for a service's Envoy."""
    return fitting(f"runbook-envoy-{p.mesh.name}-{service}", 128)


def _put(c: Credentials, name: str, document: Mapping[str, Any]) -> Change:
    where = {"RoleName": c.role, "PolicyName": name}
    return Change(
        name=f"policy {name} on {c.role}",
        verb="create",
        call=Call(
            "iam", "put_role_policy", {**where, "PolicyDocument": json.dumps(document)}
        ),
        reading=_inline(c.role, name),
        expected=None,
        wanted=document,
        about=_about(f"policy {name}", c),
        inverse=Inverse(
            "delete", Call("iam", "delete_role_policy", where), wanted=None
        ),
        diff=differences({}, document),
    )


def _attach(p: Parameters, c: Credentials, managed: str) -> Change:
    where = {
        "RoleName": c.role,
        "PolicyArn": f"arn:{partition(p)}:iam::aws:policy/{managed}",
    }
    query = f"AttachedPolicies[?PolicyName=='{managed}'].PolicyName | [0]"
    return Change(
        name=f"policy {managed} on {c.role}",
        verb="attach",
        call=Call("iam", "attach_role_policy", where),
        reading=Reading(
            Call("iam", "list_attached_role_policies", {"RoleName": c.role}), query
        ),
        expected=None,
        wanted=managed,
        about=_about(f"policy {managed}", c),
        inverse=Inverse(
            "detach", Call("iam", "detach_role_policy", where), wanted=None
        ),
        diff=differences(None, managed, "policy"),
    )


def _mark(p: Parameters, c: Credentials, managed: str) -> Change:
    """Return the change that marks a role with a policy that the runbook attached, so
    that 90 takes it away again.
    """
    key = _mark_key(managed)
    tag = Call(
        "iam",
        "tag_role",
        {"RoleName": c.role, "Tags": [{"Key": key, "Value": p.mesh.name}]},
    )
    untag = Call("iam", "untag_role", {"RoleName": c.role, "TagKeys": [key]})
    reading = Reading(
        Call("iam", "get_role", {"RoleName": c.role}),
        f"Role.Tags[?Key=='{key}'].Value | [0]",
    )
    return Change(
        name=f"policy {managed} on {c.role} as the runbook's",
        verb="mark",
        call=tag,
        reading=reading,
        expected=None,
        wanted=p.mesh.name,
        about=_about(f"tag {key}", c),
        inverse=Inverse("unmark", untag, wanted=None),
        diff=differences(None, p.mesh.name, key),
    )


def _about(what: str, c: Credentials) -> tuple[str, ...]:
    """Return what a change of a role is about: its part, and whose Envoy it is for."""
    return (f"{what} on role {c.role}", f"service {c.service}")


def _mark_key(managed: str) -> str:
    return f"runbook:{managed}"
