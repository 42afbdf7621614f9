"""What App Mesh refuses, with its codes, statuses and words (facts/appmesh.md 2.3 and 2.5)."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

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
NODE = {"meshName": "apps", "virtualNodeName": "serviceB"}
BAD = ("BadRequestException", 400)
MISSING = ("NotFoundException", 404)
IN_USE = ("ResourceInUseException", 409)


def test_a_missing_node_is_named_with_its_mesh_and_account(aws: Aws, mesh: Any) -> None:
    found = refused(mesh.describe_virtual_node, meshName="apps", virtualNodeName="x")
    assert found == (
        *MISSING,
        f"VirtualNode with name x is not present under mesh apps for account {aws.account}",
    )


def test_what_is_under_a_missing_mesh_is_missing_for_the_mesh(aws: Aws) -> None:
    found = refused(aws.appmesh.list_virtual_nodes, meshName="m")
    assert found == (*MISSING, f"Mesh with name m is not present for account {aws.account}")


def test_a_route_under_a_missing_router_is_missing_for_the_router(mesh: Any) -> None:
    words = refused(mesh.describe_route, meshName="apps", virtualRouterName="r", routeName="t")[2]
    assert words.startswith("VirtualRouter with name r is not present under mesh apps")


@pytest.mark.case(12)
def test_a_node_that_a_route_targets_cannot_be_deleted(mesh: Any) -> None:
    words = "VirtualNode with name serviceB cannot be deleted because it is the target of one or more routes."
    assert refused(mesh.delete_virtual_node, **NODE) == (*IN_USE, words)


def test_a_target_with_weight_0_is_still_a_target(mesh: Any) -> None:
    mesh.update_route(**ROUTE, spec=route_spec(serviceB=0, serviceBv2=100))
    assert refused(mesh.delete_virtual_node, **NODE)[:2] == IN_USE


def test_a_node_no_longer_targeted_can_be_deleted(mesh: Any) -> None:
    mesh.update_route(**ROUTE, spec=route_spec(serviceBv2=100))
    assert mesh.delete_virtual_node(**NODE)["virtualNode"]["status"] == {"status": "DELETED"}


@pytest.mark.case(12)
def test_a_provider_cannot_be_deleted(mesh: Any) -> None:
    mesh.delete_route(**ROUTE)
    words = "VirtualRouter with name serviceB cannot be deleted because it is a VirtualService provider"
    found = refused(mesh.delete_virtual_router, meshName="apps", virtualRouterName="serviceB")
    assert found == (*IN_USE, words)


def test_a_node_that_is_a_provider_cannot_be_deleted(mesh: Any) -> None:
    spec = {"provider": {"virtualNode": {"virtualNodeName": "serviceA"}}}
    mesh.create_virtual_node(meshName="apps", virtualNodeName="serviceA", spec=node_spec("a"))
    mesh.create_virtual_service(meshName="apps", virtualServiceName="servicea.apps.local", spec=spec)
    words = refused(mesh.delete_virtual_node, meshName="apps", virtualNodeName="serviceA")[2]
    assert words == "VirtualNode with name serviceA cannot be deleted because it is a VirtualService provider"


def test_a_router_with_routes_cannot_be_deleted(mesh: Any) -> None:
    mesh.delete_virtual_service(meshName="apps", virtualServiceName="serviceb.apps.local")
    found = refused(mesh.delete_virtual_router, meshName="apps", virtualRouterName="serviceB")
    assert found[:2] == IN_USE


@pytest.mark.case(12)
def test_a_mesh_with_anything_in_it_cannot_be_deleted(aws: Aws) -> None:
    aws.appmesh.create_mesh(meshName="m")
    aws.appmesh.create_virtual_node(meshName="m", virtualNodeName="n", spec=node_spec("n"))
    words = (
        f"Mesh m for account {aws.account} has active VirtualNodes, please delete VirtualNodes before deleting the Mesh"
    )
    assert refused(aws.appmesh.delete_mesh, meshName="m") == (*IN_USE, words)


def test_a_mesh_with_a_virtual_service_cannot_be_deleted(aws: Aws) -> None:
    aws.appmesh.create_mesh(meshName="m")
    aws.appmesh.create_virtual_service(meshName="m", virtualServiceName="s.local", spec={})
    assert "has active VirtualServices" in refused(aws.appmesh.delete_mesh, meshName="m")[2]


def test_a_service_that_a_gateway_route_names_cannot_be_deleted(mesh: Any) -> None:
    gateway = {"meshName": "apps", "virtualGatewayName": "edge"}
    mesh.create_virtual_gateway(**gateway, spec={"listeners": [listener(8080, "http")]})
    target = {"virtualService": {"virtualServiceName": "serviceb.apps.local"}}
    spec = {"httpRoute": {"match": {"prefix": "/"}, "action": {"target": target}}}
    mesh.create_gateway_route(**gateway, gatewayRouteName="all", spec=spec)
    words = "VirtualService serviceb.apps.local is being referenced in the following: GATEWAY_ROUTE: [all]"
    found = refused(mesh.delete_virtual_service, meshName="apps", virtualServiceName="serviceb.apps.local")
    assert found == (*IN_USE, words)
    assert refused(mesh.delete_virtual_gateway, **gateway)[:2] == IN_USE


def test_a_backend_does_not_keep_its_virtual_service(mesh: Any) -> None:
    backends = [{"virtualService": {"virtualServiceName": "serviceb.apps.local"}}]
    spec = node_spec("a", backends=backends)
    mesh.create_virtual_node(meshName="apps", virtualNodeName="serviceA", spec=spec)
    mesh.delete_virtual_service(meshName="apps", virtualServiceName="serviceb.apps.local")


def test_a_route_to_a_node_that_is_not_there_is_not_found(mesh: Any) -> None:
    assert refused(mesh.update_route, **ROUTE, spec=route_spec(ghost=1))[:2] == MISSING


def test_a_provider_that_is_not_there_is_not_found(mesh: Any) -> None:
    spec = {"provider": {"virtualRouter": {"virtualRouterName": "ghost"}}}
    named = {"meshName": "apps", "virtualServiceName": "serviceb.apps.local"}
    assert refused(mesh.update_virtual_service, **named, spec=spec)[:2] == MISSING


def test_a_route_of_another_type_than_its_routers_protocol_is_refused(mesh: Any) -> None:
    assert refused(mesh.update_route, **ROUTE, spec=route_spec("httpRoute", serviceB=1))[:2] == BAD


def test_a_routers_protocol_cannot_change_under_its_routes(mesh: Any) -> None:
    spec = {"listeners": [listener(80, "http")]}
    found = refused(mesh.update_virtual_router, meshName="apps", virtualRouterName="serviceB", spec=spec)
    assert found[:2] == BAD


def test_a_second_listener_needs_routes_that_match_a_port(mesh: Any) -> None:
    spec = {"listeners": [listener(80), listener(81)]}
    found = refused(mesh.update_virtual_router, meshName="apps", virtualRouterName="serviceB", spec=spec)
    words = (
        "All Routes for this Virtual Router must define a port match before adding multiple listeners to this "
        "Virtual Router. 1 Route(s) are missing port. Listing up to 5 route names: [serviceB]"
    )
    assert found == (*BAD, words)


def test_a_route_under_two_listeners_must_match_a_port(mesh: Any) -> None:
    router = {"meshName": "apps", "virtualRouterName": "two"}
    mesh.create_virtual_router(**router, spec={"listeners": [listener(80), listener(81)]})
    words = "Route must define a port match criteria if the Virtual Router has multiple listeners"
    spec = route_spec(serviceB=1)
    assert refused(mesh.create_route, **router, routeName="r", spec=spec) == (*BAD, words)
    spec["http2Route"]["match"]["port"] = 81
    assert mesh.create_route(**router, routeName="r", spec=spec)["route"]["spec"] == spec


def _http2(**more: Any) -> dict[str, Any]:
    return {"http2Route": {**route_spec(serviceB=1)["http2Route"], **more}}


BAD_ROUTES = {
    "a weight over 100": route_spec(serviceB=101),
    "a weight below 0": route_spec(serviceB=-1),
    "a weight that is text": {
        "http2Route": {
            "action": {"weightedTargets": [{"virtualNode": "serviceB", "weight": "1"}]},
            "match": {"prefix": "/"},
        }
    },
    "eleven targets": route_spec(**{f"n{n}": 1 for n in range(11)}),
    "no target": route_spec(),
    "no route at all": {},
    "two kinds of route": {**route_spec(serviceB=1), **route_spec("httpRoute", serviceB=1)},
    "no match": {"http2Route": {"action": route_spec(serviceB=1)["http2Route"]["action"]}},
    "a prefix without its slash": _http2(match={"prefix": "x"}),
    "a priority over 1000": {**route_spec(serviceB=1), "priority": 1001},
    "an unknown method": _http2(match={"prefix": "/", "method": "FETCH"}),
    "two ways to match a header": _http2(
        match={"prefix": "/", "headers": [{"name": "h", "match": {"exact": "a", "prefix": "b"}}]}
    ),
    "a retry policy without events": _http2(
        retryPolicy={"maxRetries": 1, "perRetryTimeout": {"unit": "s", "value": 1}}
    ),
    "a node twice": {
        "http2Route": {
            "action": {"weightedTargets": [{"virtualNode": "serviceB", "weight": 1}] * 2},
            "match": {"prefix": "/"},
        }
    },
}


@pytest.mark.parametrize("spec", BAD_ROUTES.values(), ids=BAD_ROUTES.keys())
def test_refuses_a_route_with(aws: Aws, mesh: Any, spec: dict[str, Any]) -> None:
    assert refused(aws.lax.update_route, **ROUTE, spec=spec)[:2] == BAD


BAD_NODES = {
    "a port over 65535": node_spec("n", listeners=[listener(70000)]),
    "an unknown protocol": node_spec("n", listeners=[listener(80, "spdy")]),
    "a listener without service discovery": {"listeners": [listener()]},
    "two kinds of service discovery": {
        "serviceDiscovery": {
            "dns": {"hostname": "n"},
            "awsCloudMap": {"namespaceName": "a", "serviceName": "b"},
        }
    },
    "dns without a hostname": {"serviceDiscovery": {"dns": {}}},
    "a health check that is too quick": node_spec(
        "n",
        listeners=[
            {
                **listener(),
                "healthCheck": {
                    "protocol": "http2",
                    "healthyThreshold": 2,
                    "unhealthyThreshold": 2,
                    "intervalMillis": 4999,
                    "timeoutMillis": 2000,
                },
            }
        ],
    ),
    "a timeout of another protocol": node_spec(
        "n", listeners=[{**listener(), "timeout": {"http": {"idle": {"unit": "s", "value": 1}}}}]
    ),
}


@pytest.mark.parametrize("spec", BAD_NODES.values(), ids=BAD_NODES.keys())
def test_refuses_a_node_with(aws: Aws, mesh: Any, spec: dict[str, Any]) -> None:
    found = refused(aws.lax.create_virtual_node, meshName="apps", virtualNodeName="n", spec=spec)
    assert found[:2] == BAD


def test_says_which_member_is_wrong_and_why(aws: Aws, mesh: Any) -> None:
    words = refused(aws.lax.update_route, **ROUTE, spec=route_spec(serviceB=101))[2]
    assert words == (
        "1 validation error detected: Value '101' at 'spec.http2Route.action.weightedTargets.1.member.weight' "
        "failed to satisfy constraint: Member must have value less than or equal to 100"
    )


def test_names_every_fault_at_once(aws: Aws, mesh: Any) -> None:
    words = refused(aws.lax.update_route, **ROUTE, spec=route_spec(serviceB=101, serviceBv2=102))[2]
    assert words.startswith("2 validation errors detected: ")


@pytest.mark.parametrize("name", ["a.b", "a b", "ä", "x" * 256, "arn:aws:appmesh:us-west-2:1:mesh/m"])
def test_refuses_a_name_that_is_not_letters_digits_hyphens_underscores(aws: Aws, name: str) -> None:
    assert refused(aws.appmesh.describe_mesh, meshName=name)[:2] == BAD


def test_the_16th_mesh_exceeds_the_quota(aws: Aws) -> None:
    for number in range(15):
        aws.appmesh.create_mesh(meshName=f"m{number}")
    assert refused(aws.appmesh.create_mesh, meshName="m15")[:2] == ("LimitExceededException", 400)


def test_the_51st_backend_exceeds_the_quota(mesh: Any) -> None:
    backends = [{"virtualService": {"virtualServiceName": f"s{n}"}} for n in range(51)]
    spec = node_spec("n", backends=backends)
    found = refused(mesh.create_virtual_node, meshName="apps", virtualNodeName="n", spec=spec)
    assert found[:2] == ("LimitExceededException", 400)


def test_a_refused_update_changes_nothing(aws: Aws, mesh: Any) -> None:
    before = mesh.describe_route(**ROUTE)["route"]
    refused(aws.lax.update_route, **ROUTE, spec=route_spec(serviceB=101))
    refused(mesh.update_route, **ROUTE, spec=route_spec(ghost=1))
    assert mesh.describe_route(**ROUTE)["route"] == before
