"""Read who signs for each Envoy: which role, where it comes from, what it may do.

`read_` functions and `who_signs` read; all others are pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from runbook_lib.aws import ecs
from runbook_lib.aws.reads import Reads, read_each
from runbook_lib.engines.appmesh.iam.policies import MANAGED, STREAM, TRACE, allows
from runbook_lib.engines.appmesh.spec import node_arn
from runbook_lib.engines.protocol import Look
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Inverse, Reading

Definition = Mapping[str, Any]


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
    definitions: dict[str, Definition | None] = {}
    for name, found in look.running.items():
        if found.state:
            definitions[name] = found.definition
    return read_credentials(look.reads, definitions)


def credentials_of_retired(look: Look) -> list[Credentials]:
    """Read who signed for services that are gone: by the newest definition of each
    one's family.
    """
    gone, asks = [], []
    for name, found in look.running.items():
        if not found.state:
            family = look.parameters.services[name].task_definition
            gone.append(name)
            asks.append(partial(ecs.read_last_definition, look.reads, family))
    definitions: dict[str, Definition | None] = {}
    for name, definition in zip(gone, look.reads.together(asks), strict=True):
        if definition:
            definitions[name] = definition
    return read_credentials(look.reads, definitions)


def role_arns(credentials: Sequence[Credentials]) -> dict[str, str]:
    """Return the task role's ARN for each service that has one."""
    arns = {}
    for each in credentials:
        if each.role and each.source == "task role":
            arns[each.service] = each.arn
    return arns


# --- one service's --------------------------------------------------------------------


def read_credentials(
    session: Reads, definitions: Mapping[str, Definition | None]
) -> list[Credentials]:
    """Read, for each service's running definition, the role its Envoy signs with and
    whether that may stream.
    """
    asks = []
    for name, definition in definitions.items():
        asks.append(partial(_read, session, name, definition or {}))
    return session.together(asks)


def _read(session: Reads, name: str, definition: Definition) -> Credentials:
    p = session.parameters
    signer = signer_of(p, name, definition)
    if not signer.role:
        return Credentials(name, "", signer.source)
    role = session.read(_role(signer.role))
    if role is None:
        return Credentials(name, "", f"role {signer.role} does not exist")
    documents = _read_documents(session, signer.role)
    node = node_arn(p, name)
    marks = {tag["Key"] for tag in role["tags"] or []}
    return Credentials(
        service=name,
        role=signer.role,
        source=signer.source,
        arn=role["arn"],
        may_stream=allows(documents.values(), STREAM, node),
        may_trace=allows(documents.values(), TRACE, node),
        policies=tuple(documents),
        attached=tuple(each for each in MANAGED if mark_key(each) in marks),
    )


def mark_key(managed: str) -> str:
    """Return the key of the tag that marks a policy on a role as attached by the
    runbook.
    """
    return f"runbook:{managed}"


def _role(role: str) -> Reading:
    get = Call("iam", "get_role", {"RoleName": role})
    return Reading(get, "Role.{arn: Arn, tags: Tags}", absent=("NoSuchEntity",))


# --- which role it is -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Signer:
    """The role that signs, and where it comes from; "" and why there is none."""

    role: str
    source: str


def signer_of(p: Parameters, name: str, definition: Definition) -> Signer:
    """Choose the role that signs for a service's Envoy.

    A task role always on Fargate and where EC2's metadata is blocked, else also the
    instance's.
    """
    given = task_role(p, name, definition)
    if given:
        return Signer(given, "task role")
    on_ec2 = p.launch_type_of(name) == "EC2"
    instance = p.iam.instance_role
    if on_ec2 and instance and not p.iam.metadata_blocked:
        return Signer(instance, "instance role")
    needs = "EC2 without an instance role it can reach" if on_ec2 else "Fargate"
    hint = f"name one as services.{name}.task_role"
    return Signer("", f"none: {needs} needs a task role; {hint}")


def task_role(p: Parameters, name: str, definition: Definition) -> str:
    """Return the name of a service's task role, as its definition
    says, else the file.
    """
    arn = str(definition.get("taskRoleArn") or "")
    return arn.rsplit("/", 1)[-1] or p.services[name].task_role or ""


# --- what it may do -------------------------------------------------------------------


def inline_policy(role: str, name: str) -> Reading:
    """Return how a policy that stands in a role itself is read."""
    call = Call("iam", "get_role_policy", {"RoleName": role, "PolicyName": name})
    return Reading(call, "PolicyDocument", absent=("NoSuchEntity",))


def _read_documents(session: Reads, role: str) -> dict[str, Any]:
    """Read what every policy of a role says, by the policy's name."""
    inline, attached = session.together(
        [
            partial(_read_inline, session, role),
            partial(_read_attached, session, role),
        ]
    )
    return {**inline, **attached}


def _read_inline(session: Reads, role: str) -> dict[str, Any]:
    """Read the policies that stand in a role itself, by name."""
    names = session.pages("iam", "list_role_policies", "PolicyNames", RoleName=role)
    readings = [inline_policy(role, name) for name in names]
    return dict(zip(names, read_each(session, readings), strict=True))


def _read_attached(session: Reads, role: str) -> dict[str, Any]:
    """Read the policies that are attached to a role, by name."""
    listed = session.pages(
        "iam", "list_attached_role_policies", "AttachedPolicies", RoleName=role
    )
    names = [each["PolicyName"] for each in listed]
    readings = [_managed_policy(each["PolicyArn"]) for each in listed]
    return dict(zip(names, read_each(session, readings), strict=True))


def _managed_policy(arn: str) -> Reading:
    """Return how the version of a policy is read that is in force."""
    get = Call("iam", "get_policy", {"PolicyArn": arn})
    newest = Reading(get, "Policy.DefaultVersionId")
    version = Call("iam", "get_policy_version", {"PolicyArn": arn, "VersionId": newest})
    return Reading(version, "PolicyVersion.Document")


# --- what an undo may write to --------------------------------------------------------


def foreign(look: Look, inverse: Inverse) -> str:
    """Say why an undo may not write to a role: no Envoy of the file's services signs
    with it; "" where it may.
    """
    given = inverse.call.arguments
    if inverse.call.service != "iam" or not isinstance(given, Mapping):
        return ""
    role = given.get("RoleName")
    if role in look.once(_read_roles):
        return ""
    return (
        f"role {role!r} is neither in {look.parameters.environment}'s file nor that "
        "of a service it names; where it is right, name it as services.NAME.task_role"
    )


def _read_roles(look: Look) -> frozenset[str]:
    """Read every role that an Envoy may sign with: those in the file, and those in its
    services' definitions.
    """
    p = look.parameters
    roles = {p.iam.instance_role}
    for name in look.running:
        roles.add(p.services[name].task_role)
        for definition in _read_definitions(look, name):
            roles.add(task_role(p, name, definition))
    return frozenset(role for role in roles if role)


def _read_definitions(look: Look, name: str) -> list[Definition]:
    """Read the definitions that a service runs, may run next, or ran.

    The newest definition of a service that is gone may be another's, where
    both share a family.
    """
    found = look.running[name]
    definitions = [each for each in (found.definition, found.newest) if each]
    if not found.state:
        family = look.parameters.services[name].task_definition
        definitions += ecs.read_definitions(look.reads, family)
    return definitions
