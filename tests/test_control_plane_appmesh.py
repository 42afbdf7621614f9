"""App Mesh's own life of a resource: documents, versions, tokens, lists, tags."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.control_plane_fixtures import (
    Aws,
    aws,
    endpoint,
    listener,
    mesh,
    node_spec,
    refused,
    route_spec,
    shared_clients,
)

ROUTE = {"meshName": "apps", "virtualRouterName": "serviceB", "routeName": "serviceB"}


def test_a_new_resource_has_version_1_its_owner_and_the_documented_arn(aws: Aws, mesh: Any) -> None:
    metadata = mesh.describe_route(**ROUTE)["route"]["metadata"]
    path = "mesh/apps/virtualRouter/serviceB/route/serviceB"
    assert metadata["arn"] == f"arn:aws:appmesh:us-west-2:{aws.account}:{path}"
    assert (metadata["version"], metadata["meshOwner"], metadata["resourceOwner"]) == (
        1,
        aws.account,
        aws.account,
    )


def test_times_are_now_in_utc(mesh: Any) -> None:
    created = mesh.describe_mesh(meshName="apps")["mesh"]["metadata"]["createdAt"]
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)


def test_each_resource_has_a_uid_of_its_own(mesh: Any) -> None:
    nodes = ("serviceB", "serviceBv2")
    found = [mesh.describe_virtual_node(meshName="apps", virtualNodeName=n)["virtualNode"] for n in nodes]
    assert len({node["metadata"]["uid"] for node in found}) == 2


def test_a_resource_made_again_has_another_uid(aws: Aws) -> None:
    first = aws.appmesh.create_mesh(meshName="m")["mesh"]["metadata"]["uid"]
    aws.appmesh.delete_mesh(meshName="m")
    assert aws.appmesh.create_mesh(meshName="m")["mesh"]["metadata"]["uid"] != first


def test_an_update_raises_the_version_by_one_and_keeps_uid_and_creation(mesh: Any) -> None:
    before = mesh.describe_route(**ROUTE)["route"]["metadata"]
    after = mesh.update_route(**ROUTE, spec=route_spec(serviceBv2=100))["route"]["metadata"]
    assert after["version"] == before["version"] + 1
    assert (after["uid"], after["createdAt"]) == (before["uid"], before["createdAt"])


def test_an_update_replaces_the_whole_spec(mesh: Any) -> None:
    spec = route_spec(serviceB=100)
    mesh.update_route(**ROUTE, spec={**spec, "priority": 3})
    mesh.update_route(**ROUTE, spec=spec)
    assert mesh.describe_route(**ROUTE)["route"]["spec"] == spec


def test_a_delete_answers_with_the_last_data_and_status_deleted(mesh: Any) -> None:
    gone = mesh.delete_route(**ROUTE)["route"]
    assert gone["status"] == {"status": "DELETED"}
    assert gone["spec"] == route_spec(serviceB=75, serviceBv2=25)
    assert refused(mesh.describe_route, **ROUTE)[0] == "NotFoundException"


def test_a_mesh_without_a_spec_is_described_with_an_empty_one(aws: Aws) -> None:
    assert aws.appmesh.create_mesh(meshName="m")["mesh"]["spec"] == {}


def test_a_node_without_backends_is_described_with_an_empty_list(mesh: Any) -> None:
    node = mesh.describe_virtual_node(meshName="apps", virtualNodeName="serviceB")["virtualNode"]
    assert node["spec"] == {**node_spec("serviceb.apps.local"), "backends": []}


@pytest.mark.parametrize("kind", ["virtual_service", "virtual_router"])
def test_an_empty_spec_is_enough_for(mesh: Any, kind: str) -> None:
    name = "".join(part.capitalize() for part in kind.split("_"))
    name = name[0].lower() + name[1:]
    made = getattr(mesh, f"create_{kind}")(**{"meshName": "apps", f"{name}Name": "empty", "spec": {}})
    assert made[name]["spec"] == {}


def test_every_member_of_a_spec_comes_back_as_it_was_sent(mesh: Any) -> None:
    spec: dict[str, Any] = {
        "backends": [{"virtualService": {"virtualServiceName": "not.there.yet"}}],
        "backendDefaults": {
            "clientPolicy": {"tls": {"enforce": False, "validation": {"trust": {"sds": {"secretName": "s"}}}}}
        },
        "listeners": [
            {
                **listener(9080, "http"),
                "healthCheck": {
                    "protocol": "http",
                    "path": "/ping",
                    "healthyThreshold": 2,
                    "unhealthyThreshold": 3,
                    "intervalMillis": 5000,
                    "timeoutMillis": 2000,
                },
                "timeout": {"http": {"perRequest": {"unit": "s", "value": 30}, "idle": {"unit": "ms", "value": 0}}},
                "connectionPool": {"http": {"maxConnections": 10, "maxPendingRequests": 5}},
                "outlierDetection": {
                    "maxServerErrors": 5,
                    "interval": {"unit": "s", "value": 10},
                    "baseEjectionDuration": {"unit": "s", "value": 10},
                    "maxEjectionPercent": 50,
                },
            }
        ],
        "logging": {"accessLog": {"file": {"path": "/dev/stdout", "format": {"json": [{"key": "k", "value": "v"}]}}}},
        "serviceDiscovery": {"awsCloudMap": {"namespaceName": "apps.local", "serviceName": "c"}},
    }
    mesh.create_virtual_node(meshName="apps", virtualNodeName="full", spec=spec)
    assert mesh.describe_virtual_node(meshName="apps", virtualNodeName="full")["virtualNode"]["spec"] == spec


@pytest.mark.parametrize("weights", [{"serviceB": 100, "serviceBv2": 100}, {"serviceB": 0, "serviceBv2": 0}])
def test_weights_that_do_not_sum_to_100_are_accepted_as_aws_does(mesh: Any, weights: dict[str, int]) -> None:
    route = mesh.update_route(**ROUTE, spec=route_spec(**weights))["route"]
    assert route["spec"] == route_spec(**weights)


def test_the_same_token_and_request_is_answered_without_a_new_version(mesh: Any) -> None:
    request = {**ROUTE, "spec": route_spec(serviceB=50, serviceBv2=50), "clientToken": "once"}
    first, again = mesh.update_route(**request)["route"], mesh.update_route(**request)["route"]
    assert first == again
    assert mesh.describe_route(**ROUTE)["route"]["metadata"]["version"] == 2


def test_the_same_token_on_create_makes_one_resource(mesh: Any) -> None:
    request = {"meshName": "apps", "virtualNodeName": "n", "spec": node_spec("n"), "clientToken": "t"}
    first = mesh.create_virtual_node(**request)["virtualNode"]
    assert mesh.create_virtual_node(**request)["virtualNode"] == first


def test_the_same_token_with_another_spec_is_a_conflict(mesh: Any) -> None:
    mesh.update_route(**ROUTE, spec=route_spec(serviceB=50, serviceBv2=50), clientToken="t")
    code, status, words = refused(mesh.update_route, **ROUTE, spec=route_spec(serviceB=1), clientToken="t")
    assert (code, status) == ("ConflictException", 409)
    assert "client token that was used for a previous update resource call with different specifications" in words


def test_a_token_is_free_again_once_its_resource_is_gone(aws: Aws) -> None:
    aws.appmesh.create_mesh(meshName="m", clientToken="t")
    aws.appmesh.delete_mesh(meshName="m")
    aws.appmesh.create_mesh(meshName="m", clientToken="t")
    assert aws.appmesh.describe_mesh(meshName="m")["mesh"]["status"] == {"status": "ACTIVE"}


def test_a_name_that_is_taken_is_a_conflict(mesh: Any) -> None:
    assert refused(mesh.create_mesh, meshName="apps")[:2] == ("ConflictException", 409)


def test_another_accounts_mesh_is_not_there(mesh: Any) -> None:
    assert refused(mesh.describe_mesh, meshName="apps", meshOwner="999999999999")[0] == "NotFoundException"


def test_accounts_do_not_see_each_other(aws: Aws, mesh: Any) -> None:
    aws.account = "999999999998"
    assert mesh.list_meshes()["meshes"] == []


@pytest.mark.parametrize(
    ("operation", "listed", "arguments", "names"),
    [
        ("list_virtual_nodes", "virtualNodes", {}, ["serviceB", "serviceBv2"]),
        ("list_virtual_routers", "virtualRouters", {}, ["serviceB"]),
        ("list_virtual_services", "virtualServices", {}, ["serviceb.apps.local"]),
        ("list_routes", "routes", {"virtualRouterName": "serviceB"}, ["serviceB"]),
        ("list_virtual_gateways", "virtualGateways", {}, []),
    ],
)
def test_lists_what_is_under_the_mesh(
    mesh: Any,
    operation: str,
    listed: str,
    arguments: dict[str, str],
    names: list[str],
) -> None:
    found = getattr(mesh, operation)(meshName="apps", **arguments)[listed]
    key = listed[:-1] + "Name"
    assert [reference[key] for reference in found] == names


def test_a_list_goes_on_where_the_page_before_ended(mesh: Any) -> None:
    first = mesh.list_virtual_nodes(meshName="apps", limit=1)
    second = mesh.list_virtual_nodes(meshName="apps", limit=1, nextToken=first["nextToken"])
    names = [page["virtualNodes"][0]["virtualNodeName"] for page in (first, second)]
    assert names == ["serviceB", "serviceBv2"]
    assert "nextToken" not in second


def test_the_sdks_own_paginators_read_every_list(mesh: Any) -> None:
    pages = mesh.get_paginator("list_virtual_nodes").paginate(meshName="apps", PaginationConfig={"PageSize": 1})
    assert [len(page["virtualNodes"]) for page in pages] == [1, 1]


@pytest.mark.parametrize("arguments", [{"limit": 101}, {"nextToken": "nonsense"}])
def test_a_page_that_cannot_be_is_a_bad_request(mesh: Any, arguments: dict[str, Any]) -> None:
    assert refused(mesh.list_virtual_nodes, meshName="apps", **arguments)[:2] == ("BadRequestException", 400)


def test_tags_given_at_creation_are_listed(aws: Aws) -> None:
    made = aws.appmesh.create_mesh(meshName="m", tags=[{"key": "runbook", "value": "yes"}])["mesh"]
    tags = aws.appmesh.list_tags_for_resource(resourceArn=made["metadata"]["arn"])["tags"]
    assert tags == [{"key": "runbook", "value": "yes"}]


def test_tagging_a_key_again_replaces_its_value(mesh: Any) -> None:
    arn = mesh.describe_route(**ROUTE)["route"]["metadata"]["arn"]
    for value in ("1", "2"):
        mesh.tag_resource(resourceArn=arn, tags=[{"key": "k", "value": value}])
    assert mesh.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "k", "value": "2"}]


def test_untagging_leaves_the_other_keys(mesh: Any) -> None:
    arn = mesh.describe_mesh(meshName="apps")["mesh"]["metadata"]["arn"]
    mesh.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
    mesh.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert mesh.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "b", "value": "2"}]


def test_the_51st_tag_is_too_many(mesh: Any) -> None:
    arn = mesh.describe_mesh(meshName="apps")["mesh"]["metadata"]["arn"]
    mesh.tag_resource(resourceArn=arn, tags=[{"key": f"k{n}", "value": ""} for n in range(50)])
    assert refused(mesh.tag_resource, resourceArn=arn, tags=[{"key": "x", "value": ""}])[:2] == (
        "TooManyTagsException",
        400,
    )


def test_a_key_twice_in_one_request_is_a_bad_request(aws: Aws) -> None:
    twice = [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]
    assert refused(aws.appmesh.create_mesh, meshName="m", tags=twice)[0] == "BadRequestException"


def test_tags_of_what_is_not_there_are_not_found(aws: Aws) -> None:
    arn = f"arn:aws:appmesh:us-west-2:{aws.account}:mesh/none"
    assert refused(aws.appmesh.list_tags_for_resource, resourceArn=arn)[:2] == ("NotFoundException", 404)


def test_gateways_and_their_routes_live_like_the_rest(mesh: Any) -> None:
    gateway = {"meshName": "apps", "virtualGatewayName": "edge"}
    mesh.create_virtual_gateway(**gateway, spec={"listeners": [listener(8080, "http")]})
    target = {"virtualService": {"virtualServiceName": "serviceb.apps.local"}}
    spec = {"httpRoute": {"match": {"prefix": "/"}, "action": {"target": target}}}
    named = {**gateway, "gatewayRouteName": "all"}
    made = mesh.create_gateway_route(**named, spec=spec)["gatewayRoute"]
    assert made["metadata"]["arn"].endswith("mesh/apps/virtualGateway/edge/gatewayRoute/all")
    assert mesh.update_gateway_route(**named, spec=spec)["gatewayRoute"]["metadata"]["version"] == 2
    assert len(mesh.list_gateway_routes(**gateway)["gatewayRoutes"]) == 1
    mesh.delete_gateway_route(**named)
    assert mesh.delete_virtual_gateway(**gateway)["virtualGateway"]["status"] == {"status": "DELETED"}
