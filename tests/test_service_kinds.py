"""Services that ECS does not deploy, or does not scale, are named in 00 and 04, before anything is registered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from runbook_lib import plan_sidecars, survey
from runbook_lib.aws import ecs
from runbook_lib.aws.ecs.deployments import pace_of
from runbook_lib.aws.session import Session
from runbook_lib.checks import check_environment
from runbook_lib.engines.appmesh.sidecars import plan_plain
from runbook_lib.errors import PlanError
from tests.scenes import Clock, open_at, reopen, step, writes

Members = dict[str, Any]


def by_code_deploy(service: Members) -> None:
    """Describe a service as ECS does one that CodeDeploy deploys: by task sets."""
    sets = [{"id": "ecs-svc/1", "status": "PRIMARY", "taskDefinition": service["taskDefinition"]}]
    service |= {"deploymentController": {"type": "CODE_DEPLOY"}, "deployments": [], "taskSets": sets}


def by_somebody(service: Members) -> None:
    """Describe a service of the EXTERNAL controller, which has no task definition."""
    service |= {"deploymentController": {"type": "EXTERNAL"}, "deployments": [], "taskSets": []}
    del service["taskDefinition"]


def on_each_instance(service: Members) -> None:
    service["schedulingStrategy"] = "DAEMON"


def express(service: Members) -> None:
    service["resourceManagementType"] = "ECS"


PAUSE = {"targetType": "PAUSE", "lifecycleStages": ["PRE_PRODUCTION_TRAFFIC_SHIFT"]}


def in_steps(service: Members) -> None:
    """Describe a service whose deployments shift a part of the traffic, bake, pause, and bake again."""
    service["deploymentConfiguration"] |= {
        "strategy": "CANARY",
        "bakeTimeInMinutes": 60,
        "canaryConfiguration": {"canaryPercent": 10.0, "canaryBakeTimeInMinutes": 120},
        "lifecycleHooks": [{**PAUSE, "timeoutConfiguration": {"timeoutInMinutes": 20160, "action": "ROLLBACK"}}],
    }


def described(change: Callable[[Members], None], name: str = "serviceB") -> Callable[[Any], None]:
    """Return what lets each client see one service as another kind."""

    def alter(parsed: Members, **_: Any) -> None:
        for service in parsed.get("services", []):
            if service["serviceName"] == name:
                change(service)

    return lambda client: client.meta.events.register("after-call.ecs.DescribeServices", alter)


def seen(stage: str, change: Callable[[Members], None]) -> Session:
    return reopen(open_at(stage), prepare=described(change))


@pytest.mark.parametrize(
    ("configuration", "bake_minutes", "pause_days"),
    [
        ({}, 0, 0),
        ({"strategy": "ROLLING", "bakeTimeInMinutes": 0}, 0, 0),
        ({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5}, 5, 0),
        ({"strategy": "CANARY", "bakeTimeInMinutes": 60}, 70, 0),
        ({"strategy": "LINEAR"}, 54, 0),
        ({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 30.0, "stepBakeTimeInMinutes": 10}}, 30, 0),
        ({"strategy": "BLUE_GREEN", "lifecycleHooks": [PAUSE]}, 0, 14),
        ({"strategy": "BLUE_GREEN", "lifecycleHooks": [{"targetType": "AWS_LAMBDA", "hookTargetArn": "f"}]}, 0, 0),
    ],
)
def test_how_long_a_deployment_takes_follows_from_its_configuration(
    configuration: Members, bake_minutes: int, pause_days: int
) -> None:
    pace = pace_of(configuration)
    assert (pace.bake, pace.paused) == (timedelta(minutes=bake_minutes), timedelta(days=pause_days))
    assert pace.seconds == 60 * bake_minutes + 86400 * pause_days
    assert (pace.words == "") == (configuration.get("strategy", "ROLLING") == "ROLLING")


@pytest.mark.case(8)
def test_04_waits_as_long_as_a_deployment_bakes_and_says_so_first() -> None:
    session = seen("routed", in_steps)
    before = timedelta(minutes=15) + timedelta(hours=3) + timedelta(days=14)
    words = "deployment strategy CANARY: a new revision bakes 3:00:00, and hooks may pause it, for at most 14 days, "
    words += "0:00:00 in all"
    (said,) = [check for check in check_environment(survey(session)) if check.message == words]
    assert said.level == "WARN"
    assert "aws ecs continue-service-deployment ends a pause" in said.hint
    moves = {change.name: change for change in plan_sidecars(survey(session)) if change.verb == "deploy"}
    assert moves["service serviceB"].note == words
    for waits in (moves["service serviceB"].waits, moves["service serviceB"].inverse.waits):  # type: ignore[union-attr]
        assert waits[0].timeout_seconds == before.total_seconds()
    assert moves["service serviceA"].waits[0].timeout_seconds == 900
    assert moves["service serviceA"].note == ""


@pytest.mark.case(8)
def test_a_deployment_that_bakes_for_hours_is_not_taken_back() -> None:
    clock = Clock(speed=600.0)

    def baking(service: Members) -> None:
        in_steps(service)
        if clock.now < timedelta(hours=2).total_seconds() and service["taskDefinition"].endswith(":2"):
            service["deployments"].append({**service["deployments"][0], "status": "ACTIVE"})

    session = reopen(open_at("routed"), prepare=described(baking), clock=clock)
    step(session, "04")
    assert clock.now >= timedelta(hours=2).total_seconds()
    assert survey(session).running["serviceB"].arn.endswith("taskB:2")
    assert plan_sidecars(survey(session)).changes == ()


def test_a_definition_without_what_the_service_registers_is_refused() -> None:
    def behind(service: Members) -> None:
        service["loadBalancers"] = [{"targetGroupArn": "arn", "containerName": "envoy", "containerPort": 15000}]

    session = seen("meshed", behind)
    with pytest.raises(PlanError, match=r"requests are sent to its container 'envoy'; expected one of .*: app"):
        plan_plain(session.parameters, survey(session).running)


@pytest.mark.case(6)
@pytest.mark.parametrize("change", [by_code_deploy, by_somebody])
def test_04_plans_nothing_where_somebody_else_deploys_a_service(change: Callable[[Members], None]) -> None:
    session = seen("routed", change)
    kind = "CODE_DEPLOY" if change is by_code_deploy else "EXTERNAL"
    with pytest.raises(PlanError, match=f"ECS service serviceB: expected one that ECS deploys .*, found {kind}"):
        plan_sidecars(survey(session))


@pytest.mark.case(7)
@pytest.mark.parametrize("change", [by_code_deploy, by_somebody, on_each_instance, express])
def test_06_plans_nothing_that_could_not_come_back(change: Callable[[Members], None]) -> None:
    session = seen("shifted", change)
    before = writes(session)
    with pytest.raises(PlanError, match="ECS service serviceB: expected a REPLICA service that ECS deploys"):
        step(session, "06")
    assert writes(session) == before


def test_a_service_of_code_deploys_with_its_sidecar_needs_no_move() -> None:
    session = seen("meshed", by_code_deploy)
    found = survey(session)
    assert found.running["serviceB"].arn.endswith("taskB:2")
    assert plan_sidecars(found).changes == ()


@pytest.mark.case(6)
@pytest.mark.case(7)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (by_code_deploy, "found CODE_DEPLOY: UpdateService"),
        (by_somebody, "found EXTERNAL: UpdateService"),
        (on_each_instance, "schedulingStrategy DAEMON: 06 cannot retire it"),
        (express, "made in Express mode: 06 cannot retire it"),
    ],
)
def test_00_says_what_kind_a_service_is(change: Callable[[Members], None], words: str) -> None:
    found = [check.message for check in check_environment(survey(seen("plain", change)))]
    assert any(words in message for message in found), found
    assert ecs.read_counts(seen("plain", change), ["serviceB"]) == {"serviceB": (1, 1)}
