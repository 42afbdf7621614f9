"""What a role may do: enough for a whole run and its undo, and nothing that these do not need."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from botocore.model import ServiceModel

from runbook_lib import apply, check_environment, clear, parameters, plan_undo, survey
from runbook_lib.aws import permissions
from runbook_lib.aws.permissions import Role
from runbook_lib.aws.service_models import loader
from runbook_lib.aws.session import Session
from runbook_lib.engines.named import ENGINES
from runbook_lib.errors import CallError
from runbook_lib.local.control_plane.permissions import GUARDS, Asked, allow_only, allows
from runbook_lib.parameters import Parameters
from runbook_lib.shift.rollback import roll_back
from runbook_lib.shift.trial import end_trial
from tests import scenes
from tests.alb_scene import account, open_front
from tests.plain_alb import FILE

TRIED = {**FILE["shift"], "trial": {"header": "x-runbook-trial"}}
# What needs more than a run on the control plane: traffic, alarms, tasks that scale by themselves; settings that
# somebody changed, or managed policies; what AWS alone is asked.
UNMET = {
    "appmesh:ListMeshes",
    "appmesh:UpdateMesh",
    "appmesh:UpdateVirtualNode",
    "appmesh:UpdateVirtualRouter",
    "iam:GetPolicy",
    "iam:GetPolicyVersion",
    "application-autoscaling:DeregisterScalableTarget",
    "application-autoscaling:RegisterScalableTarget",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricData",
    "ecs:TagResource",
    "elasticloadbalancing:DescribeListeners",
}


def policy(p: Parameters, role: Role) -> dict[str, Any]:
    own = ENGINES[p.engine].permissions(p, role)
    return permissions.document([*permissions.permissions(p, role), *own])


def without(document: Mapping[str, Any], sid: str) -> dict[str, Any]:
    return {**document, "Statement": [each for each in document["Statement"] if each["Sid"] != sid]}


def sids(document: Mapping[str, Any]) -> list[str]:
    return [each["Sid"] for each in document["Statement"]]


def whole_run_behind_a_rule(session: Session) -> None:
    """Do what 00, 05 with a trial, and 06 do; undo them, and roll back."""
    check_environment(survey(session))
    found = survey(session)
    apply(session, clear(found.engine.plan_trial(session.parameters, found.split, "x-runbook-trial", "run-1")))
    end_trial(session)
    scenes.shift(session, 25)
    roll_back(session, lambda words: None)
    for weight in (25, 100):
        scenes.shift(session, weight)
    apply(session, clear(replace(survey(session).plan_retirement(), needs=())))
    apply(session, clear(replace(plan_undo(session), needs=())))


def whole_run_of_a_mesh(session: Session) -> None:
    """Do what 00 to 06 do, with a trial; undo them."""
    for number in ("01", "02", "03", "04"):
        scenes.step(session, number)
    found = survey(session)
    apply(session, clear(found.engine.plan_trial(session.parameters, found.split, "x-runbook-trial", "run-1")))
    end_trial(session)
    scenes.step(session, "05")
    scenes.step(session, "06")
    check_environment(survey(session))
    survey(session).plan_removal()
    apply(session, clear(replace(plan_undo(session), needs=())))


@pytest.fixture
def guards() -> Iterator[None]:
    yield
    GUARDS.clear()


@cache
def needed(engine: str) -> tuple[Parameters, tuple[Asked, ...]]:
    """Do a whole run with no more than the builder's policy allows, and return what it needed."""
    if engine == "alb":
        session, run = open_front(shift=TRIED).session, whole_run_behind_a_rule
    else:
        session = scenes.open_local(services=True, iam={"manage": True}, shift={"trial": {"header": "x-runbook-trial"}})
        run = whole_run_of_a_mesh
    guard = allow_only(session.parameters.account_id, policy(session.parameters, "builder"))
    try:
        run(session)
    finally:
        GUARDS.clear()
    return session.parameters, tuple(guard.asked)


@pytest.mark.parametrize("engine", ["alb", "appmesh"])
def test_a_builder_may_do_a_whole_run_and_its_undo_and_needs_each_statement(engine: str) -> None:
    p, asked = needed(engine)
    assert all(allows(policy(p, "builder"), each) for each in asked)
    never: dict[str, set[str]] = {}
    for role in reversed(permissions.ROLES):
        document = policy(p, role)
        may = [each for each in asked if allows(document, each)]
        for statement in document["Statement"]:
            sid, actions = statement["Sid"], {*statement["Action"]}
            lacking = {each.action for each in may if not allows(without(document, sid), each)}
            assert lacking <= actions
            never[sid] = set() if lacking else actions
    assert {action for actions in never.values() for action in actions} <= UNMET


@pytest.mark.parametrize("engine", ["alb", "appmesh"])
def test_no_action_is_allowed_that_a_run_does_not_need(engine: str) -> None:
    p, asked = needed(engine)
    allowed = {action for each in policy(p, "builder")["Statement"] for action in each["Action"]}
    assert allowed - {each.action for each in asked} <= UNMET


def test_a_shifter_moves_the_weights_of_one_rule_and_does_nothing_else(guards: None) -> None:
    front = open_front()
    p = front.session.parameters
    allow_only(account(), policy(p, "shifter"))
    scenes.shift(front.session, 25)
    roll_back(front.session, lambda words: None)
    assert front.weights() == {"web": 100, "web-v2": 0}
    writes = [each for each in policy(p, "shifter")["Statement"] if each["Sid"] not in ("Look", "LookAtTheRule")]
    assert {action for each in writes for action in each["Action"]} == {
        "application-autoscaling:RegisterScalableTarget",
        "elasticloadbalancing:AddTags",
        "elasticloadbalancing:ModifyRule",
    }
    another = Asked("elasticloadbalancing:ModifyRule", front.rule.replace("listener-rule/app/", "listener-rule/app/x"))
    assert not allows(policy(p, "shifter"), another)


def test_a_call_that_is_not_allowed_says_which_action_is_missing(guards: None) -> None:
    front = open_front()
    allow_only(account(), policy(front.session.parameters, "reader"))
    words = r"elbv2 modify_rule: AccessDenied: .* not authorized to perform: elasticloadbalancing:ModifyRule on "
    with pytest.raises(CallError, match=words):
        scenes.shift(front.session, 25)
    assert front.weights() == {"web": 100, "web-v2": 0}


def test_a_rule_that_the_runbook_did_not_make_cannot_be_deleted() -> None:
    p = parameters.load("local-alb")
    rule = f"{p.alb.rule.rpartition('/')[0]}/0123456789abcdef"
    ours = {"aws:ResourceTag/runbook": ["appmesh-runbook"]}
    document = policy(p, "shifter")
    assert allows(document, Asked("elasticloadbalancing:DeleteRule", rule, ours))
    assert not allows(document, Asked("elasticloadbalancing:DeleteRule", rule))


@pytest.mark.parametrize("name", ["local", "local-alb", "staging", "production"])
@pytest.mark.parametrize("role", permissions.ROLES)
def test_a_policy_fits_into_what_iam_takes(name: str, role: Role) -> None:
    document = policy(parameters.load(name), role)
    assert len(json.dumps(document, separators=(",", ":"))) <= 6144  # of a managed policy
    assert len({*sids(document)}) == len(sids(document))


def test_a_builder_of_a_load_balancer_fits_into_a_roles_own_policy() -> None:
    document = policy(parameters.load("local-alb-new"), "builder")
    assert len(json.dumps(document, separators=(",", ":"))) <= 10_240
    assert len({*sids(document)}) == len(sids(document))


NO_OPERATIONS = ("PassRole", "ListBucket")  # the second lets one call ListObjectsV2


def test_every_action_is_an_operation_of_its_service() -> None:
    known = {
        "acm",
        "application-autoscaling",
        "appmesh",
        "cloudwatch",
        "ec2",
        "ecs",
        "iam",
        "route53",
        "route53profiles",
        "route53resolver",
        "s3",
        "servicediscovery",
    }
    models = {name: name for name in known} | {"elasticloadbalancing": "elbv2"}
    for name in ("local", "local-alb", "local-alb-h2", "local-alb-new", "staging-alb"):
        p = parameters.load(name, {"records": "s3://bucket/there"})
        for statement in policy(p, "builder")["Statement"]:
            for service, action in (each.split(":") for each in statement["Action"]):
                assert action in {*NO_OPERATIONS, *operations(models[service])}, action


@cache
def operations(service: str) -> set[str]:
    return {*ServiceModel(loader().load_service_model(service, "service-2")).operation_names}
