"""Services that ECS does not deploy, or does not scale, are named in 00 and 04, before anything is registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runbook_lib import plan_sidecars, survey
from runbook_lib.aws import ecs
from runbook_lib.aws.session import Session
from runbook_lib.checks import check_environment
from runbook_lib.errors import PlanError
from tests.scenes import open_at, reopen, step, writes

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


def described(change: Callable[[Members], None], name: str = "serviceB") -> Callable[[Any], None]:
    """Return what lets each client see one service as another kind."""

    def alter(parsed: Members, **_: Any) -> None:
        for service in parsed.get("services", []):
            if service["serviceName"] == name:
                change(service)

    return lambda client: client.meta.events.register("after-call.ecs.DescribeServices", alter)


def seen(stage: str, change: Callable[[Members], None]) -> Session:
    return reopen(open_at(stage), prepare=described(change))


@pytest.mark.case(6)
@pytest.mark.parametrize("change", [by_code_deploy, by_somebody])
def test_04_plans_nothing_where_somebody_else_deploys_a_service(change: Callable[[Members], None]) -> None:
    session = seen("routed", change)
    kind = "CODE_DEPLOY" if change is by_code_deploy else "EXTERNAL"
    with pytest.raises(PlanError, match=f"ECS service serviceB: expected one that ECS deploys .*, found {kind}"):
        plan_sidecars(survey(session))


@pytest.mark.case(7)
@pytest.mark.parametrize("change", [by_code_deploy, by_somebody, on_each_instance])
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
    ],
)
def test_00_says_what_kind_a_service_is(change: Callable[[Members], None], words: str) -> None:
    found = [check.message for check in check_environment(survey(seen("plain", change)))]
    assert any(words in message for message in found), found
    assert ecs.read_counts(seen("plain", change), ["serviceB"]) == {"serviceB": (1, 1)}
