"""Task definitions: what ECS makes of them, what it refuses (facts/appmesh.md 3.4 and 6.1), and their revisions."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from runbook_lib.local.control_plane.task_definition_rules import check_definition, normalised
from runbook_lib.local.control_plane.wire import ApiError
from tests.control_plane_fixtures import Aws, aws, definition, ecs, endpoint, refused, service, shared_clients

PROXY = {
    "type": "APPMESH",
    "containerName": "envoy",
    "properties": [{"name": "AppPorts", "value": "80"}, {"name": "EgressIgnoredPorts", "value": "22"}],
}
ENVOY = {"name": "envoy", "image": "envoy", "healthCheck": {"command": ["CMD", "true"]}}


def meshed(**more: Any) -> dict[str, Any]:
    """Return a definition with an Envoy sidecar the application waits for."""
    request = definition(proxyConfiguration=deepcopy(PROXY), **more)
    request["containerDefinitions"][0]["dependsOn"] = [{"containerName": "envoy", "condition": "HEALTHY"}]
    request["containerDefinitions"].append(deepcopy(ENVOY))
    return request


def on_ec2(**container: Any) -> dict[str, Any]:
    return {"family": "f", "containerDefinitions": [{"name": "app", "image": "app", **container}]}


def refusal_of(request: dict[str, Any]) -> str:
    """Return the words a registration is refused with."""
    with pytest.raises(ApiError) as caught:
        check_definition(request, normalised(request))
    assert (caught.value.code, caught.value.status) == ("ClientException", 400)
    return caught.value.message


def test_a_meshed_definition_comes_back_as_sent_with_its_defaults_filled_in(ecs: Any) -> None:
    made = ecs.register_task_definition(**meshed())["taskDefinition"]
    assert made["proxyConfiguration"] == PROXY
    app, envoy = made["containerDefinitions"]
    assert app["portMappings"] == [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}]
    assert (envoy["essential"], envoy["cpu"], envoy["environment"]) == (True, 0, [])
    assert envoy["healthCheck"] == {"command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3}


def test_what_describe_adds_is_there(aws: Aws, ecs: Any) -> None:
    found = ecs.describe_task_definition(taskDefinition="taskB")["taskDefinition"]
    assert found["taskDefinitionArn"] == f"arn:aws:ecs:us-west-2:{aws.account}:task-definition/taskB:1"
    assert (found["revision"], found["status"]) == (1, "ACTIVE")
    assert found["compatibilities"] == ["EC2", "FARGATE"]
    assert found["registeredAt"].year > 2000


@pytest.mark.parametrize(
    ("cpu", "memory", "expected"),
    [
        ("0.5 vCPU", "1 GB", ("512", "1024")),
        (".5 vcpu", "1GB", ("512", "1024")),
        ("1 vCPU", "2048", ("1024", "2048")),
    ],
)
def test_sizes_are_described_in_units(ecs: Any, cpu: str, memory: str, expected: tuple[str, str]) -> None:
    made = ecs.register_task_definition(**definition(cpu=cpu, memory=memory))["taskDefinition"]
    assert (made["cpu"], made["memory"]) == expected


def test_an_empty_proxy_property_is_described_without_its_value(ecs: Any) -> None:
    request = meshed()
    request["proxyConfiguration"]["properties"][1]["value"] = ""
    made = ecs.register_task_definition(**request)["taskDefinition"]
    assert made["proxyConfiguration"]["properties"][1] == {"name": "EgressIgnoredPorts"}


def test_a_definition_without_a_network_mode_is_bridge_and_ec2_only(ecs: Any) -> None:
    made = ecs.register_task_definition(**on_ec2(memory=64))["taskDefinition"]
    assert (made["networkMode"], made["compatibilities"]) == ("bridge", ["EC2"])


def test_tags_are_described_only_where_asked_for(ecs: Any) -> None:
    ecs.register_task_definition(**definition(tags=[{"key": "k", "value": "v"}]))
    assert "tags" not in ecs.describe_task_definition(taskDefinition="taskB")
    found = ecs.describe_task_definition(taskDefinition="taskB", include=["TAGS"])
    assert found["tags"] == [{"key": "k", "value": "v"}]


def test_a_refusal_reaches_the_client_as_client_exception(ecs: Any) -> None:
    words = "Fargate requires that 'cpu' be defined at the task level."
    assert refused(ecs.register_task_definition, **definition(cpu="")) == ("ClientException", 400, words)


def test_an_empty_variable_is_described_as_none(ecs: Any) -> None:
    request = definition()
    request["containerDefinitions"][0]["environment"] = [{"name": "EMPTY", "value": ""}, {"name": "A", "value": "b"}]
    made = ecs.register_task_definition(**request)["taskDefinition"]
    assert made["containerDefinitions"][0]["environment"] == [{"name": "A", "value": "b"}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"links": ["other"]}, "Links are not supported when networkMode=awsvpc."),
        ({"volumesFrom": [{"sourceContainer": "other"}]}, "Invalid 'volumesFrom' setting for container 'app'."),
        ({"mountPoints": [{"sourceVolume": "data", "containerPath": "/d"}]}, "Unknown volume 'data'."),
        (
            {"portMappings": [{"containerPort": 53, "protocol": "udp"}] * 2},
            "UDP host port '53' is mapped multiple times in task.",
        ),
    ],
)
def test_refuses_a_container_that_asks_for_what_is_not_there(changes: dict[str, Any], words: str) -> None:
    request = definition()
    request["containerDefinitions"][0].update(changes)
    assert refusal_of(request) == words


def test_one_port_may_be_mapped_for_each_protocol() -> None:
    request = definition()
    mappings = [{"containerPort": 53, "protocol": "udp"}, {"containerPort": 53, "protocol": "tcp"}]
    request["containerDefinitions"][0]["portMappings"] = mappings
    check_definition(request, normalised(request))


def test_refuses_a_proxy_outside_awsvpc() -> None:
    request = meshed(networkMode="bridge", requiresCompatibilities=["EC2"])
    assert refusal_of(request) == "APPMESH proxy configuration is only supported in networkMode=awsvpc"


def test_refuses_a_proxy_property_without_a_value() -> None:
    request = meshed()
    del request["proxyConfiguration"]["properties"][0]["value"]
    assert refusal_of(request) == "ProxyConfiguration properties value cannot be null"


def test_refuses_a_proxy_container_that_is_not_there() -> None:
    request = meshed()
    request["proxyConfiguration"]["containerName"] = "ghost"
    assert "ghost" in refusal_of(request)


def test_a_port_range_is_registered_and_described_as_sent(ecs: Any) -> None:
    given = meshed()
    given["containerDefinitions"][0]["portMappings"] = [{"containerPort": 80}, {"containerPortRange": "9100-9110"}]
    found = ecs.register_task_definition(**given)["taskDefinition"]["containerDefinitions"][0]["portMappings"]
    assert found == [
        {"containerPort": 80, "hostPort": 80, "protocol": "tcp"},
        {"containerPortRange": "9100-9110", "protocol": "tcp"},
    ]


@pytest.mark.parametrize(
    ("mapping", "member"),
    [
        ({}, "containerPort"),
        ({"hostPort": 80}, "containerPort"),
        ({"containerPort": 80, "containerPortRange": "80-81"}, "containerPort"),
        ({"containerPortRange": "80"}, "containerPortRange"),
        ({"containerPortRange": "90-80"}, "containerPortRange"),
        ({"containerPortRange": "a-b"}, "containerPortRange"),
    ],
)
def test_refuses_a_mapping_that_names_no_port(mapping: dict[str, Any], member: str) -> None:
    request = meshed()
    request["containerDefinitions"][0]["portMappings"] = [mapping]
    assert refusal_of(request) == f"Invalid '{member}' setting for container 'app'."


def test_refuses_ports_that_differ_in_awsvpc() -> None:
    request = definition()
    request["containerDefinitions"][0]["portMappings"] = [{"containerPort": 80, "hostPort": 8080}]
    assert (
        refusal_of(request)
        == "When networkMode=awsvpc, the host ports and container ports in port mappings must match."
    )


@pytest.mark.parametrize("size", ["cpu", "memory"])
def test_fargate_wants_the_tasks_size(size: str) -> None:
    assert refusal_of(definition(**{size: ""})) == f"Fargate requires that '{size}' be defined at the task level."


@pytest.mark.parametrize(("cpu", "memory"), [("512", "512"), ("300", "1024"), ("256", "4096"), ("8192", "17408")])
def test_fargate_refuses_sizes_it_does_not_offer(cpu: str, memory: str) -> None:
    words = f"No Fargate configuration exists for given values: {cpu} CPU, {memory} memory."
    assert refusal_of(definition(cpu=cpu, memory=memory)) == words


def test_fargate_refuses_another_network_mode() -> None:
    assert "awsvpc" in refusal_of(definition(networkMode="bridge"))


def test_refuses_containers_that_want_more_cpu_than_the_task_has() -> None:
    request = definition()
    request["containerDefinitions"][0]["cpu"] = 513
    words = "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'."
    assert refusal_of(request) == words


def test_refuses_containers_that_reserve_more_memory_than_the_task_has() -> None:
    request = definition()
    request["containerDefinitions"][0]["memoryReservation"] = 1025
    assert "memory" in refusal_of(request)


def test_refuses_a_container_without_memory_where_the_task_has_none() -> None:
    words = "Invalid setting for container 'app'. At least one of 'memory' or 'memoryReservation' must be specified."
    assert refusal_of(on_ec2()) == words


def test_refuses_to_wait_for_a_container_that_is_not_there() -> None:
    assert "ghost" in refusal_of(on_ec2(memory=64, dependsOn=[{"containerName": "ghost", "condition": "START"}]))


def test_refuses_to_wait_for_the_health_of_a_container_without_a_check() -> None:
    request = meshed()
    del request["containerDefinitions"][1]["healthCheck"]
    assert "health check" in refusal_of(request)


@pytest.mark.parametrize("condition", ["SUCCESS", "COMPLETE"])
def test_refuses_to_wait_for_the_end_of_an_essential_container(condition: str) -> None:
    request = meshed()
    request["containerDefinitions"][0]["dependsOn"][0]["condition"] = condition
    words = "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container"
    assert refusal_of(request) == words


def test_refuses_containers_that_wait_for_each_other() -> None:
    request = meshed()
    request["containerDefinitions"][1]["dependsOn"] = [{"containerName": "app", "condition": "START"}]
    assert "cycle" in refusal_of(request)


@pytest.mark.parametrize("member", ["name", "image"])
def test_refuses_a_container_without(member: str) -> None:
    request = definition()
    del request["containerDefinitions"][0][member]
    assert refusal_of(request) == f"Container.{member} should not be null or empty."


def test_revisions_rise_and_a_family_means_the_latest_active_one(ecs: Any) -> None:
    ecs.register_task_definition(**definition())
    ecs.register_task_definition(**definition())
    ecs.deregister_task_definition(taskDefinition="taskB:3")
    found = ecs.describe_task_definition(taskDefinition="taskB")["taskDefinition"]
    assert found["revision"] == 2


def test_a_revision_is_never_used_again(ecs: Any) -> None:
    ecs.deregister_task_definition(taskDefinition="taskB:1")
    ecs.delete_task_definitions(taskDefinitions=["taskB:1"])
    made = ecs.register_task_definition(**definition())["taskDefinition"]
    assert made["revision"] == 2


def test_a_deregistered_revision_is_inactive_and_still_described(ecs: Any) -> None:
    ecs.deregister_task_definition(taskDefinition="taskB:1")
    found = ecs.describe_task_definition(taskDefinition="taskB:1")["taskDefinition"]
    assert found["status"] == "INACTIVE"
    assert found["deregisteredAt"] >= found["registeredAt"]


def test_deregistering_wants_an_active_revision(ecs: Any) -> None:
    assert refused(ecs.deregister_task_definition, taskDefinition="taskB")[2] == "Revision is missing."
    ecs.deregister_task_definition(taskDefinition="taskB:1")
    assert refused(ecs.deregister_task_definition, taskDefinition="taskB:1")[0] == "ClientException"


def test_a_family_without_an_active_revision_cannot_be_described(ecs: Any) -> None:
    ecs.deregister_task_definition(taskDefinition="taskB:1")
    found = refused(ecs.describe_task_definition, taskDefinition="taskB")
    assert found == ("ClientException", 400, "Unable to describe task definition.")


def test_an_active_revision_is_not_deleted(ecs: Any) -> None:
    assert len(ecs.delete_task_definitions(taskDefinitions=["taskB:1"])["failures"]) == 1
    assert ecs.describe_task_definition(taskDefinition="taskB:1")["taskDefinition"]["status"] == "ACTIVE"


def test_revisions_are_listed_by_family_and_status(ecs: Any) -> None:
    ecs.register_task_definition(**definition())
    ecs.register_task_definition(**definition(family="taskB-else"))
    ecs.deregister_task_definition(taskDefinition="taskB:1")

    def revisions(**wanted: str) -> list[str]:
        arns = ecs.list_task_definitions(**wanted)["taskDefinitionArns"]
        return [arn.rsplit("/")[-1] for arn in arns]

    assert revisions(familyPrefix="taskB") == ["taskB:2"]
    assert revisions(familyPrefix="taskB", status="INACTIVE") == ["taskB:1"]
    assert revisions() == ["taskB:2", "taskB-else:1"]
    assert ecs.list_task_definition_families(familyPrefix="taskB-")["families"] == ["taskB-else"]


def test_a_service_is_refused_an_inactive_or_unknown_revision(ecs: Any) -> None:
    ecs.deregister_task_definition(taskDefinition="taskB:1")
    assert refused(ecs.create_service, **service(taskDefinition="taskB:1"))[2] == "TaskDefinition is inactive"
    assert refused(ecs.create_service, **service(taskDefinition="ghost"))[2] == "TaskDefinition not found."
