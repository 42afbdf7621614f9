"""ECS's changes: sidecars in, callees first; out again, callers first; and the end of a service."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import botocore.session
import jmespath
import pytest

from runbook_lib import plan_undo, survey
from runbook_lib.aws import ecs
from runbook_lib.aws.ecs.queries import DEPLOYED, REVISED, SETTINGS
from runbook_lib.aws.ecs.revisions import deregistered
from runbook_lib.aws.session import Session
from runbook_lib.engines.appmesh import sidecars as envoys
from runbook_lib.engines.appmesh.engine import plan_sidecars
from runbook_lib.errors import PlanError, PrerequisiteError, StalePlanError
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.plan import Change, Plan, Reading, holds
from runbook_lib.task_definition.sidecar import with_envoy
from tests.scenes import change, fact, load, open_at, open_local, reopen, settle, somebody, step, writes


def client(session: Session) -> Any:
    return somebody(session, "ecs")


def applied(session: Session, plan: Plan) -> list[Any]:
    return change(session, plan, *map(fact, plan.needs))


def sidecars(session: Session) -> Plan:
    return plan_sidecars(survey(session))


def end(session: Session, service: str = "serviceB") -> Plan:
    found = ecs.read_running(session)[service]
    found = ecs.read_revised(session, found)
    return ecs.plan_end(session.parameters, found, envoys.read_own_revisions(session, found))


def plain(session: Session) -> Plan:
    return envoys.plan_plain(session.parameters, ecs.read_running(session))


def service(session: Session, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client(session).describe_services(cluster="apps", services=[name])["services"][0]
    return found


def definition(session: Session, revision: str) -> dict[str, Any]:
    found: dict[str, Any] = client(session).describe_task_definition(taskDefinition=revision)["taskDefinition"]
    return found


def containers(session: Session, revision: str) -> list[str]:
    return [container["name"] for container in definition(session, revision)["containerDefinitions"]]


def running(session: Session) -> dict[str, str]:
    found = client(session).describe_services(cluster="apps", services=["serviceA", "serviceB", "serviceBv2"])
    return {s["serviceName"]: s["taskDefinition"].rsplit("/", 1)[1] for s in found["services"]}


def families(session: Session) -> set[str]:
    """Return the families that have an active revision."""
    found = client(session).list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
    return {arn.rsplit("/", 1)[1].split(":")[0] for arn in found}


def register(session: Session, family: str, **more: Any) -> str:
    """Register one more revision of a family, as somebody else does; return its name."""
    known = definition(session, family)
    keys = ("family", "networkMode", "requiresCompatibilities", "cpu", "memory", "executionRoleArn", "taskRoleArn")
    form = {key: known[key] for key in (*keys, "containerDefinitions") if key in known}
    made = client(session).register_task_definition(**{**form, **more})["taskDefinition"]
    return f"{made['family']}:{made['revision']}"


# Sidecars: does it, reads it back, keeps the rest, refuses a stale plan.


def test_every_service_gets_its_sidecar_and_then_there_is_nothing_left() -> None:
    session = open_at("routed")
    applied(session, sidecars(session))
    assert running(session) == {"serviceA": "taskA:2", "serviceB": "taskB:2", "serviceBv2": "taskBv2:2"}
    assert containers(session, "taskB:2") == ["app", "envoy"]
    assert sidecars(session).changes == ()


def test_the_sidecars_are_read_back_running_and_healthy() -> None:
    session = open_at("routed")
    for made in applied(session, sidecars(session)):
        assert holds(made.state, made.change.wanted)
    rollouts = [service(session, name)["deployments"][0]["rolloutState"] for name in running(session)]
    assert rollouts == ["COMPLETED"] * 3
    health = [task.health for task in survey(session).tasks]
    assert len(health) == 3
    assert all(found["envoy"] == "HEALTHY" for found in health)


def test_a_sidecar_keeps_what_the_service_and_its_definition_say() -> None:
    session = open_at("routed")
    limits = [{"name": "nofile", "softLimit": 1024, "hardLimit": 4096}]
    app = {**definition(session, "taskB")["containerDefinitions"][0], "ulimits": limits}
    client(session).update_service(
        cluster="apps", service="serviceB", taskDefinition=register(session, "taskB", containerDefinitions=[app])
    )
    settle()
    before = service(session, "serviceB")
    applied(session, sidecars(session))
    after = service(session, "serviceB")
    kept = ("desiredCount", "networkConfiguration", "deploymentConfiguration", "serviceRegistries", "launchType")
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert definition(session, "taskB:3")["containerDefinitions"][0]["ulimits"] == limits


def test_a_service_deployed_in_between_refuses_the_plan() -> None:
    session = open_at("routed")
    plan = sidecars(session)
    newer = register(session, "taskB")
    client(session).update_service(cluster="apps", service="serviceB", taskDefinition=newer)
    settle()
    before = writes(session)
    with pytest.raises(StalePlanError, match=r"task definition taskB of serviceB: .*\n.*taskB:1.* → .*taskB:2"):
        applied(session, plan)
    assert writes(session) == before
    assert running(session)["serviceB"] == "taskB:2"


def test_the_envoy_waited_for_is_the_one_the_proxy_configuration_names() -> None:
    session = open_at("routed")
    found = ecs.read_running(session)
    theirs = with_envoy(found["serviceB"].definition or {}, envoys.sidecar(session.parameters, "serviceB", None))
    envoy = next(c for c in theirs["containerDefinitions"] if c["name"] == "envoy")
    envoy.update(name="proxy", dockerLabels={}, image="aws-appmesh-envoy:v1.17.2.0-prod")
    theirs["proxyConfiguration"]["containerName"] = "proxy"
    running = {**found, "serviceB": replace(found["serviceB"], definition=theirs)}
    plan = envoys.plan_sidecars(session.parameters, Lifecycle(), running, {})
    (deploy,) = (c for c in plan if c.name == "service serviceB")
    assert "name=='proxy'" in deploy.waits[-1].reading.query


def test_callees_come_first_and_the_caller_last() -> None:
    names = [planned.name for planned in sidecars(open_at("routed"))]
    assert names == [
        "task definition taskB of serviceB",
        "service serviceB",
        "task definition taskBv2 of serviceBv2",
        "service serviceBv2",
        "task definition taskA of serviceA",
        "service serviceA",
    ]


def test_a_chain_of_callers_is_deployed_from_its_end() -> None:
    p = load(
        services={
            "front": {
                "hostname": "front.apps.local",
                "task_definition": "front",
                "backends": ["servicea.apps.local"],
            }
        }
    )
    order = ecs.deployment_order(p, ["front", "serviceA", "serviceB", "serviceBv2"])
    assert order == ["serviceB", "serviceBv2", "serviceA", "front"]


def test_the_definition_in_use_counts_and_not_the_newest() -> None:
    session = open_at("routed")
    register(session, "taskB", cpu="2048", memory="4096")
    applied(session, sidecars(session))
    assert (running(session)["serviceB"], definition(session, "taskB:3")["cpu"]) == ("taskB:3", "1024")


def test_a_revision_that_is_there_already_is_not_registered_again() -> None:
    session = open_at("meshed")
    client(session).update_service(cluster="apps", service="serviceB", taskDefinition="taskB:1")
    settle()
    assert [planned.verb for planned in sidecars(session)] == ["deploy"]
    applied(session, sidecars(session))
    assert running(session)["serviceB"] == "taskB:2"


def test_a_service_scaled_to_nothing_gets_its_sidecar_too() -> None:
    session = open_at("routed")
    client(session).update_service(cluster="apps", service="serviceBv2", desiredCount=0)
    settle()
    applied(session, sidecars(session))
    assert running(session)["serviceBv2"] == "taskBv2:2"
    assert service(session, "serviceBv2")["desiredCount"] == 0


def test_services_that_are_not_there_are_named() -> None:
    with pytest.raises(PrerequisiteError, match="not found in cluster apps: serviceA, serviceB, serviceBv2"):
        sidecars(open_local())


@pytest.mark.parametrize(
    ("envoy", "words"),
    [
        ({"cpu": 2048}, "cpu: with the sidecar the containers ask for 2048 CPU units, the task has 1024"),
        ({"memory": 2000}, "memory: with the sidecar the containers reserve 2256 of the task's 2048 MiB"),
    ],
)
def test_a_sidecar_that_does_not_fit_is_refused_before_anything_is_registered(
    envoy: dict[str, Any], words: str
) -> None:
    session = reopen(open_at("routed"), envoy=envoy)
    before = writes(session)
    with pytest.raises(PlanError, match=f"task definition taskB: {words}"):
        sidecars(session)
    assert writes(session) == before


def test_a_retired_service_gets_no_sidecar() -> None:
    assert sidecars(open_at("retired")).changes == ()


def test_what_is_registered_says_who_made_it() -> None:
    session = open_at("meshed")
    found = client(session).describe_task_definition(taskDefinition="taskB:2", include=["TAGS"])["tags"]
    assert {"key": "runbook", "value": "appmesh-runbook"} in found


def test_ec2_and_fargate_stand_side_by_side() -> None:
    p = load(services={"serviceB": {"launch_type": "EC2"}})
    assert envoys.sidecar(p, "serviceB", None).launch_type == "EC2"
    assert envoys.sidecar(p, "serviceA", None).launch_type == "FARGATE"


# Back to plain.


def test_without_the_mesh_every_service_runs_what_it_ran_before() -> None:
    session = open_at("meshed")
    applied(session, plain(session))
    for revision in running(session).values():
        now = definition(session, revision)
        assert [container["name"] for container in now["containerDefinitions"]] == ["app"]
        assert "proxyConfiguration" not in now
    assert plain(session).changes == ()


def test_callers_leave_the_mesh_first() -> None:
    deployed = [planned.name for planned in plain(open_at("meshed")) if planned.verb == "deploy"]
    assert deployed[0] == "service serviceA"


# The end of a service.


def test_a_service_that_scales_by_itself_stops_doing_so_first() -> None:
    session = open_at("shifted")
    target = {
        "ServiceNamespace": "ecs",
        "ResourceId": "service/apps/serviceB",
        "ScalableDimension": "ecs:service:DesiredCount",
        "MinCapacity": 1,
        "MaxCapacity": 4,
    }
    found = replace(ecs.read_running(session)["serviceB"], scalable=target)
    first = ecs.plan_end(session.parameters, found, ()).changes[0]
    assert (first.call.operation, first.expected) == ("deregister_scalable_target", target)
    assert first.inverse
    assert first.inverse.call.arguments == target


def test_a_service_ends_drained_deleted_and_without_revisions() -> None:
    session = open_at("shifted")
    plan = end(session)
    assert [planned.verb for planned in plan] == ["scale", "delete", "deregister", "deregister"]
    applied(session, plan)
    assert service(session, "serviceB")["status"] == "INACTIVE"
    assert families(session) == {"taskA", "taskBv2"}
    assert end(session).changes == ()


def test_the_end_is_read_back() -> None:
    session = open_at("shifted")
    made = {m.change.verb: m.state for m in applied(session, end(session))}
    assert made["delete"] is None
    assert made["deregister"] == "INACTIVE"


def test_the_end_of_one_family_leaves_the_one_that_begins_alike() -> None:
    session = open_at("shifted")
    applied(session, end(session))
    assert families(session) == {"taskA", "taskBv2"}
    assert service(session, "serviceBv2")["runningCount"] == 1


def test_a_service_scaled_in_between_refuses_its_end() -> None:
    session = open_at("shifted")
    plan = end(session)
    client(session).update_service(cluster="apps", service="serviceB", desiredCount=3)
    before = writes(session)
    with pytest.raises(StalePlanError, match="desiredCount: 1 → 3"):
        applied(session, plan)
    assert writes(session) == before


def test_what_ends_can_begin_again_as_it_was() -> None:
    session = open_at("shifted")
    before = service(session, "serviceB")
    (deleted,) = (planned for planned in end(session) if planned.verb == "delete")
    assert deleted.inverse
    again = deleted.inverse.call.arguments
    assert again["networkConfiguration"] == before["networkConfiguration"]  # type: ignore[index]
    assert again["serviceRegistries"] == before["serviceRegistries"]  # type: ignore[index]
    assert again["desiredCount"] == 0  # type: ignore[index]


def test_a_service_comes_back_with_what_ecs_shows_of_its_deployment_alone() -> None:
    session = open_at("shifted")
    connect = {"enabled": True, "namespace": "apps.local"}
    client(session).update_service(cluster="apps", service="serviceB", serviceConnectConfiguration=connect)
    settle()
    assert "serviceConnectConfiguration" not in service(session, "serviceB")
    (deleted,) = (planned for planned in end(session) if planned.verb == "delete")
    assert deleted.inverse
    again = deleted.inverse.call.arguments
    assert again["serviceConnectConfiguration"] == connect  # type: ignore[index]
    client(session).delete_service(cluster="apps", service="serviceB", force=True)
    settle()
    client(session).create_service(**again)
    (deployment,) = service(session, "serviceB")["deployments"]
    assert deployment["serviceConnectConfiguration"] == connect


def delete(session: Session) -> Change:
    """Return the one deletion of a service's planned end."""
    (deleted,) = (planned for planned in end(session) if planned.verb == "delete")
    return deleted


def test_a_service_comes_back_with_what_ecs_shows_of_its_revision_alone() -> None:
    session = open_at("shifted")
    every = [{"metricNames": ["CPUUtilization"], "resolutionSeconds": 20}]
    more = {
        "gatewayConnectors": [{"portName": "http", "filters": {"accessTypes": ["PUBLIC"]}}],
        "monitoring": {"metricConfigurations": every},
    }
    client(session).update_service(cluster="apps", service="serviceB", **more)
    settle()
    assert not more.keys() & service(session, "serviceB").keys()
    assert delete(session).note == ""
    step(session, "06")
    plan = plan_undo(session, notebook="06_tear_down_service_b")
    applied(session, plan)
    (revision,) = service(session, "serviceB")["currentServiceRevisions"]
    shown = client(session).describe_service_revisions(serviceRevisionArns=[revision["arn"]])
    assert {key: shown["serviceRevisions"][0][key] for key in more} == more


def test_06_says_what_a_service_may_have_that_no_revision_shows() -> None:
    """Its revision is older than the API that describes revisions."""

    def old(client: Any) -> None:
        def forget(parsed: dict[str, Any], **_: Any) -> None:
            parsed["serviceRevisions"] = []

        client.meta.events.register("after-call.ecs.DescribeServiceRevisions", forget)

    deleted = delete(reopen(open_at("shifted"), prepare=old))
    words = "do not come back by undo: a gateway connector and monitoring, if it has any: ECS describes no revision"
    assert deleted.note == f"{words} of this service"


def test_a_service_comes_back_with_the_role_it_was_given_but_not_with_ecs_s_own() -> None:
    session = open_at("shifted")
    own = "arn:aws:iam::799999999999:role/balance"
    ecs_s = "arn:aws:iam::799999999999:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
    for role, given in ((own, own), (ecs_s, None), (None, None)):

        def has(parsed: dict[str, Any], role: str | None = role, **_: Any) -> None:
            for each in parsed["services"]:
                each["roleArn"] = role

        def register(client: Any, has: Any = has) -> None:
            client.meta.events.register("after-call.ecs.DescribeServices", has)

        seen = reopen(session, prepare=register)
        inverse = delete(seen).inverse
        assert inverse
        assert inverse.call.arguments.get("role") == given  # type: ignore[union-attr]


# Reading.


def test_a_service_comes_back_with_all_that_can_be_given_to_one() -> None:
    model = botocore.session.get_session().get_service_model("ecs")
    takes = model.operation_model("CreateService").input_shape.members.keys()
    shown = model.shape_for("Service").members.keys()
    assert (takes & shown) - {"taskDefinition", "desiredCount"} == set(SETTINGS)
    in_deployments = model.shape_for("Deployment").members.keys()
    assert (takes & in_deployments) - shown == set(DEPLOYED)
    in_revisions = model.shape_for("ServiceRevision").members.keys()
    assert (takes & in_revisions) - shown - in_deployments == set(REVISED)
    nowhere = takes - shown - in_deployments - in_revisions
    assert nowhere == {"clientToken", "cluster", "role"}  # the role is shown as roleArn


def test_a_revision_comes_back_with_all_that_can_be_registered() -> None:
    model = botocore.session.get_session().get_service_model("ecs")
    takes = model.operation_model("RegisterTaskDefinition").input_shape.members.keys()
    described = dict.fromkeys(model.shape_for("TaskDefinition").members, "there")
    inverse = deregistered("arn:aws:ecs:us-west-2:123456789012:task-definition/taskB:1", "serviceB").inverse
    assert inverse
    assert isinstance(inverse.call.arguments, Reading)
    answer = {"taskDefinition": described, "tags": ["there"]}
    form = jmespath.search(inverse.call.arguments.query, answer)
    assert {key for key, value in form.items() if value} == takes - {"inferenceAccelerators"}


def test_nothing_there_reads_as_nothing() -> None:
    found = ecs.read_running(open_local())
    assert {r.state for r in found.values()} == {None}
    assert {r.arn for r in found.values()} == {""}
    assert survey(open_local()).tasks == []


def test_another_name_for_the_service_is_followed() -> None:
    session = open_at("plain")
    services = {name: dict(values) for name, values in session.given["services"].items()}
    services["serviceB"]["ecs_service"] = "elsewhere"
    found = ecs.read_running(reopen(session, services=services))
    assert found["serviceB"].state is None
    assert found["serviceA"].state


def test_step_04_is_all_of_it() -> None:
    session = open_at("routed")
    step(session, "04")
    assert sidecars(session).changes == ()


# The way back of a shift.


def scaling(least: int, most: int = 10) -> dict[str, Any]:
    return {
        "ServiceNamespace": "ecs",
        "ResourceId": "service/apps/serviceB",
        "ScalableDimension": "ecs:service:DesiredCount",
        "MinCapacity": least,
        "MaxCapacity": most,
    }


def test_scaling_is_kept_from_taking_the_tasks_that_could_take_everything_back() -> None:
    session = open_at("meshed")
    found = replace(ecs.read_running(session)["serviceB"], scalable=scaling(1))
    (change,) = ecs.plan_capacity(session.parameters, found, 4)
    assert change.call.operation == "register_scalable_target"
    assert (change.expected, change.wanted) == (scaling(1), scaling(4))
    assert change.inverse is not None
    assert change.inverse.call.arguments == change.inverse.wanted == scaling(1)


def test_a_least_number_above_the_most_raises_that_too() -> None:
    session = open_at("meshed")
    found = replace(ecs.read_running(session)["serviceB"], scalable=scaling(1, 2))
    (change,) = ecs.plan_capacity(session.parameters, found, 4)
    assert change.wanted == scaling(4, 4)


@pytest.mark.parametrize("target", [None, scaling(4), scaling(6)], ids=["none", "as many", "more"])
def test_scaling_that_keeps_enough_is_left_alone(target: dict[str, Any] | None) -> None:
    session = open_at("meshed")
    found = replace(ecs.read_running(session)["serviceB"], scalable=target)
    assert ecs.plan_capacity(session.parameters, found, 4).changes == ()
