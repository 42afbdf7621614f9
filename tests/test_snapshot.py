"""Going back to a state, and telling whether two are the same."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

from typing import Any

import pytest

from tests import snapshot
from tests.control_plane_fixtures import (
    Aws,
    aws,
    described,
    ecs,
    endpoint,
    mesh,
    route_spec,
    service,
    settle,
    shared_clients,
)

ROUTE = {"meshName": "apps", "virtualRouterName": "serviceB", "routeName": "serviceB"}


@pytest.fixture
def registry(aws: Aws) -> dict[str, str]:
    aws.servicediscovery.create_http_namespace(Name="apps.local")
    (namespace,) = aws.servicediscovery.list_namespaces()["Namespaces"]
    made = aws.servicediscovery.create_service(Name="serviceb", NamespaceId=namespace["Id"])["Service"]
    return {"registryArn": made["Arn"]}


@pytest.fixture
def world(aws: Aws, mesh: Any, ecs: Any, registry: dict[str, str]) -> snapshot.Snapshot:
    """Return a snapshot of a mesh, a running service and a role."""
    ecs.create_service(**service(serviceRegistries=[registry]))
    settle()
    aws.iam.create_role(RoleName="task", AssumeRolePolicyDocument="{}")
    return snapshot.take()


def _change(aws: Aws) -> None:
    aws.appmesh.update_route(**ROUTE, spec=route_spec(serviceBv2=100))
    aws.ecs.update_service(cluster="apps", service="serviceB", desiredCount=0)
    settle()
    policy = "arn:aws:iam::aws:policy/AWSAppMeshEnvoyAccess"
    aws.iam.attach_role_policy(RoleName="task", PolicyArn=policy)


def test_everything_goes_back_to_where_it_was(aws: Aws, world: snapshot.Snapshot) -> None:
    before = snapshot.fingerprint()
    _change(aws)
    snapshot.put_back(world)
    assert snapshot.fingerprint() == before
    assert aws.appmesh.describe_route(**ROUTE)["route"]["metadata"]["version"] == 1
    assert described(aws.ecs)["runningCount"] == 1
    found = aws.servicediscovery.discover_instances(NamespaceName="apps.local", ServiceName="serviceb")
    assert len(found["Instances"]) == 1
    assert aws.iam.list_attached_role_policies(RoleName="task")["AttachedPolicies"] == []


def test_a_snapshot_can_be_put_back_again(aws: Aws, world: snapshot.Snapshot) -> None:
    before = snapshot.fingerprint()
    for _ in range(2):
        snapshot.put_back(world)
        _change(aws)
    snapshot.put_back(world)
    assert snapshot.fingerprint() == before


def test_what_came_later_is_gone(aws: Aws, world: snapshot.Snapshot) -> None:
    aws.account = "999999999996"
    aws.appmesh.create_mesh(meshName="later")
    snapshot.put_back(world)
    assert aws.appmesh.list_meshes()["meshes"] == []


@pytest.mark.parametrize("part", ["route", "service", "role", "tag"])
def test_each_change_changes_the_fingerprint(aws: Aws, world: snapshot.Snapshot, part: str) -> None:
    before = snapshot.fingerprint()
    arn = aws.appmesh.describe_mesh(meshName="apps")["mesh"]["metadata"]["arn"]
    changes: dict[str, Any] = {
        "route": lambda: aws.appmesh.update_route(**ROUTE, spec=route_spec(serviceBv2=100)),
        "service": lambda: aws.ecs.update_service(cluster="apps", service="serviceB", desiredCount=2),
        "role": lambda: aws.iam.delete_role(RoleName="task"),
        "tag": lambda: aws.appmesh.tag_resource(resourceArn=arn, tags=[{"key": "k", "value": "v"}]),
    }
    changes[part]()
    assert snapshot.fingerprint() != before


def test_a_task_replaced_by_its_like_does_not(aws: Aws, world: snapshot.Snapshot) -> None:
    before = snapshot.fingerprint()
    (task,) = aws.ecs.list_tasks(cluster="apps")["taskArns"]
    aws.ecs.stop_task(cluster="apps", task=task)
    settle()
    assert aws.ecs.list_tasks(cluster="apps")["taskArns"] != [task]
    assert snapshot.fingerprint() == before


def test_reading_does_not(aws: Aws, world: snapshot.Snapshot) -> None:
    before = snapshot.fingerprint()
    aws.ecs.describe_clusters(clusters=["apps"])
    aws.iam.list_roles()
    aws.account = "999999999995"
    aws.appmesh.list_meshes()
    assert snapshot.fingerprint() == before
