"""ECS services: what is wanted, what convergence makes of it, and how they end."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.local import control_plane
from tests.control_plane_fixtures import (
    Aws,
    aws,
    definition,
    described,
    ecs,
    endpoint,
    refused,
    service,
    settle,
    shared_clients,
)


def test_nothing_moves_without_a_step(ecs: Any) -> None:
    ecs.create_service(**service())
    for _ in range(3):
        found = described(ecs)
    assert (found["runningCount"], found["pendingCount"], found["desiredCount"]) == (0, 0, 1)
    assert ecs.list_tasks(cluster="apps")["taskArns"] == []


def test_tasks_start_in_one_step_and_run_in_the_next(ecs: Any) -> None:
    ecs.create_service(**service(desiredCount=2))
    seen = []
    for _ in range(2):
        control_plane.reconcile()
        found = described(ecs)
        seen.append((found["pendingCount"], found["runningCount"]))
    assert seen == [(2, 0), (0, 2)]


def test_a_settled_service_has_one_completed_primary_deployment(ecs: Any) -> None:
    ecs.create_service(**service())
    assert described(ecs)["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    settle()
    (deployment,) = described(ecs)["deployments"]
    assert (deployment["status"], deployment["rolloutState"]) == ("PRIMARY", "COMPLETED")
    assert deployment["rolloutStateReason"] == f"ECS deployment {deployment['id']} completed."
    assert (deployment["desiredCount"], deployment["runningCount"], deployment["pendingCount"]) == (1, 1, 0)


def test_a_settled_world_moves_no_more(ecs: Any) -> None:
    ecs.create_service(**service())
    settle()
    assert control_plane.reconcile() is False


def test_the_stable_waiter_succeeds(ecs: Any) -> None:
    ecs.create_service(**service())
    settle()
    ecs.get_waiter("services_stable").wait(cluster="apps", services=["serviceB"], WaiterConfig={"MaxAttempts": 1})


def test_events_tell_newest_first_what_happened(ecs: Any) -> None:
    ecs.create_service(**service())
    settle()
    messages = [event["message"] for event in described(ecs)["events"]]
    assert messages[0] == "(service serviceB) has reached a steady state."
    assert messages[-1].startswith("(service serviceB) has started 1 tasks: (task ")


def test_the_network_configuration_comes_back_as_given(ecs: Any) -> None:
    network = {
        "awsvpcConfiguration": {
            "subnets": ["s-1", "s-2"],
            "securityGroups": ["g"],
            "assignPublicIp": "ENABLED",
        }
    }
    made = ecs.create_service(**service(networkConfiguration=network))["service"]
    assert made["networkConfiguration"] == network


def test_containers_with_a_health_check_are_healthy_and_others_unknown(ecs: Any) -> None:
    request = definition()
    request["containerDefinitions"].append({"name": "plain", "image": "plain"})
    ecs.register_task_definition(**request)
    ecs.create_service(**service())
    settle()
    (task,) = ecs.describe_tasks(cluster="apps", tasks=ecs.list_tasks(cluster="apps")["taskArns"])["tasks"]
    assert {c["name"]: c["healthStatus"] for c in task["containers"]} == {
        "app": "HEALTHY",
        "plain": "UNKNOWN",
    }
    assert (task["lastStatus"], task["healthStatus"], task["group"]) == (
        "RUNNING",
        "HEALTHY",
        "service:serviceB",
    )
    assert task["startedBy"] == described(ecs)["deployments"][0]["id"]


def test_each_task_has_an_address_of_its_own_in_its_subnet(aws: Aws, ecs: Any) -> None:
    vpc = aws.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = aws.ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.7.0/24")["Subnet"]["SubnetId"]
    network = {"awsvpcConfiguration": {"subnets": [subnet]}}
    ecs.create_service(**service(desiredCount=3, networkConfiguration=network))
    settle()
    tasks = ecs.describe_tasks(cluster="apps", tasks=ecs.list_tasks(cluster="apps")["taskArns"])["tasks"]
    addresses = {task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"] for task in tasks}
    assert len(addresses) == 3
    assert all(address.startswith("10.0.7.") for address in addresses)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_scaling_starts_and_stops_tasks_without_a_deployment(ecs: Any, count: int) -> None:
    ecs.create_service(**service(desiredCount=2))
    settle()
    before = described(ecs)["deployments"][0]["id"]
    ecs.update_service(cluster="apps", service="serviceB", desiredCount=count)
    settle()
    found = described(ecs)
    assert (found["runningCount"], [d["id"] for d in found["deployments"]]) == (count, [before])
    assert len(ecs.list_tasks(cluster="apps", serviceName="serviceB")["taskArns"]) == count


def _rolls(ecs: Any, percents: dict[str, int], desired: int) -> list[tuple[int, int]]:
    """Deploy a second revision and return (old, new) running tasks after each step."""
    ecs.create_service(**service(desiredCount=desired, deploymentConfiguration=percents))
    settle()
    ecs.register_task_definition(**definition())
    ecs.update_service(cluster="apps", service="serviceB", taskDefinition="taskB:2")
    seen = []
    while control_plane.reconcile():
        counts = {"1": 0, "2": 0}
        for deployment in described(ecs)["deployments"]:
            counts[deployment["taskDefinition"][-1]] += deployment["runningCount"]
        seen.append((counts["1"], counts["2"]))
    return seen


@pytest.mark.parametrize(
    ("least", "most", "desired"),
    [(100, 200, 1), (100, 150, 2), (50, 100, 2), (0, 100, 1), (100, 200, 4), (50, 150, 4)],
)
def test_a_rolling_deployment_stays_within_its_bounds_and_ends(
    ecs: Any,
    least: int,
    most: int,
    desired: int,
) -> None:
    seen = _rolls(ecs, {"minimumHealthyPercent": least, "maximumPercent": most}, desired)
    assert all(desired * least / 100 <= old + new <= desired * most / 100 for old, new in seen)
    assert seen[-1] == (0, desired)
    found = described(ecs)
    assert [d["taskDefinition"][-7:] for d in found["deployments"]] == ["taskB:2"]
    assert found["taskDefinition"].endswith("taskB:2")


def test_the_former_deployment_is_active_until_its_tasks_are_gone(ecs: Any) -> None:
    ecs.create_service(**service())
    settle()
    ecs.register_task_definition(**definition())
    ecs.update_service(cluster="apps", service="serviceB", taskDefinition="taskB")
    states = [(d["status"], d["taskDefinition"][-1], d["runningCount"]) for d in described(ecs)["deployments"]]
    assert states == [("PRIMARY", "2", 0), ("ACTIVE", "1", 1)]


def test_the_same_revision_starts_no_deployment_unless_forced(ecs: Any) -> None:
    ecs.create_service(**service())
    settle()
    same = {"cluster": "apps", "service": "serviceB", "taskDefinition": "taskB:1"}
    assert len(ecs.update_service(**same)["service"]["deployments"]) == 1
    assert len(ecs.update_service(**same, forceNewDeployment=True)["service"]["deployments"]) == 2


def test_an_update_keeps_what_it_does_not_name(ecs: Any) -> None:
    percents = {"minimumHealthyPercent": 50, "maximumPercent": 150}
    ecs.create_service(**service(desiredCount=2, deploymentConfiguration=percents))
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    ecs.update_service(cluster="apps", service="serviceB", deploymentConfiguration=breaker)
    found = described(ecs)
    assert found["deploymentConfiguration"].items() >= {**percents, **breaker}.items()
    assert (found["desiredCount"], found["launchType"]) == (2, "FARGATE")


def test_a_stopped_task_is_replaced(ecs: Any) -> None:
    ecs.create_service(**service())
    settle()
    (first,) = ecs.list_tasks(cluster="apps")["taskArns"]
    ecs.stop_task(cluster="apps", task=first, reason="enough")
    settle()
    (second,) = ecs.list_tasks(cluster="apps")["taskArns"]
    (gone,) = ecs.describe_tasks(cluster="apps", tasks=[first])["tasks"]
    assert second != first
    assert (gone["lastStatus"], gone["stoppedReason"], gone["stopCode"]) == (
        "STOPPED",
        "enough",
        "UserInitiated",
    )
    assert ecs.list_tasks(cluster="apps", desiredStatus="STOPPED")["taskArns"] == [first]


def test_a_service_with_tasks_is_deleted_only_by_force(ecs: Any) -> None:
    ecs.create_service(**service())
    settle()
    found = refused(ecs.delete_service, cluster="apps", service="serviceB")
    assert found[0] == "InvalidParameterException"
    assert ecs.delete_service(cluster="apps", service="serviceB", force=True)["service"]["status"] == "DRAINING"


def test_a_deleted_service_drains_and_is_then_inactive(ecs: Any) -> None:
    ecs.create_service(**service())
    settle()
    ecs.update_service(cluster="apps", service="serviceB", desiredCount=0)
    settle()
    assert ecs.delete_service(cluster="apps", service="serviceB")["service"]["status"] == "DRAINING"
    assert ecs.list_services(cluster="apps")["serviceArns"] != []
    settle()
    assert described(ecs)["status"] == "INACTIVE"
    assert ecs.list_services(cluster="apps")["serviceArns"] == []


def test_a_draining_name_is_taken_and_an_inactive_one_is_free(ecs: Any) -> None:
    ecs.create_service(**service(desiredCount=0))
    ecs.delete_service(cluster="apps", service="serviceB")
    words = "Unable to Start a service that is still Draining."
    assert refused(ecs.create_service, **service()) == ("InvalidParameterException", 400, words)
    settle()
    assert ecs.create_service(**service())["service"]["status"] == "ACTIVE"


def test_an_inactive_service_is_neither_updated_nor_deleted(ecs: Any) -> None:
    ecs.create_service(**service(desiredCount=0))
    ecs.delete_service(cluster="apps", service="serviceB")
    settle()
    named = {"cluster": "apps", "service": "serviceB"}
    assert refused(ecs.update_service, **named, desiredCount=1)[0] == "ServiceNotActiveException"
    assert refused(ecs.delete_service, **named)[0] == "ServiceNotFoundException"


def test_what_code_deploy_deploys_has_task_sets_and_no_deployment_by_ecs(ecs: Any) -> None:
    ecs.create_service(**service(deploymentController={"type": "CODE_DEPLOY"}))
    settle()
    found = described(ecs)
    revision = found["taskDefinition"]
    assert found["deployments"] == []
    assert [(s["status"], s["taskDefinition"], s["stabilityStatus"]) for s in found["taskSets"]] == [
        ("PRIMARY", revision, "STEADY_STATE")
    ]
    by_code_deploy = (
        "on services with a CODE_DEPLOY deployment controller. Use AWS CodeDeploy to trigger a new deployment."
    )
    named = {"cluster": "apps", "service": "serviceB"}
    for more, words in (
        ({"taskDefinition": revision}, f"Unable to update task definition {by_code_deploy}"),
        ({"forceNewDeployment": True}, f"Cannot force a new deployment {by_code_deploy}"),
    ):
        assert refused(ecs.update_service, **named, **more) == ("InvalidParameterException", 400, words)
    assert ecs.update_service(**named, desiredCount=2)["service"]["desiredCount"] == 2


def test_other_controllers_are_refused(ecs: Any) -> None:
    wanted = service(deploymentController={"type": "EXTERNAL"})
    assert refused(ecs.create_service, **wanted)[2] == "TaskDefinition must be blank."
    del wanted["taskDefinition"]
    assert refused(ecs.create_service, **wanted)[:2] == ("NotImplementedException", 501)


def test_a_service_that_never_was_is_not_found(ecs: Any) -> None:
    words = refused(ecs.update_service, cluster="apps", service="ghost", desiredCount=1)
    assert words[0] == "ServiceNotFoundException"
    (failure,) = ecs.describe_services(cluster="apps", services=["ghost"])["failures"]
    assert failure["reason"] == "MISSING"


def test_a_cluster_that_never_was_is_not_found(ecs: Any) -> None:
    assert refused(ecs.list_services, cluster="ghost")[0] == "ClusterNotFoundException"


def test_creating_the_very_same_service_again_answers_with_it(ecs: Any) -> None:
    first = ecs.create_service(**service())["service"]
    assert ecs.create_service(**service())["service"]["createdAt"] == first["createdAt"]
    words = "Creation of service was not idempotent."
    assert refused(ecs.create_service, **service(desiredCount=5))[2] == words


def test_a_service_wants_a_revision_that_fits_its_launch_type(ecs: Any) -> None:
    container = {"name": "app", "image": "app", "memory": 64}
    ecs.register_task_definition(family="plain", containerDefinitions=[container])
    words = "Task definition does not support launch_type FARGATE."
    assert refused(ecs.create_service, **service(taskDefinition="plain"))[2] == words


def test_awsvpc_wants_a_network_configuration(ecs: Any) -> None:
    request = service()
    del request["networkConfiguration"]
    words = "Network Configuration must be provided when networkMode 'awsvpc' is specified."
    assert refused(ecs.create_service, **request)[2] == words


def test_a_bridge_service_runs_on_ec2(ecs: Any) -> None:
    container = {
        "name": "app",
        "image": "app",
        "memory": 64,
        "portMappings": [{"containerPort": 80, "hostPort": 8080}],
    }
    ecs.register_task_definition(family="plain", containerDefinitions=[container])
    ecs.create_service(cluster="apps", serviceName="plain", taskDefinition="plain", desiredCount=1)
    settle()
    found = described(ecs, "plain")
    assert (found["launchType"], found["runningCount"]) == ("EC2", 1)


def test_tags_are_described_only_where_asked_for(ecs: Any) -> None:
    tags = [{"key": "k", "value": "v"}]
    ecs.create_service(**service(tags=tags))
    assert "tags" not in described(ecs)
    found = ecs.describe_services(cluster="apps", services=["serviceB"], include=["TAGS"])["services"][0]
    assert found["tags"] == tags


def test_tags_propagate_to_tasks_from_where_it_says(ecs: Any) -> None:
    ecs.create_service(**service(tags=[{"key": "k", "value": "v"}], propagateTags="SERVICE"))
    settle()
    arns = ecs.list_tasks(cluster="apps")["taskArns"]
    (task,) = ecs.describe_tasks(cluster="apps", tasks=arns, include=["TAGS"])["tasks"]
    assert task["tags"] == [{"key": "k", "value": "v"}]


def test_services_and_revisions_can_be_tagged(ecs: Any) -> None:
    arn = ecs.create_service(**service())["service"]["serviceArn"]
    for value in ("1", "2"):
        ecs.tag_resource(resourceArn=arn, tags=[{"key": "k", "value": value}])
    assert ecs.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "k", "value": "2"}]
    ecs.untag_resource(resourceArn=arn, tagKeys=["k"])
    assert ecs.list_tags_for_resource(resourceArn=arn)["tags"] == []


def test_eleven_services_are_too_many_to_describe_at_once(ecs: Any) -> None:
    names = [f"s{n}" for n in range(11)]
    found = refused(ecs.describe_services, cluster="apps", services=names)
    assert found[0] == "InvalidParameterException"


def test_services_are_listed_in_pages(ecs: Any) -> None:
    for number in range(3):
        ecs.create_service(**service(f"s{number}", desiredCount=0))
    pages = ecs.get_paginator("list_services").paginate(cluster="apps", PaginationConfig={"PageSize": 2})
    assert [len(page["serviceArns"]) for page in pages] == [2, 1]


def test_a_cluster_knows_what_is_in_it_and_is_not_deleted_with_services(ecs: Any) -> None:
    ecs.create_service(**service())
    settle()
    (cluster,) = ecs.describe_clusters(clusters=["apps"])["clusters"]
    assert (cluster["activeServicesCount"], cluster["runningTasksCount"]) == (1, 1)
    assert refused(ecs.delete_cluster, cluster="apps")[0] == "ClusterContainsServicesException"


def test_creating_a_cluster_again_keeps_it(ecs: Any) -> None:
    ecs.create_service(**service())
    assert ecs.create_cluster(clusterName="apps")["cluster"]["activeServicesCount"] == 1
