"""The control plane behind a real loopback socket, and boto3 clients that act in an account of each test's own.

Import a fixture by its name, and with it those it asks for.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from runbook_lib.local import control_plane
from runbook_lib.local.serving import server_of

REGION = "us-west-2"
_ACCOUNTS = itertools.count(100_000_000_000)


@dataclass
class Aws:
    """Clients of the local endpoint, by service; all act in `account`."""

    url: str
    account: str = ""
    clients: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, service: str) -> Any:
        if service.startswith("_"):
            raise AttributeError(service)
        if service not in self.clients:
            self.clients[service] = self.client(service)
        return self.clients[service]

    @property
    def lax(self) -> Any:
        """Return an App Mesh client that checks nothing itself, as SDKs of other languages do."""
        if "lax" not in self.clients:
            self.clients["lax"] = self.client("appmesh", parameter_validation=False)
        return self.clients["lax"]

    def client(self, service: str, **config: Any) -> Any:
        """Make a client with dummy credentials that never retries and names the account in a header."""
        config = {"inject_host_prefix": False, "retries": {"total_max_attempts": 1}, **config}
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        made = boto3.session.Session(region_name=REGION).client(
            service, endpoint_url=self.url, config=Config(**config), **keys
        )
        made.meta.events.register("before-sign.*.*", self._name_account)
        return made

    def _name_account(self, request: Any, **_: Any) -> None:
        request.headers["x-moto-account-id"] = self.account


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Serve the control plane on a free port of 127.0.0.1 and return its address."""
    server = server_of(control_plane.application())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join(timeout=5)
    server.server_close()


@pytest.fixture(scope="session")
def shared_clients(endpoint: str) -> Iterator[Aws]:
    """Keep clients between tests: making one takes longer than most tests."""
    clients = Aws(endpoint)
    yield clients
    for client in clients.clients.values():
        client.close()


@pytest.fixture
def aws(shared_clients: Aws) -> Aws:
    """Return clients in an account that no other test has used, with no service left that never settles."""
    for _, _, backend in list(control_plane.ecs_backends.iter_backends()):
        backend.state.services.clear()
        backend.state.tasks.clear()
    shared_clients.account = str(next(_ACCOUNTS))
    return shared_clients


def settle() -> int:
    """Let ECS take steps until nothing moves; return how many moved something."""
    for steps in range(50):
        if not control_plane.reconcile():
            return steps
    raise AssertionError("ECS does not settle")


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[str, int, str]:
    """Return code, HTTP status and message of the error a call must answer with."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def listener(port: int = 80, protocol: str = "http2") -> dict[str, Any]:
    return {"portMapping": {"port": port, "protocol": protocol}}


def node_spec(hostname: str, **more: Any) -> dict[str, Any]:
    return {"listeners": [listener()], "serviceDiscovery": {"dns": {"hostname": hostname}}, **more}


def route_spec(kind: str = "http2Route", **weights: int) -> dict[str, Any]:
    targets = [{"virtualNode": name, "weight": weight} for name, weight in weights.items()]
    return {kind: {"action": {"weightedTargets": targets}, "match": {"prefix": "/"}}}


@pytest.fixture
def mesh(aws: Aws) -> Any:
    """Return an App Mesh client whose account has the tutorial's mesh at 75/25 (facts/appmesh.md 2.1)."""
    client = aws.appmesh
    client.create_mesh(meshName="apps")
    for name in ("serviceB", "serviceBv2"):
        spec = node_spec(f"{name.lower()}.apps.local")
        client.create_virtual_node(meshName="apps", virtualNodeName=name, spec=spec)
    router = {"listeners": [listener()]}
    client.create_virtual_router(meshName="apps", virtualRouterName="serviceB", spec=router)
    named = {"meshName": "apps", "virtualRouterName": "serviceB", "routeName": "serviceB"}
    client.create_route(**named, spec=route_spec(serviceB=75, serviceBv2=25))
    provider = {"provider": {"virtualRouter": {"virtualRouterName": "serviceB"}}}
    client.create_virtual_service(meshName="apps", virtualServiceName="serviceb.apps.local", spec=provider)
    return client


def definition(family: str = "taskB", **more: Any) -> dict[str, Any]:
    """Return the request of a small Fargate task definition with one container that has a health check."""
    container = {
        "name": "app",
        "image": "app",
        "portMappings": [{"containerPort": 80}],
        "healthCheck": {"command": ["CMD", "true"]},
    }
    return {
        "family": family,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "512",
        "memory": "1024",
        "containerDefinitions": [container],
        **more,
    }


def service(name: str = "serviceB", **more: Any) -> dict[str, Any]:
    """Return the request of a Fargate service of one task."""
    return {
        "cluster": "apps",
        "serviceName": name,
        "taskDefinition": "taskB",
        "desiredCount": 1,
        "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        **more,
    }


@pytest.fixture
def ecs(aws: Aws) -> Any:
    """Return an ECS client whose account has a cluster `apps` and revision 1 of `taskB`."""
    aws.ecs.create_cluster(clusterName="apps")
    aws.ecs.register_task_definition(**definition())
    return aws.ecs


def described(client: Any, name: str = "serviceB") -> dict[str, Any]:
    """Return a service as ECS describes it."""
    found: dict[str, Any] = client.describe_services(cluster="apps", services=[name])["services"][0]
    return found
