"""Another application, from its own file alone: six services, http, two routers, fixed weights, Cloud Map, EC2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.notebook_runner import ROOT, client, holdings, newest, own_mesh, runbook, writes

__all__ = ["own_mesh"]

FILE = ROOT / "tests" / "fixtures" / "parameters" / "second.yaml"
SAID = yaml.safe_load(FILE.read_text())
SERVICES = ["cart", "cart-next", "front", "search-x", "search-y", "search-z"]
FIXED = {"search-x": 60, "search-y": 30, "search-z": 10}


def aws(service: str) -> Any:
    return client(service, SAID["account_id"], SAID["region"])


def weights(router: str, route: str) -> dict[str, int]:
    named = {"meshName": "shop", "virtualRouterName": router, "routeName": route}
    spec = aws("appmesh").describe_route(**named)["route"]["spec"]["httpRoute"]
    return {target["virtualNode"]: target["weight"] for target in spec["action"]["weightedTargets"]}


def definition(service: str) -> dict[str, Any]:
    ecs = aws("ecs")
    found = ecs.describe_services(cluster="shop", services=[service])["services"][0]
    return dict(ecs.describe_task_definition(taskDefinition=found["taskDefinition"])["taskDefinition"])


def run(*arguments: str) -> str:
    code, said = runbook("run", FILE, *arguments)
    assert code == 0, said
    assert "outcome: done" in said
    return said


@pytest.fixture(scope="module")
def shifted(own_mesh: Path) -> str:
    """Run the file up to its last step."""
    return run("--through", "05")


@pytest.fixture(scope="module")
def shifted_weights(shifted: str) -> list[dict[str, int]]:
    """Return the weights of the route under shift, one entry for each time they were written."""
    observed = [line for line in newest("second").lines() if line["event"] == "observed" and "cart/all" in line["name"]]
    targets = [line["state"]["spec"]["httpRoute"]["action"]["weightedTargets"] for line in observed]
    return [{target["virtualNode"]: target["weight"] for target in entry} for entry in targets]


@pytest.fixture(scope="module")
def retired(shifted_weights: list[dict[str, int]]) -> str:
    """Run the file's 06."""
    return run("--from", "06", "--through", "06")


@pytest.fixture(scope="module")
def removed(retired: str) -> str:
    """Run the file's 90."""
    return run("--from", "90", "--through", "90")


def test_says_what_the_issue_asks_of_it() -> None:
    assert sorted(SAID["services"]) == SERVICES
    assert (SAID["protocol"], SAID["port"], SAID["launch_type"]) == ("http", 8080, "EC2")
    assert SAID["shift"]["steps"] == [10, 50, 100]


def test_every_step_is_written_once(shifted_weights: list[dict[str, int]]) -> None:
    steps = [entry["cart-next"] for entry in shifted_weights]
    assert [step for i, step in enumerate(steps) if step not in steps[:i]] == [0, 10, 50, 100]
    assert all(sum(entry.values()) == 100 for entry in shifted_weights)


def test_the_mesh_is_the_files(shifted: str) -> None:
    """Before anything is retired: fixtures run in the order in which tests ask for them."""
    assert holdings(aws("appmesh"), "shop") == {
        "virtual_service": ["cart.shop.internal", "front.shop.internal", "search.shop.internal"],
        "virtual_node": SERVICES,
        "virtual_router": ["cart", "search"],
        "route": ["cart/all", "search/fixed"],
    }


def test_the_other_route_keeps_its_fixed_weights(shifted: str) -> None:
    assert weights("cart", "all") == {"cart": 0, "cart-next": 100}
    assert weights("search", "fixed") == FIXED


def test_nodes_speak_http_on_8080_and_one_is_found_through_cloud_map(shifted: str) -> None:
    app_mesh = aws("appmesh")
    nodes = {n: app_mesh.describe_virtual_node(meshName="shop", virtualNodeName=n)["virtualNode"] for n in SERVICES}
    listeners = {listener["portMapping"]["protocol"] for n in nodes.values() for listener in n["spec"]["listeners"]}
    found = {name: next(iter(node["spec"]["serviceDiscovery"])) for name, node in nodes.items()}
    assert listeners == {"http"}
    assert found == {**dict.fromkeys(SERVICES, "dns"), "search-y": "awsCloudMap"}


def test_every_service_runs_its_sidecar_on_ec2(shifted: str) -> None:
    for name in SERVICES:
        found = definition(SAID["services"][name].get("ecs_service", name))
        assert found["requiresCompatibilities"] == ["EC2"], name
        assert "envoy" in [container["name"] for container in found["containerDefinitions"]], name
        settings = {p["name"]: p["value"] for p in found["proxyConfiguration"]["properties"]}
        assert settings["AppPorts"] == "8080", name


def test_retiring_leaves_one_target_and_the_others_alone(retired: str) -> None:
    services = aws("ecs").describe_services(cluster="shop", services=["cart-service", "cart-next"])["services"]
    assert weights("cart", "all") == {"cart-next": 100}
    assert weights("search", "fixed") == FIXED
    assert {s["serviceName"]: s["status"] for s in services if s["status"] == "ACTIVE"} == {"cart-next": "ACTIVE"}
    assert "cart" not in holdings(aws("appmesh"), "shop")["virtual_node"]


def test_removing_takes_everything_out_and_nothing_else(removed: str) -> None:
    assert aws("appmesh").list_meshes()["meshes"] == []
    for name in sorted({*SERVICES} - {"cart"}):
        assert [c["name"] for c in definition(name)["containerDefinitions"]] == ["app"], name


def test_removing_again_writes_nothing(removed: str) -> None:
    before = writes(SAID["account_id"])
    run("--from", "90", "--through", "90")
    assert writes(SAID["account_id"]) == before


def test_each_run_left_its_summary(removed: str) -> None:
    runs = sorted(path for path in Path(newest("second").folder.parent).glob("[0-9]*"))
    found = [json.loads((path / "summary.json").read_text()) for path in runs]
    assert {summary["outcome"] for summary in found} == {"done"}
    assert {summary["environment"] for summary in found} == {"second"}
