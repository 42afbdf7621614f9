"""Looking an environment over: everything is seen, nothing is changed, and each finding says what to do."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from runbook_lib import check_environment, survey
from runbook_lib.aws.session import Session
from runbook_lib.checks import Check
from runbook_lib.task_definition.form import register_input
from tests.scenes import LOCAL, open_at, open_local, reopen, settle, somebody, writes


def checks(session: Session) -> dict[str, list[Check]]:
    """Return the findings by where they are."""
    found: dict[str, list[Check]] = {}
    for check in check_environment(survey(session)):
        found.setdefault(check.where, []).append(check)
    return found


def one_of(session: Session, where: str, level: str) -> Check:
    (found,) = (check for check in checks(session)[where] if check.level == level)
    return found


def service(session: Session, **more: Any) -> Session:
    somebody(session, "ecs").update_service(cluster="apps", service="serviceB", **more)
    settle()
    return session


def with_services(session: Session, name: str = "serviceB", **own: Any) -> Session:
    services = {key: dict(values) for key, values in session.given["services"].items()}
    services[name] |= own
    return reopen(session, services=services)


@pytest.mark.parametrize("stage", ["plain", "meshed", "retired"])
def test_looking_changes_nothing(stage: str) -> None:
    session = open_at(stage)
    before = writes(session)
    check_environment(survey(session))
    assert writes(session) == before


@pytest.mark.parametrize("stage", ["plain", "routed", "meshed", "shifted", "retired"])
def test_the_shipped_scenario_fails_nowhere(stage: str) -> None:
    assert [c for c in check_environment(survey(open_at(stage))) if c.level == "FAIL"] == []


def test_whatever_does_not_pass_says_what_to_do() -> None:
    for session in (open_local(), open_at("plain")):
        assert [c for c in check_environment(survey(session)) if c.level != "PASS" and not c.hint] == []


# The target.


def test_the_account_is_named() -> None:
    session = open_at("plain")
    assert session.parameters.account_id in one_of(session, "account", "PASS").message


def test_a_rehearsal_says_that_nothing_reaches_aws() -> None:
    assert "nothing reaches AWS" in one_of(open_at("plain"), "endpoint", "PASS").message


def test_aws_is_asked_whether_it_still_serves() -> None:
    found = one_of(reopen(open_local(), target="aws"), "endpoint", "PASS")
    assert "App Mesh serves" in found.message
    assert "2026-09-30" in found.message


def unserved(answer: Any) -> Check:
    def prepare(client: Any) -> None:
        client.meta.events.register("before-call.app-mesh.ListMeshes", answer)

    session = reopen(open_local(), prepare=prepare, target="aws")
    return one_of(session, "endpoint", "FAIL")


def test_an_endpoint_that_refuses_is_told_from_one_that_is_not_there() -> None:
    class Answer:
        status_code, headers, content = 403, {}, b""

    def refuse(**_: Any) -> Any:
        return Answer(), {"Error": {"Code": "ForbiddenException", "Message": "closed"}}

    def lose(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://appmesh.us-west-2.amazonaws.com")

    assert "App Mesh refuses: appmesh list_meshes: ForbiddenException: closed" in unserved(refuse).message
    assert "App Mesh not reachable" in unserved(lose).message
    assert "--rehearse" in unserved(lose).hint


# What the file says.


def test_a_bake_that_can_never_pass_with_the_files_own_traffic_fails() -> None:
    """The local mesh's caller sends just what the file says; on AWS users send what they like: 05 measures it."""
    few = {"traffic": {"requests_per_second": 1}}
    found = one_of(reopen(open_at("plain"), **few), "bake", "FAIL")
    assert "this bake could never pass: at 25 % of 1 requests per second" in found.message
    allowed = {**LOCAL["shift"], "allow_unprovable": True}
    assert "bake" not in checks(reopen(open_at("plain"), **few, shift=allowed))
    assert "bake" not in checks(open_at("plain"))


def test_a_lower_cased_name_is_noted() -> None:
    found = one_of(reopen(open_at("plain"), namespace="Apps.local"), "file", "WARN")
    assert "'Apps.local'" in found.message


@pytest.mark.parametrize(("egress", "warned"), [("DROP_ALL", True), ("ALLOW_ALL", False)])
def test_an_egress_that_drops_is_a_warning(egress: str, warned: bool) -> None:
    session = reopen(open_at("plain"), mesh={"name": "apps", "egress": egress})
    assert ("egress" in checks(session)) is warned


def test_http2_to_the_application_is_a_warning() -> None:
    assert "HTTP/2" in one_of(open_at("plain"), "protocol", "WARN").message


# Services.


def test_a_running_service_passes() -> None:
    assert one_of(open_at("plain"), "service serviceB", "PASS").message == "runs 1 of 1 task of taskB:1"


def test_a_service_that_is_not_there_is_a_warning_and_no_failure() -> None:
    found = one_of(open_local(), "service serviceB", "WARN")
    assert "not found in cluster apps" in found.message
    assert "01 to 03 work without it" in found.hint


def test_a_service_without_tasks_is_a_warning() -> None:
    assert one_of(service(open_at("plain"), desiredCount=0), "service serviceB", "WARN").message.startswith(
        "runs 0 of 0"
    )


def test_a_service_that_cannot_roll_fails() -> None:
    settings = {"minimumHealthyPercent": 100, "maximumPercent": 150}
    found = one_of(service(open_at("plain"), deploymentConfiguration=settings), "service serviceB", "FAIL")
    assert "no room to roll: 1 task, at most 150 %" in found.message
    assert found.hint == "raise maximumPercent"


def test_a_service_that_may_go_below_its_count_can_roll() -> None:
    settings = {"minimumHealthyPercent": 0, "maximumPercent": 100}
    session = service(open_at("plain"), deploymentConfiguration=settings)
    assert "FAIL" not in [check.level for check in checks(session)["service serviceB"]]


def test_a_service_without_a_circuit_breaker_is_a_warning() -> None:
    settings = {"deploymentCircuitBreaker": {"enable": False, "rollback": False}}
    found = one_of(service(open_at("plain"), deploymentConfiguration=settings), "service serviceB", "WARN")
    assert "circuit breaker" in found.message


def test_a_retired_service_is_not_missed() -> None:
    assert one_of(open_at("retired"), "service serviceB", "PASS").message == "retired"


# Names and quotas.


def test_a_name_that_is_dialled_and_resolves_passes() -> None:
    found = one_of(open_at("plain"), "name serviceb.apps.local", "PASS")
    assert found.message == "called by serviceA; resolves to 1 address"


def test_a_name_that_does_not_resolve_is_a_warning() -> None:
    found = one_of(open_local(), "name serviceb.apps.local", "WARN")
    assert "does not resolve in apps.local" in found.message
    assert "before their Envoy sees the request" in found.hint


def test_every_quota_that_can_bind_is_counted() -> None:
    found = one_of(open_at("plain"), "quotas", "PASS")
    assert "1 of 50 connected Envoys per node" in found.message
    assert found.message.count(" of ") == 7


def test_a_quota_that_is_near_has_a_row_of_its_own() -> None:
    session = with_services(open_at("plain"), desired_count=45)
    assert one_of(session, "quota connected Envoys per node", "PASS").message == "45 of 50 by default"
    assert "connected Envoys" not in one_of(session, "quotas", "PASS").message


def test_a_default_quota_that_is_exceeded_is_a_warning_since_an_account_may_have_more() -> None:
    session = with_services(open_at("plain"), desired_count=51)
    found = one_of(session, "quota connected Envoys per node", "WARN")
    assert found.message == "51 of 50 by default"
    assert "unless your account has more" in found.hint


def test_the_tasks_a_service_has_count_and_not_the_files_alone() -> None:
    session = service(open_at("plain"), desiredCount=51)
    assert one_of(session, "quota connected Envoys per node", "WARN").message == "51 of 50 by default"


# Definitions.


def test_another_family_than_the_files_fails_and_names_the_line() -> None:
    session = with_services(open_at("plain"), task_definition="taskC")
    found = one_of(session, "definition taskB of serviceB", "FAIL")
    assert found.message == "the file says taskC"
    assert found.hint == "services.serviceB.task_definition: taskB"


def test_a_definition_that_takes_the_sidecar_passes() -> None:
    session = open_at("plain")
    found = [c for where, listed in checks(session).items() if "definition taskB" in where for c in listed]
    assert "FAIL" not in {check.level for check in found}
    assert found


def test_a_definition_meshed_by_hand_is_told_what_04_mends() -> None:
    session = open_at("meshed")
    ecs = somebody(session, "ecs")
    form = register_input(ecs.describe_task_definition(taskDefinition="taskB"))
    envoy = next(c for c in form["containerDefinitions"] if c["name"] == "envoy")
    del envoy["dockerLabels"]
    (arn,) = (e for e in envoy["environment"] if e["name"] == "APPMESH_RESOURCE_ARN")
    arn["name"] = "APPMESH_VIRTUAL_NODE_NAME"
    revision = ecs.register_task_definition(**form)["taskDefinition"]["taskDefinitionArn"]
    found = one_of(service(session, taskDefinition=revision), "taskB: containerDefinitions[envoy].environment", "WARN")
    assert found.message.startswith("as it runs now: APPMESH_VIRTUAL_NODE_NAME is, from Envoy 1.15.0 on,")
    assert found.hint == "04 fixes it"


def test_a_port_the_application_does_not_have_is_found() -> None:
    session = with_services(open_at("plain"), ports=[8080])
    found = [c for listed in checks(session).values() for c in listed if "8080" in c.message]
    assert {check.level for check in found} & {"FAIL", "WARN"}


def test_a_role_that_may_not_write_traces_is_a_warning() -> None:
    session = open_at("plain")
    traced = reopen(session, envoy={**session.given["envoy"], "xray": True}, iam={"manage": False})
    found = [check for check in check_environment(survey(traced)) if check.where.startswith("traces of ")]
    assert [(check.level, check.where) for check in found] == [
        ("WARN", f"traces of {name}") for name in ("serviceA", "serviceB", "serviceBv2")
    ]
