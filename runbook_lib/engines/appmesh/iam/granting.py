"""Plan what an Envoy's role lacks, and its end; say who lacks what is not planned.

`plan_credentials_end` reads; all others are pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runbook_lib.aws.reads import Reads
from runbook_lib.engines.appmesh.iam.credentials import (
    Credentials,
    inline_policy,
    mark_key,
)
from runbook_lib.engines.appmesh.iam.policies import (
    ENVOY_ACCESS,
    STREAM,
    XRAY_ACCESS,
    managed_arn,
    policy,
    policy_name,
)
from runbook_lib.engines.protocol import Finding
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Change, Inverse, Plan, Reading, differences, turned

# --- who lacks what -------------------------------------------------------------------


def finding(
    p: Parameters, life: Lifecycle, credentials: Sequence[Credentials], planned: Plan
) -> Finding:
    """Return whether every Envoy will be able to sign, once `planned` is applied."""
    granted = {change.name for change in planned}
    lacking = []
    for each in credentials:
        if each.may_stream or each.service in life.retired:
            continue
        if _streaming(p, each).name not in granted:
            lacking.append(each)
    if not lacking:
        return Finding(True, "every Envoy has a role that may read its node")
    words = [f"{each.service}: {_lack(each)}" for each in lacking]
    hints = [_hint(p, each) for each in lacking]
    return Finding(False, "; ".join(words), "; ".join(hints))


def _lack(c: Credentials) -> str:
    if not c.role:
        return c.source
    return f"{c.role} may not {STREAM} on its node"


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
    if not p.envoy.xray or p.iam.manage:
        return []
    return [each for each in credentials if each.role and not each.may_trace]


# --- the plans ------------------------------------------------------------------------


def plan_credentials(
    p: Parameters, life: Lifecycle, credentials: Sequence[Credentials]
) -> Plan:
    """Plan the permission each role lacks, where the parameters let the
    runbook manage IAM.
    """
    title = "04_register_task_definitions"
    if not p.iam.manage:
        return Plan(title)
    changes: list[Change] = []
    for each in credentials:
        if each.role and each.service not in life.retired:
            changes += _granted(p, each)
    return Plan(title, _each_once(changes))


def _granted(p: Parameters, c: Credentials) -> Iterator[Change]:
    """Yield what a role lacks; a policy of AWS's own is marked as the runbook's."""
    if not c.may_stream:
        yield _streaming(p, c)
        if p.iam.policy == "managed":
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
    for each in credentials:
        made += _read_own_policy(session, each)
        made += _attached_by_us(session.parameters, each)
    ended = [turned(change) for change in made]
    return Plan("90_remove_mesh", _each_once(ended))


def _read_own_policy(session: Reads, c: Credentials) -> Iterator[Change]:
    """Yield the making of the policy that carries the runbook's name,
    where it is there.
    """
    name = policy_name(session.parameters, c.service)
    if name not in c.policies:
        return
    document = session.read(inline_policy(c.role, name))
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


def _each_once(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Return each change once, about all services that share its role."""
    once: dict[str, Change] = {}
    for change in changes:
        known = once.get(change.thing, change)
        about = dict.fromkeys((*known.about, *change.about))
        once[change.thing] = replace(known, about=tuple(about))
    return tuple(once.values())


# --- one change of a role -------------------------------------------------------------


def _put(c: Credentials, name: str, document: Mapping[str, Any]) -> Change:
    """Return what writes a policy into a role itself."""
    where = {"RoleName": c.role, "PolicyName": name}
    arguments = {**where, "PolicyDocument": json.dumps(document)}
    delete = Call("iam", "delete_role_policy", where)
    return Change(
        name=f"policy {name} on {c.role}",
        verb="create",
        call=Call("iam", "put_role_policy", arguments),
        reading=inline_policy(c.role, name),
        expected=None,
        wanted=document,
        about=_about(f"policy {name}", c),
        inverse=Inverse("delete", delete, wanted=None),
        diff=differences({}, document),
    )


def _attach(p: Parameters, c: Credentials, managed: str) -> Change:
    """Return what attaches one of AWS's own policies to a role."""
    where = {"RoleName": c.role, "PolicyArn": managed_arn(p, managed)}
    listing = Call("iam", "list_attached_role_policies", {"RoleName": c.role})
    query = f"AttachedPolicies[?PolicyName=='{managed}'].PolicyName | [0]"
    detach = Call("iam", "detach_role_policy", where)
    return Change(
        name=f"policy {managed} on {c.role}",
        verb="attach",
        call=Call("iam", "attach_role_policy", where),
        reading=Reading(listing, query),
        expected=None,
        wanted=managed,
        about=_about(f"policy {managed}", c),
        inverse=Inverse("detach", detach, wanted=None),
        diff=differences(None, managed, "policy"),
    )


def _mark(p: Parameters, c: Credentials, managed: str) -> Change:
    """Return the change that marks a role with a policy that the runbook attached, so
    that 90 takes it away again.
    """
    key, value = mark_key(managed), p.mesh.name
    role = {"RoleName": c.role}
    tag = Call("iam", "tag_role", {**role, "Tags": [{"Key": key, "Value": value}]})
    untag = Call("iam", "untag_role", {**role, "TagKeys": [key]})
    query = f"Role.Tags[?Key=='{key}'].Value | [0]"
    return Change(
        name=f"policy {managed} on {c.role} as the runbook's",
        verb="mark",
        call=tag,
        reading=Reading(Call("iam", "get_role", role), query),
        expected=None,
        wanted=value,
        about=_about(f"tag {key}", c),
        inverse=Inverse("unmark", untag, wanted=None),
        diff=differences(None, value, key),
    )


def _about(what: str, c: Credentials) -> tuple[str, ...]:
    """Return what a change of a role is about: its part, and whose Envoy it is for."""
    return (f"{what} on role {c.role}", f"service {c.service}")
