"""Another application, from its own file alone: six services, http, two routers, fixed weights, Cloud Map, EC2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.notebook_runner import ROOT, Environment, folder, holdings, newest

__all__ = ["folder"]

FILE = ROOT / "tests" / "fixtures" / "parameters" / "second.yaml"
SAID = yaml.safe_load(FILE.read_text())
SERVICES = ["cart", "cart-next", "front", "search-x", "search-y", "search-z"]
FIXED = {"search-x": 60, "search-y": 30, "search-z": 10}


def weights(shop: Environment, router: str, route: str) -> dict[str, int]:
    named = {"meshName": "shop", "virtualRouterName": router, "routeName": route}
    spec = shop.client("appmesh").describe_route(**named)["route"]["spec"]["httpRoute"]
    return {target["virtualNode"]: target["weight"] for target in spec["action"]["weightedTargets"]}


def definition(shop: Environment, service: str) -> dict[str, Any]:
    ecs = shop.client("ecs")
    found = ecs.describe_services(cluster="shop", services=[service])["services"][0]
    return dict(ecs.describe_task_definition(taskDefinition=found["taskDefinition"])["taskDefinition"])


@pytest.fixture(scope="module")
def shifted(folder: Path) -> Environment:
    """Apply the file up to its last step."""
    shop = Environment.create(folder, "second", FILE)
    shop.walk("00", "01", "02", "03", "04", "05")
    return shop


@pytest.fixture(scope="module")
def shifted_weights(shifted: Environment) -> list[dict[str, int]]:
    """Return the weights of the route under shift, one entry for each time they were written."""
    observed = [line for line in newest("second").lines() if line["event"] == "observed" and "cart/all" in line["name"]]
    targets = [line["state"]["spec"]["httpRoute"]["action"]["weightedTargets"] for line in observed]
    return [{target["virtualNode"]: target["weight"] for target in entry} for entry in targets]


@pytest.fixture(scope="module")
def retired(shifted: Environment, shifted_weights: list[dict[str, int]]) -> Environment:
    """Apply the file's 06."""
    shifted.walk("06")
    return shifted


@pytest.fixture(scope="module")
def removed(retired: Environment) -> Environment:
    """Apply the file's 90."""
    retired.walk("90")
    return retired


def test_says_what_the_issue_asks_of_it() -> None:
    assert sorted(SAID["services"]) == SERVICES
    assert (SAID["protocol"], SAID["port"], SAID["launch_type"]) == ("http", 8080, "EC2")
    assert SAID["shift"]["steps"] == [10, 50, 100]


def test_every_step_is_written_once(shifted_weights: list[dict[str, int]]) -> None:
    steps = [entry["cart-next"] for entry in shifted_weights]
    assert [step for i, step in enumerate(steps) if step not in steps[:i]] == [0, 10, 50, 100]
    assert all(sum(entry.values()) == 100 for entry in shifted_weights)


def test_the_mesh_is_the_files(shifted: Environment) -> None:
    """Before anything is retired: fixtures run in the order in which tests ask for them."""
    assert holdings(shifted.client("appmesh"), "shop") == {
        "virtual_service": ["cart.shop.internal", "front.shop.internal", "search.shop.internal"],
        "virtual_node": SERVICES,
        "virtual_router": ["cart", "search"],
        "route": ["cart/all", "search/fixed"],
    }


def test_the_other_route_keeps_its_fixed_weights(shifted: Environment) -> None:
    assert weights(shifted, "cart", "all") == {"cart": 0, "cart-next": 100}
    assert weights(shifted, "search", "fixed") == FIXED


def test_nodes_speak_http_on_8080_and_one_is_found_through_cloud_map(shifted: Environment) -> None:
    app_mesh = shifted.client("appmesh")
    nodes = {n: app_mesh.describe_virtual_node(meshName="shop", virtualNodeName=n)["virtualNode"] for n in SERVICES}
    listeners = {listener["portMapping"]["protocol"] for n in nodes.values() for listener in n["spec"]["listeners"]}
    found = {name: next(iter(node["spec"]["serviceDiscovery"])) for name, node in nodes.items()}
    assert listeners == {"http"}
    assert found == {**dict.fromkeys(SERVICES, "dns"), "search-y": "awsCloudMap"}


def test_every_service_runs_its_sidecar_on_ec2(shifted: Environment) -> None:
    for name in SERVICES:
        found = definition(shifted, SAID["services"][name].get("ecs_service", name))
        assert found["requiresCompatibilities"] == ["EC2"], name
        assert "envoy" in [container["name"] for container in found["containerDefinitions"]], name
        settings = {p["name"]: p["value"] for p in found["proxyConfiguration"]["properties"]}
        assert settings["AppPorts"] == "8080", name


def test_retiring_leaves_one_target_and_the_others_alone(retired: Environment) -> None:
    ecs = retired.client("ecs")
    services = ecs.describe_services(cluster="shop", services=["cart-service", "cart-next"])["services"]
    assert weights(retired, "cart", "all") == {"cart-next": 100}
    assert weights(retired, "search", "fixed") == FIXED
    assert {s["serviceName"]: s["status"] for s in services if s["status"] == "ACTIVE"} == {"cart-next": "ACTIVE"}
    assert "cart" not in holdings(retired.client("appmesh"), "shop")["virtual_node"]


def test_removing_takes_everything_out_and_nothing_else(removed: Environment) -> None:
    assert removed.client("appmesh").list_meshes()["meshes"] == []
    for name in sorted({*SERVICES} - {"cart"}):
        assert [c["name"] for c in definition(removed, name)["containerDefinitions"]] == ["app"], name


def test_removing_again_writes_nothing(removed: Environment) -> None:
    before = removed.writes()
    removed.walk("90")
    assert removed.writes() == before
