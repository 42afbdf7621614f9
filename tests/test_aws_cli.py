"""The real AWS CLI carries out the tutorial's commands at the local endpoint (facts/appmesh.md 2.1 and 2.5).

Its process gets dummy credentials and an endpoint on 127.0.0.1, and nothing else of the caller's environment. It is
one for all commands, since to start one takes a second.
"""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control_plane_fixtures import REGION, endpoint

ACCOUNT = "123456789012"
SERVICE_B, SERVICE_A = "serviceb.apps.local", "servicea.apps.local"
ROUTE = {"meshName": "apps", "virtualRouterName": "serviceB", "routeName": "serviceB"}


DRIVER = """
import contextlib, io, json, sys
from awscli.clidriver import create_clidriver
driver = create_clidriver()
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = driver.main(json.loads(line))
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


class Cli:
    """Runs `aws` against one endpoint."""

    def __init__(self, endpoint: str, home: Path) -> None:
        self.endpoint = endpoint
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": str(home / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command, pipe = [sys.executable, "-c", DRIVER], subprocess.PIPE
        self.driver = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def run(self, *words: str, request: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command; `request` goes in as `--cli-input-json`."""
        given = ["--cli-input-json", json.dumps(request)] if request is not None else []
        command = ["--endpoint-url", self.endpoint, "--output", "json", *words, *given]
        assert self.driver.stdin
        assert self.driver.stdout
        self.driver.stdin.write(f"{json.dumps(command)}\n")
        self.driver.stdin.flush()
        code, out, err = json.loads(self.driver.stdout.readline())
        return subprocess.CompletedProcess(command, code, out, err)

    def end(self) -> None:
        """End the process, which ends with its input."""
        self.driver.communicate(timeout=30)

    def __call__(self, *words: str, request: dict[str, Any] | None = None) -> Any:
        """Run a command that must succeed and return its output."""
        done = self.run(*words, request=request)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def refused(self, *words: str) -> str:
        """Run a command that the service must refuse and return its words."""
        done = self.run(*words)
        assert done.returncode in (254, 255), done.stderr  # version 2, version 1
        return done.stderr.strip().removeprefix("aws: [ERROR]: ")

    def at_once(self, *commands: tuple[str, ...]) -> list[Any]:
        """Run commands whose order is free."""
        return [self(*words) for words in commands]


@pytest.fixture(scope="module")
def aws_cli(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    cli = Cli(endpoint, tmp_path_factory.mktemp("home"))
    yield cli
    cli.end()


def _node(name: str, hostname: str, **more: Any) -> dict[str, Any]:
    spec = {
        "listeners": [{"portMapping": {"port": 80, "protocol": "http2"}}],
        "serviceDiscovery": {"dns": {"hostname": hostname}},
    }
    return {"meshName": "apps", "virtualNodeName": name, "spec": {**spec, **more}}


def _route(**weights: int) -> dict[str, Any]:
    targets = [{"virtualNode": name, "weight": weight} for name, weight in weights.items()]
    return {
        **ROUTE,
        "spec": {"http2Route": {"action": {"weightedTargets": targets}, "match": {"prefix": "/"}}},
    }


def _appmesh(command: str, *options: str) -> tuple[str, ...]:
    return ("appmesh", command, "--mesh-name", "apps", *options)


def _build(aws_cli: Cli) -> None:
    """Carry out steps 1 to 5 in the tutorial's order, the route corrected to http2Route."""
    aws_cli("appmesh", "create-mesh", "--mesh-name", "apps")
    aws_cli(*_appmesh("create-virtual-service", "--virtual-service-name", SERVICE_B, "--spec", "{}"))
    aws_cli("appmesh", "create-virtual-node", request=_node("serviceB", "serviceB.apps.local"))
    listeners = {"listeners": [{"portMapping": {"port": 80, "protocol": "http2"}}]}
    router = {"meshName": "apps", "virtualRouterName": "serviceB", "spec": listeners}
    aws_cli("appmesh", "create-virtual-router", request=router)
    aws_cli("appmesh", "create-route", request=_route(serviceB=100))
    aws_cli("appmesh", "create-virtual-node", request=_node("serviceBv2", "serviceBv2.apps.local"))
    backends = [{"virtualService": {"virtualServiceName": SERVICE_B}}]
    aws_cli("appmesh", "create-virtual-node", request=_node("serviceA", SERVICE_A, backends=backends))
    provider = {"provider": {"virtualRouter": {"virtualRouterName": "serviceB"}}}
    named = {"meshName": "apps", "virtualServiceName": SERVICE_B, "spec": provider}
    aws_cli("appmesh", "update-virtual-service", request=named)
    aws_cli("appmesh", "update-route", request=_route(serviceB=75, serviceBv2=25))
    provider = {"provider": {"virtualNode": {"virtualNodeName": "serviceA"}}}
    named = {"meshName": "apps", "virtualServiceName": SERVICE_A, "spec": provider}
    aws_cli("appmesh", "create-virtual-service", request=named)


def _review(aws_cli: Cli) -> None:
    """Carry out step 4 and compare with the tutorial's own summary."""
    route = ("--virtual-router-name", "serviceB", "--route-name", "serviceB")
    found_mesh, found_service, found_node, found_router, found_route, nodes, services = aws_cli.at_once(
        _appmesh("describe-mesh"),
        _appmesh("describe-virtual-service", "--virtual-service-name", SERVICE_B),
        _appmesh("describe-virtual-node", "--virtual-node-name", "serviceA"),
        _appmesh("describe-virtual-router", "--virtual-router-name", "serviceB"),
        _appmesh("describe-route", *route),
        _appmesh("list-virtual-nodes", "--query", "virtualNodes[].virtualNodeName"),
        _appmesh("list-virtual-services", "--query", "virtualServices[].virtualServiceName"),
    )
    assert found_mesh["mesh"]["metadata"]["arn"] == f"arn:aws:appmesh:{REGION}:{ACCOUNT}:mesh/apps"
    assert found_service["virtualService"]["spec"]["provider"]["virtualRouter"]["virtualRouterName"] == "serviceB"
    assert found_node["virtualNode"]["spec"]["backends"][0]["virtualService"]["virtualServiceName"] == SERVICE_B
    assert found_router["virtualRouter"]["status"] == {"status": "ACTIVE"}
    assert found_route["route"]["spec"] == _route(serviceB=75, serviceBv2=25)["spec"]
    assert found_route["route"]["metadata"]["version"] == 2
    assert (nodes, services) == (["serviceA", "serviceB", "serviceBv2"], [SERVICE_A, SERVICE_B])


def _register(aws_cli: Cli) -> None:
    """Register a task definition with the sidecar of step 6, and read it back."""
    node = f"arn:aws:appmesh:{REGION}:{ACCOUNT}:mesh/apps/virtualNode/serviceB"
    check = "curl -s http://localhost:9901/server_info | grep state | grep -q LIVE"
    app = {
        "name": "app",
        "image": "application_image",
        "portMappings": [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}],
        "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}],
    }
    envoy = {
        "name": "envoy",
        "image": "840364872350.dkr.ecr.us-west-2.amazonaws.com/aws-appmesh-envoy:v1.39.1.0-prod",
        "environment": [{"name": "APPMESH_RESOURCE_ARN", "value": node}],
        "healthCheck": {
            "command": ["CMD-SHELL", check],
            "startPeriod": 10,
            "interval": 5,
            "timeout": 2,
            "retries": 3,
        },
        "user": "1337",
    }
    values = {"IgnoredUID": "1337", "ProxyIngressPort": "15000", "ProxyEgressPort": "15001", "AppPorts": "80"}
    properties = [{"name": name, "value": value} for name, value in values.items()]
    request = {
        "family": "taskB",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "0.5 vCPU",
        "memory": "1 GB",
        "proxyConfiguration": {"type": "APPMESH", "containerName": "envoy", "properties": properties},
        "containerDefinitions": [app, envoy],
    }
    made = aws_cli("ecs", "register-task-definition", request=request)["taskDefinition"]
    assert (made["cpu"], made["memory"], made["status"]) == ("512", "1024", "ACTIVE")
    assert made["proxyConfiguration"] == request["proxyConfiguration"]
    bridge = json.dumps({**request, "networkMode": "bridge", "requiresCompatibilities": ["EC2"]})
    assert aws_cli.refused("ecs", "register-task-definition", "--cli-input-json", bridge) == (
        "An error occurred (ClientException) when calling the RegisterTaskDefinition operation: "
        "APPMESH proxy configuration is only supported in networkMode=awsvpc"
    )


def _retire(aws_cli: Cli) -> None:
    """Take serviceB out in the order App Mesh enforces, meeting its refusals on the way."""
    node = ("--virtual-node-name", "serviceB")
    assert aws_cli.refused(*_appmesh("delete-virtual-node", *node)) == (
        "An error occurred (ResourceInUseException) when calling the DeleteVirtualNode operation: "
        "VirtualNode with name serviceB cannot be deleted because it is the target of one or more routes."
    )
    aws_cli("appmesh", "update-route", request=_route(serviceBv2=100))
    assert aws_cli(*_appmesh("delete-virtual-node", *node))["virtualNode"]["status"] == {"status": "DELETED"}
    assert aws_cli.refused(*_appmesh("describe-virtual-node", *node)) == (
        "An error occurred (NotFoundException) when calling the DescribeVirtualNode operation: "
        f"VirtualNode with name serviceB is not present under mesh apps for account {ACCOUNT}"
    )
    aws_cli("ecs", "deregister-task-definition", "--task-definition", "taskB:1")


def _remove(aws_cli: Cli) -> None:
    """Take the rest out: services, routes, routers, nodes, mesh."""
    router, route = ("--virtual-router-name", "serviceB"), ("--route-name", "serviceB")
    assert "it is a VirtualService provider" in aws_cli.refused(*_appmesh("delete-virtual-router", *router))
    aws_cli.at_once(
        _appmesh("delete-virtual-service", "--virtual-service-name", SERVICE_A),
        _appmesh("delete-virtual-service", "--virtual-service-name", SERVICE_B),
        _appmesh("delete-route", *router, *route),
    )
    assert aws_cli.refused(*_appmesh("delete-mesh")).endswith("before deleting the Mesh")
    aws_cli.at_once(
        _appmesh("delete-virtual-router", *router),
        _appmesh("delete-virtual-node", "--virtual-node-name", "serviceA"),
        _appmesh("delete-virtual-node", "--virtual-node-name", "serviceBv2"),
    )
    assert aws_cli(*_appmesh("delete-mesh"))["mesh"]["status"] == {"status": "DELETED"}


def test_the_aws_cli_carries_out_the_tutorial_and_its_undoing(aws_cli: Cli) -> None:
    _build(aws_cli)
    _review(aws_cli)
    _register(aws_cli)
    _retire(aws_cli)
    _remove(aws_cli)


def _elbv2(aws_cli: Cli, command: str, *options: str, **request: Any) -> Any:
    return aws_cli("elbv2", command, *options, request=request or None)


def test_the_aws_cli_makes_a_load_balancer_moves_its_weights_and_takes_it_down(aws_cli: Cli) -> None:
    """As facts/alb.md 3 has it: load balancer, groups, listener, rule; the shift; everything gone, users first."""
    vpc = aws_cli("ec2", "create-vpc", "--cidr-block", "10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        aws_cli("ec2", "create-subnet", request={"VpcId": vpc, "CidrBlock": block, "AvailabilityZone": zone})
        for block, zone in (("10.0.0.0/24", "us-west-2a"), ("10.0.1.0/24", "us-west-2b"))
    ]
    named = {"Name": "apps", "Scheme": "internal", "Subnets": [each["Subnet"]["SubnetId"] for each in subnets]}
    balancer = _elbv2(aws_cli, "create-load-balancer", **named)["LoadBalancers"][0]["LoadBalancerArn"]
    protected = [{"Key": "deletion_protection.enabled", "Value": "true"}]
    _elbv2(aws_cli, "modify-load-balancer-attributes", LoadBalancerArn=balancer, Attributes=protected)
    group = {"Protocol": "HTTP", "Port": 9080, "VpcId": vpc, "TargetType": "ip"}
    stable, canary = (
        _elbv2(aws_cli, "create-target-group", Name=name, **group)["TargetGroups"][0]["TargetGroupArn"]
        for name in ("serviceB", "serviceBv2")
    )
    fixed = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}]
    listening = {"LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": 80, "DefaultActions": fixed}
    listener = _elbv2(aws_cli, "create-listener", **listening)["Listeners"][0]["ListenerArn"]
    every = [{"Field": "path-pattern", "Values": ["/*"]}]
    made = {"ListenerArn": listener, "Priority": 100, "Conditions": every, "Actions": _forward(stable, 100, canary, 0)}
    rule = _elbv2(aws_cli, "create-rule", **made)["Rules"][0]["RuleArn"]

    weights = _elbv2(aws_cli, "modify-rule", RuleArn=rule, Actions=_forward(stable, 75, canary, 25))
    assert weights["Rules"][0]["Actions"] == _elbv2(aws_cli, "describe-rules", RuleArns=[rule])["Rules"][0]["Actions"]
    target = ("--target-group-arn", canary, "--targets", "Id=10.0.0.9,Port=9080")
    aws_cli.run("elbv2", "register-targets", *target)
    told = _elbv2(aws_cli, "describe-target-health", "--target-group-arn", canary)
    assert told["TargetHealthDescriptions"][0]["TargetHealth"]["State"] == "initial"

    assert "PriorityInUse" in aws_cli.refused("elbv2", "create-rule", "--cli-input-json", json.dumps(made))
    assert "ResourceInUse" in aws_cli.refused("elbv2", "delete-target-group", "--target-group-arn", canary)
    delete = ("elbv2", "delete-load-balancer", "--load-balancer-arn", balancer)
    assert "deletion protection is enabled" in aws_cli.refused(*delete)
    protected[0]["Value"] = "false"
    _elbv2(aws_cli, "modify-load-balancer-attributes", LoadBalancerArn=balancer, Attributes=protected)
    for command in (("delete-rule", "--rule-arn", rule), ("delete-listener", "--listener-arn", listener), delete[1:]):
        assert aws_cli.run("elbv2", *command).returncode == 0
    for arn in (stable, canary):
        assert aws_cli.run("elbv2", "delete-target-group", "--target-group-arn", arn).returncode == 0
    assert _elbv2(aws_cli, "describe-target-groups")["TargetGroups"] == []


def _forward(stable: str, first: int, canary: str, second: int) -> list[dict[str, Any]]:
    groups = [{"TargetGroupArn": stable, "Weight": first}, {"TargetGroupArn": canary, "Weight": second}]
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]
