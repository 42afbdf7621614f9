"""Calls are counted at the endpoint, for whoever asserts that nothing was changed."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from runbook_lib.local import control_plane
from runbook_lib.local.control_plane.calls import is_read
from runbook_lib.local.control_plane.way import Way
from tests.control_plane_fixtures import Aws, aws, ecs, endpoint, refused, service, shared_clients


@pytest.fixture
def calls(endpoint: str) -> Any:
    def read(query: str = "") -> Any:
        with urllib.request.urlopen(f"{endpoint}/runbook/calls{query}") as answer:
            return json.load(answer)

    reset = urllib.request.Request(f"{endpoint}/runbook/calls/reset", method="POST")
    with urllib.request.urlopen(reset):
        return read


def test_reads_and_writes_are_told_apart_by_operation(aws: Aws, calls: Any) -> None:
    aws.appmesh.create_mesh(meshName="m")
    aws.appmesh.describe_mesh(meshName="m")
    aws.appmesh.list_meshes()
    seen = calls()
    assert (seen["read"], seen["write"]) == (2, 1)
    assert seen["operations"] == {
        "appmesh.CreateMesh": 1,
        "appmesh.DescribeMesh": 1,
        "appmesh.ListMeshes": 1,
    }


def test_every_service_counts(aws: Aws, calls: Any) -> None:
    aws.sts.get_caller_identity()
    aws.iam.create_role(RoleName="r", AssumeRolePolicyDocument="{}")
    aws.cloudwatch.put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Value": 1}])
    aws.servicediscovery.list_namespaces()
    aws.s3.list_buckets()
    assert sorted(calls()["operations"]) == [
        "cloudwatch.PutMetricData",
        "iam.CreateRole",
        "s3.ListBuckets",
        "servicediscovery.ListNamespaces",
        "sts.GetCallerIdentity",
    ]


def test_a_refused_write_is_a_write(aws: Aws, calls: Any) -> None:
    refused(aws.appmesh.delete_mesh, meshName="none")
    assert calls()["write"] == 1


def test_what_ecs_does_by_itself_is_no_call(aws: Aws, ecs: Any, calls: Any) -> None:
    ecs.create_service(**service())
    while control_plane.reconcile():
        pass
    assert calls()["operations"] == {"ecs.CreateService": 1}


def test_accounts_are_counted_apart(aws: Aws, calls: Any) -> None:
    aws.appmesh.list_meshes()
    here, aws.account = aws.account, "999999999997"
    aws.appmesh.create_mesh(meshName="m")
    assert calls(f"?account={here}")["write"] == 0
    assert calls()["accounts"] == {here: {"read": 1, "write": 0}, "999999999997": {"read": 0, "write": 1}}


def test_callers_that_name_themselves_are_counted_apart(aws: Aws, calls: Any) -> None:
    aws.client("appmesh", user_agent_extra="runbook/run-1").list_meshes()
    assert calls()["agents"] == {"runbook/run-1": {"read": 1, "write": 0}}


@pytest.mark.parametrize(
    ("operation", "read"),
    [
        ("DescribeMesh", True),
        ("DiscoverInstances", True),
        ("GetRole", True),
        ("ListTasks", True),
        ("RegisterInstance", False),
        ("UpdateRoute", False),
        ("StopTask", False),
    ],
)
def test_the_name_says_whether_it_reads(operation: str, read: bool) -> None:
    assert is_read(operation) is read


@pytest.fixture
def way(endpoint: str) -> Iterator[Callable[..., Any]]:
    """Return what says how calls get through, as `runbook local aws` does; a good day follows."""

    def put(**asked: float) -> Any:
        with urllib.request.urlopen(f"{endpoint}/runbook/way", json.dumps(asked).encode()) as answer:
            return json.load(answer)

    yield put
    assert put() == {"latency_ms": 0, "throttled": 0, "away": 0}


def test_every_call_of_aws_takes_the_time_it_is_told_to_and_no_other_page(aws: Aws, calls: Any, way: Any) -> None:
    assert way(latency_ms=300)["latency_ms"] == 300
    began = time.monotonic()
    aws.appmesh.list_meshes()
    assert time.monotonic() - began >= 0.3
    began = time.monotonic()
    calls()
    assert time.monotonic() - began < 0.3


@pytest.mark.parametrize(
    ("service", "ask", "code"),
    [
        ("appmesh", "list_meshes", "ThrottlingException"),
        ("ecs", "list_clusters", "ThrottlingException"),
        ("iam", "list_roles", "Throttling"),
        ("ec2", "describe_vpcs", "RequestLimitExceeded"),
        ("s3", "list_buckets", "SlowDown"),
    ],
)
def test_a_throttled_call_and_one_that_aws_cannot_serve_fail_as_the_service_says_it(
    aws: Aws, way: Any, service: str, ask: str, code: str
) -> None:
    def refused_with() -> str:
        with pytest.raises(ClientError) as refused:
            getattr(getattr(aws, service), ask)()
        return str(refused.value.response["Error"]["Code"])

    way(throttled=1)
    assert refused_with() == code
    way(away=60)
    assert refused_with() == "ServiceUnavailable"


def test_a_share_of_calls_is_throttled_and_aws_comes_back_by_itself() -> None:
    now = [0.0]
    found = Way(clock=lambda: now[0])
    found.put(throttled=0.3, away=60)
    assert {found.take() for _ in range(100)} == {"away"}
    now[0] = 60.0
    taken = [found.take() for _ in range(10_000)]
    assert 0.28 < taken.count("throttled") / 10_000 < 0.32  # the same numbers each time
    assert set(taken) == {"throttled", None}
