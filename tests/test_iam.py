"""Whether an Envoy can sign its requests, and the least permission that lets it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runbook_lib import plan_permissions, survey
from runbook_lib.aws.session import Session
from runbook_lib.engines.appmesh import iam
from runbook_lib.engines.appmesh.iam import STREAM, Credentials
from runbook_lib.engines.appmesh.spec import node_arn
from runbook_lib.errors import StalePlanError
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.plan import Plan, holds
from tests.scenes import change, fact, load, open_at, open_local, reopen, somebody, writes

ROLE = "apps-serviceB-task"
NAME = "runbook-envoy-apps-serviceB"
THEIRS = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
)
SERVICE = "serviceB"


def client(session: Session) -> Any:
    return somebody(session, "iam")


def applied(session: Session, plan: Plan) -> list[Any]:
    return change(session, plan, *map(fact, plan.needs))


def permissions(session: Session) -> Plan:
    return plan_permissions(survey(session))


def policies(session: Session, role: str = ROLE) -> list[str]:
    return list(client(session).list_role_policies(RoleName=role)["PolicyNames"])


def ended(session: Session) -> Plan:
    return iam.plan_credentials_end(session, iam.who_signs(survey(session)))


# Does it, reads it back, keeps the rest, refuses a stale plan.


def test_each_role_gets_the_least_policy_and_then_there_is_nothing_left() -> None:
    session = open_at("plain")
    applied(session, permissions(session))
    document = client(session).get_role_policy(RoleName=ROLE, PolicyName=NAME)["PolicyDocument"]
    (statement,) = document["Statement"]
    assert (statement["Action"], statement["Resource"]) == (STREAM, [node_arn(session.parameters, SERVICE)])
    assert permissions(session).changes == ()


def test_the_policy_is_read_back() -> None:
    session = open_at("plain")
    for made in applied(session, permissions(session)):
        assert holds(made.state, made.change.wanted)
    assert all(c.may_stream for c in iam.who_signs(survey(session)))


def test_the_roles_other_policies_are_kept() -> None:
    session = open_at("plain")
    client(session).put_role_policy(RoleName=ROLE, PolicyName="theirs", PolicyDocument=THEIRS)
    applied(session, permissions(session))
    assert sorted(policies(session)) == sorted([NAME, "theirs"])


def test_a_policy_put_in_between_refuses_the_plan() -> None:
    session = open_at("plain")
    plan = permissions(session)
    first = plan.changes[0].call.arguments
    client(session).put_role_policy(**{**first, "PolicyDocument": THEIRS})  # type: ignore[dict-item]
    before = writes(session)
    with pytest.raises(StalePlanError):
        applied(session, plan)
    assert writes(session) == before


def test_the_managed_policy_is_attached_where_the_file_says_so() -> None:
    session = reopen(open_at("plain"), iam={"manage": True, "policy": "managed"})
    applied(session, permissions(session))
    found = client(session).list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]
    assert [policy["PolicyName"] for policy in found] == ["AWSAppMeshEnvoyAccess"]
    assert all(c.may_stream for c in iam.who_signs(survey(session)))
    assert permissions(session).changes == ()


def test_xray_gets_its_write_policy() -> None:
    session = open_at("plain")
    session = reopen(session, envoy={**session.given["envoy"], "xray": True})
    applied(session, permissions(session))
    assert all(c.may_trace for c in iam.who_signs(survey(session)))


def test_one_role_of_two_services_is_changed_once_a_policy() -> None:
    p = load(iam={"manage": True, "policy": "managed"})
    shared = [Credentials(name, "shared", "task role") for name in p.services]
    planned = iam.plan_credentials(p, Lifecycle(), shared)
    assert [change.verb for change in planned] == ["attach", "mark"]


def test_where_the_file_does_not_manage_iam_nothing_is_planned() -> None:
    session = reopen(open_at("plain"), iam={"manage": False})
    assert permissions(session).changes == ()


def test_a_retired_service_needs_no_permission() -> None:
    p = load()
    life = Lifecycle({"serviceBv2": 100}, frozenset({SERVICE}))
    planned = iam.plan_credentials(p, life, [Credentials(SERVICE, ROLE, "task role")])
    assert planned.changes == ()


# Taking it back.


def attached(session: Session) -> list[str]:
    found = client(session).list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]
    return sorted(policy["PolicyName"] for policy in found)


def with_managed(session: Session) -> Session:
    envoy = {**session.given["envoy"], "xray": True}
    return reopen(session, iam={"manage": True, "policy": "managed"}, envoy=envoy)


def test_the_end_detaches_the_managed_policies_that_the_runbook_attached() -> None:
    session = with_managed(open_at("plain"))
    applied(session, permissions(session))
    assert attached(session) == ["AWSAppMeshEnvoyAccess", "AWSXRayDaemonWriteAccess"]
    applied(session, ended(session))
    assert attached(session) == []
    assert "Tags" not in client(session).get_role(RoleName=ROLE)["Role"]
    assert ended(session).changes == ()


def test_a_managed_policy_that_somebody_else_attached_stays() -> None:
    session = with_managed(open_at("plain"))
    client(session).attach_role_policy(RoleName=ROLE, PolicyArn="arn:aws:iam::aws:policy/AWSAppMeshEnvoyAccess")
    applied(session, permissions(session))
    applied(session, ended(session))
    assert attached(session) == ["AWSAppMeshEnvoyAccess"]


def test_the_end_takes_the_policy_of_a_service_that_is_retired() -> None:
    session = reopen(open_at("retired"), "90_remove_mesh", removal={"callers_may_fail": True})
    assert policies(session) == [NAME]
    plan = survey(session).plan_removal()
    applied(session, plan)
    assert policies(session) == []


def test_the_end_takes_the_runbooks_policies_and_no_others() -> None:
    session = open_at("meshed")
    client(session).put_role_policy(RoleName=ROLE, PolicyName="theirs", PolicyDocument=THEIRS)
    applied(session, ended(session))
    assert policies(session) == ["theirs"]
    assert ended(session).changes == ()


def test_a_policy_changed_in_between_refuses_its_end() -> None:
    session = open_at("meshed")
    plan = ended(session)
    (planned,) = (c for c in plan if ROLE in c.name)
    client(session).put_role_policy(RoleName=ROLE, PolicyName=NAME, PolicyDocument=THEIRS)
    with pytest.raises(StalePlanError):
        applied(session, Plan("90", (planned,)))
    assert policies(session) == [NAME]


# Who signs.


def definition(role: str = "") -> dict[str, Any]:
    return {"taskRoleArn": f"arn:aws:iam::123456789012:role/{role}"} if role else {}


def signer(role: str = "", **values: Any) -> tuple[str, str]:
    found = iam.signer_of(load(**values), SERVICE, definition(role))
    return found.role, found.source


def test_the_task_role_signs() -> None:
    assert signer("task") == ("task", "task role")


def test_the_role_of_the_file_signs_where_the_definition_names_none() -> None:
    assert signer(services={SERVICE: {"task_role": "given"}}) == ("given", "task role")


def test_on_fargate_nobody_else_can() -> None:
    role, why = signer(iam={"instance_role": "instances"})
    assert role == ""
    assert "Fargate needs a task role" in why
    assert "services.serviceB.task_role" in why


def test_on_ec2_the_instances_role_may() -> None:
    assert signer(launch_type="EC2", iam={"instance_role": "instances"}) == ("instances", "instance role")


def test_on_ec2_without_metadata_it_may_not() -> None:
    role, why = signer(launch_type="EC2", iam={"instance_role": "instances", "metadata_blocked": True})
    assert role == ""
    assert "needs a task role" in why


def test_only_a_task_role_goes_into_the_definition() -> None:
    found = [
        Credentials("a", "task", "task role", "arn:a"),
        Credentials("b", "instances", "instance role", "arn:b"),
        Credentials("c", "", "none"),
    ]
    assert iam.role_arns(found) == {"a": "arn:a"}


def test_a_role_that_is_not_there_cannot_sign() -> None:
    session = open_local()
    (found,) = iam.read_credentials(session, {SERVICE: definition("nowhere")})
    assert (found.may_stream, found.may_trace, found.policies) == (False, False, ())


# What a policy allows.

NODE = "arn:aws:appmesh:us-west-2:123456789012:mesh/apps/virtualNode/serviceB"


def statement(effect: str = "Allow", action: Any = STREAM, resource: Any = "*") -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource}


ALLOWED = {
    "the action on everything": ([statement()], True),
    "the action on the node": ([statement(resource=[NODE])], True),
    "another case": ([statement(action="AppMesh:streamaggregatedresources")], True),
    "a pattern": ([statement(action="appmesh:Stream*", resource="arn:aws:appmesh:*:*:mesh/apps/*")], True),
    "the node in another case": ([statement(resource=NODE.replace("serviceB", "serviceb"))], False),
    "a region guard": ([statement(), {**statement("Deny", "*"), "Condition": {"StringNotEquals": {}}}], True),
    "another node": ([statement(resource=NODE + "v2")], False),
    "another action": ([statement(action="appmesh:DescribeMesh")], False),
    "denied after all": ([statement(), statement("Deny", "appmesh:*")], False),
    "one statement, not a list": (statement(), True),
    "no statement": ([], False),
    "only exceptions": ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], False),
}


@pytest.mark.parametrize(("statements", "allowed"), ALLOWED.values(), ids=ALLOWED)
def test_a_policy_allows(statements: Any, allowed: bool) -> None:
    assert iam.allows([{"Version": "2012-10-17", "Statement": statements}], STREAM, NODE) is allowed


def test_without_a_document_nothing_is_allowed() -> None:
    assert iam.allows([None], STREAM, NODE) is False


def test_what_one_policy_denies_no_other_allows() -> None:
    session = open_at("meshed")
    deny = {"Version": "2012-10-17", "Statement": [statement("Deny", "appmesh:*")]}
    client(session).put_role_policy(RoleName=ROLE, PolicyName="deny", PolicyDocument=json.dumps(deny))
    denied = {c.service for c in iam.who_signs(survey(session)) if not c.may_stream}
    assert denied == {SERVICE}


# Evidence.


def test_evidence_names_who_cannot_sign_and_the_policy_to_attach() -> None:
    p = load(iam={"manage": False})
    found = iam.finding(p, Lifecycle(), [Credentials(SERVICE, ROLE, "task role")], Plan("04"))
    assert not found.holds
    assert f"serviceB: {ROLE} may not {STREAM}" in found.found
    assert NODE in found.hint


def test_evidence_counts_what_is_about_to_be_permitted() -> None:
    p = load()
    found = [Credentials(SERVICE, ROLE, "task role")]
    assert iam.finding(p, Lifecycle(), found, iam.plan_credentials(p, Lifecycle(), found)).holds


def test_evidence_does_not_hold_where_there_is_no_role() -> None:
    p = load()
    found = iam.finding(p, Lifecycle(), [Credentials(SERVICE, "", "none: Fargate needs a task role")], Plan("04"))
    assert not found.holds
    assert found.hint == "give serviceB a task role, and name it as services.serviceB.task_role"


def test_the_hint_speaks_of_those_that_lack_something_alone() -> None:
    p = load()
    found = [Credentials(SERVICE, "", "none"), Credentials("serviceA", "a", "task role")]
    said = iam.finding(p, Lifecycle(), found, iam.plan_credentials(p, Lifecycle(), found))
    assert said.hint == "give serviceB a task role, and name it as services.serviceB.task_role"


def test_a_role_that_may_not_write_traces_is_named_where_the_runbook_may_not_change_it() -> None:
    found = [Credentials(SERVICE, ROLE, "task role", may_stream=True)]
    own, managed = (load(iam={"manage": manage}, envoy={"xray": True}) for manage in (False, True))
    assert iam.lacking_traces(own, found) == found
    assert iam.lacking_traces(managed, found) == []
    assert iam.lacking_traces(load(iam={"manage": False}), found) == []


def test_evidence_holds_where_everybody_can_sign() -> None:
    p = load()
    found = [Credentials(SERVICE, ROLE, "task role", may_stream=True)]
    assert iam.finding(p, Lifecycle(), found, Plan("04")).holds
