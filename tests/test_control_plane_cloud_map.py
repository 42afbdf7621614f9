"""Cloud Map: what it refuses, what it finds, and the instances that ECS keeps in it."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

from typing import Any

import pytest

from tests.control_plane_fixtures import Aws, aws, ecs, endpoint, refused, service, settle, shared_clients

A_RECORDS = {"DnsRecords": [{"Type": "A", "TTL": 10}]}


@pytest.fixture
def cloud_map(aws: Aws) -> Any:
    """Return a client whose account has the private namespace apps.local."""
    aws.servicediscovery.create_private_dns_namespace(Name="apps.local", Vpc="vpc-1")
    return aws.servicediscovery


def _namespace(cloud_map: Any, name: str = "apps.local") -> str:
    found = cloud_map.list_namespaces(Filters=[{"Name": "NAME", "Values": [name]}])["Namespaces"]
    return str(found[0]["Id"])


def _service(cloud_map: Any, name: str = "serviceb") -> dict[str, Any]:
    made: dict[str, Any] = cloud_map.create_service(Name=name, NamespaceId=_namespace(cloud_map), DnsConfig=A_RECORDS)[
        "Service"
    ]
    return made


def _register(cloud_map: Any, service_id: str, address: str = "10.10.10.10", instance: str = "placeholder") -> str:
    attributes = {"AWS_INSTANCE_IPV4": address}
    done = cloud_map.register_instance(ServiceId=service_id, InstanceId=instance, Attributes=attributes)
    return str(done["OperationId"])


def _discovered(cloud_map: Any, name: str = "serviceb") -> list[str]:
    found = cloud_map.discover_instances(NamespaceName="apps.local", ServiceName=name)["Instances"]
    return sorted(instance["Attributes"]["AWS_INSTANCE_IPV4"] for instance in found)


def test_a_namespace_of_the_same_name_in_the_same_vpc_is_refused(cloud_map: Any) -> None:
    found = refused(cloud_map.create_private_dns_namespace, Name="apps.local", Vpc="vpc-1")
    assert found[:2] == ("NamespaceAlreadyExists", 400)


def test_a_vpc_can_have_several_namespaces(cloud_map: Any) -> None:
    cloud_map.create_private_dns_namespace(Name="more.local", Vpc="vpc-1")
    assert (
        refused(cloud_map.create_private_dns_namespace, Name="more.local", Vpc="vpc-1")[0] == "NamespaceAlreadyExists"
    )


def test_a_name_can_be_in_several_vpcs(cloud_map: Any) -> None:
    cloud_map.create_private_dns_namespace(Name="apps.local", Vpc="vpc-2")
    assert len(cloud_map.list_namespaces()["Namespaces"]) == 2


def test_a_service_of_the_same_name_is_refused_whatever_its_case(cloud_map: Any) -> None:
    _service(cloud_map)
    found = refused(cloud_map.create_service, Name="ServiceB", NamespaceId=_namespace(cloud_map))
    assert found[:2] == ("ServiceAlreadyExists", 400)


def test_a_service_wants_a_namespace_that_is_there(cloud_map: Any) -> None:
    assert refused(cloud_map.create_service, Name="s", NamespaceId="ns-none")[:2] == (
        "NamespaceNotFound",
        404,
    )


def test_a_service_with_instances_cannot_be_deleted(cloud_map: Any) -> None:
    made = _service(cloud_map)
    _register(cloud_map, made["Id"])
    assert refused(cloud_map.delete_service, Id=made["Id"])[:2] == ("ResourceInUse", 409)


def test_a_namespace_with_services_cannot_be_deleted(cloud_map: Any) -> None:
    _service(cloud_map)
    assert refused(cloud_map.delete_namespace, Id=_namespace(cloud_map))[:2] == ("ResourceInUse", 409)


def test_emptied_from_the_inside_everything_can_be_deleted(cloud_map: Any) -> None:
    made, namespace = _service(cloud_map), _namespace(cloud_map)
    _register(cloud_map, made["Id"])
    cloud_map.deregister_instance(ServiceId=made["Id"], InstanceId="placeholder")
    cloud_map.delete_service(Id=made["Id"])
    operation = cloud_map.delete_namespace(Id=namespace)["OperationId"]
    assert cloud_map.get_operation(OperationId=operation)["Operation"]["Status"] == "SUCCESS"
    assert cloud_map.list_namespaces()["Namespaces"] == []


def test_what_is_not_there_cannot_be_deleted(cloud_map: Any) -> None:
    assert refused(cloud_map.delete_service, Id="srv-none")[:2] == ("ServiceNotFound", 404)
    assert refused(cloud_map.delete_namespace, Id="ns-none")[:2] == ("NamespaceNotFound", 404)


def test_registering_an_instance_again_replaces_it(cloud_map: Any) -> None:
    made = _service(cloud_map)
    for address in ("10.0.0.1", "10.0.0.2"):
        _register(cloud_map, made["Id"], address)
    assert _discovered(cloud_map) == ["10.0.0.2"]


def test_an_operation_succeeds_and_can_still_be_read_after_a_list(cloud_map: Any) -> None:
    operation = _register(cloud_map, _service(cloud_map)["Id"])
    listed = [entry["Id"] for entry in cloud_map.list_operations()["Operations"]]
    assert operation in listed
    assert cloud_map.get_operation(OperationId=operation)["Operation"]["Status"] == "SUCCESS"


@pytest.mark.parametrize("call", ["get_instance", "deregister_instance"])
def test_an_instance_that_is_not_there_is_not_found(cloud_map: Any, call: str) -> None:
    made = _service(cloud_map)
    found = refused(getattr(cloud_map, call), ServiceId=made["Id"], InstanceId="ghost")
    assert found[0] == "InstanceNotFound"


def test_services_are_listed_by_namespace_with_their_instances_counted(cloud_map: Any) -> None:
    made = _service(cloud_map)
    cloud_map.create_http_namespace(Name="else")
    cloud_map.create_service(Name="other", NamespaceId=_namespace(cloud_map, "else"))
    _register(cloud_map, made["Id"])
    here = [{"Name": "NAMESPACE_ID", "Values": [_namespace(cloud_map)]}]
    found = cloud_map.list_services(Filters=here)["Services"]
    assert [(entry["Name"], entry["InstanceCount"]) for entry in found] == [("serviceb", 1)]


def test_lists_come_in_pages(cloud_map: Any) -> None:
    for number in range(3):
        _service(cloud_map, f"s{number}")
    pages = cloud_map.get_paginator("list_services").paginate(PaginationConfig={"PageSize": 2})
    assert [len(page["Services"]) for page in pages] == [2, 1]


def _running(ecs: Any, cloud_map: Any, **registry: Any) -> None:
    made = _service(cloud_map)
    ecs.create_service(**service(desiredCount=2, serviceRegistries=[{"registryArn": made["Arn"], **registry}]))
    settle()


def test_each_running_task_of_a_service_is_an_instance_at_its_address(ecs: Any, cloud_map: Any) -> None:
    _running(ecs, cloud_map)
    tasks = ecs.describe_tasks(cluster="apps", tasks=ecs.list_tasks(cluster="apps")["taskArns"])["tasks"]
    addresses = [task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"] for task in tasks]
    assert _discovered(cloud_map) == sorted(addresses)


def test_an_instance_is_named_for_its_task_and_says_whose_it_is(ecs: Any, cloud_map: Any) -> None:
    _running(ecs, cloud_map, containerName="app", containerPort=80)
    ids = {arn.rsplit("/", 1)[-1] for arn in ecs.list_tasks(cluster="apps")["taskArns"]}
    found = cloud_map.discover_instances(NamespaceName="apps.local", ServiceName="serviceb")["Instances"]
    assert {instance["InstanceId"] for instance in found} == ids
    assert found[0]["Attributes"]["ECS_SERVICE_NAME"] == "serviceB"
    assert found[0]["Attributes"]["AWS_INSTANCE_PORT"] == "80"


def test_scaled_to_nothing_a_service_leaves_no_instance(ecs: Any, cloud_map: Any) -> None:
    _running(ecs, cloud_map)
    ecs.update_service(cluster="apps", service="serviceB", desiredCount=0)
    settle()
    assert _discovered(cloud_map) == []


def test_a_placeholder_stays_when_the_tasks_go(ecs: Any, cloud_map: Any) -> None:
    _running(ecs, cloud_map)
    (registered,) = cloud_map.list_services()["Services"]
    _register(cloud_map, registered["Id"])
    ecs.delete_service(cluster="apps", service="serviceB", force=True)
    settle()
    assert _discovered(cloud_map) == ["10.10.10.10"]


def test_a_service_wants_a_registry_that_is_there_and_only_one(ecs: Any, cloud_map: Any) -> None:
    made = _service(cloud_map)
    ghost = {"registryArn": made["Arn"] + "x"}
    assert refused(ecs.create_service, **service(serviceRegistries=[ghost]))[0] == "InvalidParameterException"
    two = [{"registryArn": made["Arn"]}] * 2
    assert refused(ecs.create_service, **service(serviceRegistries=two))[0] == "InvalidParameterException"


def test_a_service_can_still_be_scaled_down_when_its_registry_is_gone(ecs: Any, cloud_map: Any) -> None:
    made = _service(cloud_map)
    ecs.create_service(**service(desiredCount=0, serviceRegistries=[{"registryArn": made["Arn"]}]))
    cloud_map.delete_service(Id=made["Id"])
    ecs.update_service(cluster="apps", service="serviceB", desiredCount=1)
    settle()
    ecs.update_service(cluster="apps", service="serviceB", desiredCount=0)
    assert settle() > 0
