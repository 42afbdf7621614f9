"""Which container of a task definition is Envoy: no application is ever taken for it, replaced or lost."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runbook_lib.errors import PlanError
from runbook_lib.task_definition.envoy import IDENTITY, LABEL, envoy_of
from runbook_lib.task_definition.lint import lint
from runbook_lib.task_definition.sidecar import Meshed, Sidecar, sidecar_of, with_envoy, without_envoy
from tests.notebook_runner import Environment, folder, own_mesh

__all__ = ["folder", "own_mesh"]

NODE = "arn:aws:appmesh:eu-west-1:111122223333:mesh/shop/virtualNode/orders"
IMAGE = "840364872350.dkr.ecr.eu-west-1.amazonaws.com/aws-appmesh-envoy:v1.39.1.0-prod"
MIRRORS = (
    IMAGE,
    "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.24.0.0-prod",
    "aws-appmesh-envoy@sha256:" + "0" * 64,
    "mirror.example:5000/team/cached-aws-appmesh-envoy:v1@sha256:" + "1" * 64,
)
SIDECAR = Sidecar(IMAGE, NODE, (9080,))
CARRIED = {"name": "APPMESH_VIRTUAL_NODE_NAME", "value": "mesh/shop/virtualNode/orders"}


def container(name: str, image: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": image, "essential": True, **more}


def orders(**more: Any) -> dict[str, Any]:
    """An application that carries the node's name itself, for its logs."""
    stage = {"name": "STAGE", "value": "live"}
    command = ["/srv/orders", "--port", "9080"]
    return container("orders", "orders:41", environment=[stage, CARRIED], command=command, **more)


def envoy(name: str = "envoy", image: str = MIRRORS[1], **more: Any) -> dict[str, Any]:
    return container(name, image, user="1337", environment=[CARRIED], **more)


def definition(*containers: dict[str, Any], proxy: str = "", **more: Any) -> dict[str, Any]:
    made = {"family": "orders", "networkMode": "awsvpc", "cpu": "1024", "memory": "2048"}
    named = {"type": "APPMESH", "containerName": proxy, "properties": [{"name": "AppPorts", "value": "9080"}]}
    said = {"proxyConfiguration": named} if proxy else {}
    return {**made, "containerDefinitions": copy.deepcopy(list(containers)), **said, **more}


def images(made: dict[str, Any]) -> dict[str, str]:
    return {c["name"]: c["image"] for c in made["containerDefinitions"]}


def named(made: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in made["containerDefinitions"] if c["name"] == name)


# An application that carries Envoy's variable is an application.


@pytest.mark.case(2)
@pytest.mark.attack(16)
@pytest.mark.parametrize("variable", IDENTITY)
def test_an_application_that_carries_the_nodes_name_is_not_envoy(variable: str) -> None:
    app = container("orders", "orders:41", environment=[{**CARRIED, "name": variable}])
    before = definition(app)
    assert envoy_of(before) is None
    assert sidecar_of(before) is None
    assert without_envoy(before) == before
    after = with_envoy(before, SIDECAR)
    assert images(after) == {"orders": "orders:41", "envoy": IMAGE}
    assert named(after, "orders")["environment"] == app["environment"]
    assert after["proxyConfiguration"]["containerName"] == "envoy"
    assert without_envoy(after) == before


@pytest.mark.case(2)
@pytest.mark.attack(16)
@pytest.mark.parametrize("proxy", ["envoy", ""])
def test_envoy_beside_such_an_application_is_the_one_that_runs_app_meshs_image(proxy: str) -> None:
    before = definition(orders(), envoy(), proxy=proxy)
    assert sidecar_of(before) == Meshed("envoy", "shop", "orders", (9080,) if proxy else ())
    after = with_envoy(before, SIDECAR)
    assert images(after) == {"orders": "orders:41", "envoy": IMAGE}
    kept = {key: named(after, "orders")[key] for key in ("environment", "command")}
    assert kept == {key: orders()[key] for key in kept}
    assert images(without_envoy(before)) == {"orders": "orders:41"}
    found = lint(after, launch_type="EC2", node_arn=NODE, listener_ports=(9080,))
    assert "which-envoy" not in {finding.rule for finding in found}


@pytest.mark.attack(16)
@pytest.mark.parametrize("image", MIRRORS)
def test_envoy_is_known_by_its_image_in_any_registry_and_by_digest(image: str) -> None:
    found = envoy_of(definition(orders(), envoy("side", image)))
    assert found is not None
    assert found["name"] == "side"


def test_envoy_is_known_by_the_runbooks_own_label_whatever_its_image() -> None:
    made = with_envoy(definition(orders()), SIDECAR)
    named(made, "envoy")["image"] = "mirror.example/proxy:1"
    assert without_envoy(made) == definition(orders())


def test_nothing_refers_to_a_container_that_was_taken_out() -> None:
    waits = [{"containerName": name, "condition": "START"} for name in ("envoy", "xray-daemon", "log")]
    volumes = [{"sourceContainer": "envoy"}, {"sourceContainer": "log"}]
    app = container("orders", "orders:41", dependsOn=waits, volumesFrom=volumes, links=["envoy:proxy", "log"])
    tracing = {"name": "ENABLE_ENVOY_XRAY_TRACING", "value": "1"}
    side = {**envoy(), "environment": [CARRIED, tracing]}
    daemon = container("xray-daemon", "amazon/aws-xray-daemon")
    made = without_envoy(definition(app, side, daemon, container("log", "fluent"), proxy="envoy"))
    left = named(made, "orders")
    assert images(made) == {"orders": "orders:41", "xray-daemon": "amazon/aws-xray-daemon", "log": "fluent"}
    assert left["dependsOn"] == waits[1:]
    assert left["volumesFrom"] == [volumes[1]]
    assert left["links"] == ["log"]


def test_an_envoy_that_is_called_as_the_daemon_is_never_replaced_by_it() -> None:
    before = definition(orders(), envoy("xray-daemon"), proxy="xray-daemon")
    with pytest.raises(PlanError, match="expected no container named 'xray-daemon' but an X-Ray daemon"):
        with_envoy(before, replace(SIDECAR, xray=True))
    assert sidecar_of(with_envoy(before, SIDECAR)) == Meshed("xray-daemon", "shop", "orders", (9080,))


def test_what_refers_to_a_container_that_only_the_sidecar_brings_comes_back_too() -> None:
    lent = [{"sourceContainer": "xray-daemon"}]
    before = definition(orders(volumesFrom=lent, links=["xray-daemon", "envoy"]))
    assert without_envoy(with_envoy(before, replace(SIDECAR, xray=True))) == before


# Where it is unclear, nothing is registered.

UNCLEAR = {
    "two run it": (
        definition(orders(), envoy(), envoy("spare"), proxy="envoy"),
        "expected one container that runs App Mesh's image, found 'envoy', 'spare'",
    ),
    "the proxy is nobody": (
        definition(orders(), envoy(), proxy="proxy"),
        "the proxy configuration names 'proxy', expected one of 'orders', 'envoy'",
    ),
    "the proxy is the application": (
        definition(orders(), envoy(), proxy="orders"),
        "the proxy configuration names 'orders', which does not run App Mesh's image: 'envoy' does",
    ),
    "the proxy runs something else": (
        definition(orders(), envoy(image="envoyproxy/envoy:v1.30"), proxy="envoy"),
        "the proxy configuration names 'envoy', which does not run App Mesh's image: "
        "expected aws-appmesh-envoy, found 'envoyproxy/envoy:v1.30'",
    ),
    "perhaps a copy": (
        definition(orders(), envoy("side", "mirror.example/our-envoy:7")),
        "'side' says which node it is and runs 'mirror.example/our-envoy:7': expected aws-appmesh-envoy",
    ),
    "a label on the application": (
        definition(orders(dockerLabels={LABEL: "{}"}), envoy(), proxy="envoy"),
        "expected one container that runs App Mesh's image, found 'orders', 'envoy'",
    ),
    "one name twice": (
        definition(orders(), container("orders", "orders:42")),
        "expected each container to have a name of its own, found 'orders', 'orders'",
    ),
}


@pytest.mark.attack(16)
@pytest.mark.parametrize("case", UNCLEAR)
def test_refuses_a_definition_that_does_not_say_which_container_is_envoy(case: str) -> None:
    made, words = UNCLEAR[case]
    for ask in (lambda: with_envoy(made, SIDECAR), lambda: without_envoy(made), lambda: sidecar_of(made)):
        with pytest.raises(PlanError) as refused:
            ask()
        assert refused.value.message == f"task definition orders: it is unclear which container is Envoy: {words}"
    found = lint(made, launch_type="FARGATE", node_arn=NODE, listener_ports=(9080,))
    assert [f.message for f in found if f.rule == "which-envoy"] == [f"it is unclear which container is Envoy: {words}"]


@pytest.mark.parametrize("daemon", [[], [container("xray-daemon", "amazon/aws-xray-daemon")]])
def test_refuses_a_definition_without_an_application(daemon: list[dict[str, Any]]) -> None:
    alone = definition(envoy(), *daemon)
    for ask in (lambda: with_envoy(alone, SIDECAR), lambda: without_envoy(alone)):
        with pytest.raises(PlanError, match="expected an application beside Envoy"):
            ask()


@pytest.mark.parametrize(
    "memory",
    [
        {"task": {}, "containers": {}, "added": ["envoy", "orders"]},
        {"task": {}, "containers": {"orders": {"image": "theirs:1"}}, "added": ["envoy"]},
        {"task": {}, "containers": {"orders": {"name": "other"}}, "added": ["envoy"]},
        {"task": {}, "containers": {"orders": "x"}, "added": ["envoy"]},
        {"task": {}, "containers": {"orders": {"environment": [{}]}}, "added": ["envoy"]},
        {"task": [], "containers": {}, "added": ["envoy"]},
        {"task": {}, "containers": {}, "added": [["envoy"]]},
    ],
)
def test_a_label_that_takes_an_application_away_is_refused(memory: Any) -> None:
    made = with_envoy(definition(orders()), SIDECAR)
    named(made, "envoy")["dockerLabels"][LABEL] = json.dumps(memory)
    with pytest.raises(PlanError):
        without_envoy(made)


# Whatever a definition says: its applications are there afterwards, with their images.

NAMES = st.sampled_from(["orders", "envoy", "proxy", "xray-daemon", "log", "app"])
LABELS = st.sampled_from(['{"task":{},"containers":{},"added":["orders"]}', "x", '{"added":[]}'])
CONTAINERS = st.builds(
    container,
    NAMES,
    st.sampled_from([*MIRRORS, "orders:41", "envoyproxy/envoy:v1", "amazon/aws-xray-daemon", "x/our-envoy"]),
    environment=st.lists(st.sampled_from([CARRIED, {"name": "ENABLE_ENVOY_XRAY_TRACING", "value": "1"}]), max_size=2),
    dockerLabels=st.dictionaries(st.just(LABEL), LABELS) | st.just({}),
    dependsOn=st.lists(st.builds(lambda n: {"containerName": n, "condition": "START"}, NAMES), max_size=2),
)
DEFINITIONS = st.builds(
    lambda containers, proxy: definition(*containers, proxy=proxy),
    st.lists(CONTAINERS, max_size=4),
    st.sampled_from(["", "envoy", "orders", "nobody"]),
)


def is_application(one: dict[str, Any]) -> bool:
    """Say it in other words than the library does."""
    others = ("aws-appmesh-envoy", "aws-xray-daemon")
    return not any(name in one["image"] for name in others) and one["name"] != "xray-daemon"


@pytest.mark.attack(16)
@given(DEFINITIONS, st.builds(lambda x: Sidecar(IMAGE, NODE, (9080,), xray=x), st.booleans()))
def test_applications_are_never_lost_nor_their_images_changed(made: dict[str, Any], sidecar: Sidecar) -> None:
    applications = [c for c in made["containerDefinitions"] if is_application(c) and LABEL not in c["dockerLabels"]]
    for change in (lambda: with_envoy(made, sidecar), lambda: without_envoy(made)):
        try:
            after = images(change())
        except PlanError:
            continue
        assert {c["name"]: c["image"] for c in applications}.items() <= after.items()
        assert applications, "a definition came out that has no application"


@given(DEFINITIONS)
def test_lint_has_an_answer_for_each_of_them(made: dict[str, Any]) -> None:
    assume(made["containerDefinitions"])
    lint(made, launch_type="FARGATE", node_arn=NODE, listener_ports=(9080,))


# Through the notebooks: 00 says it, 04 registers nothing.


@pytest.fixture(scope="module")
def routed(own_mesh: Path, folder: Path) -> Environment:
    """Give an environment with a mesh, whose services are not in it yet."""
    environment = Environment.create(folder, "which")
    environment.walk("01", "02", "03")
    return environment


def deploy(environment: Environment, family: str, change: Any) -> str:
    """Let somebody else register a revision of a family, and move its service to it."""
    ecs = environment.client("ecs")
    found = ecs.describe_task_definition(taskDefinition=f"{family}:1")["taskDefinition"]
    keys = ("family", "networkMode", "requiresCompatibilities", "cpu", "memory", "executionRoleArn", "taskRoleArn")
    form = {key: found[key] for key in (*keys, "containerDefinitions") if key in found}
    change(form)
    revision = ecs.register_task_definition(**form)["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(cluster="apps", service=f"service{family[4:]}", taskDefinition=revision)
    return str(revision)


def running(environment: Environment, service: str) -> dict[str, Any]:
    ecs = environment.client("ecs")
    revision = ecs.describe_services(cluster="apps", services=[service])["services"][0]["taskDefinition"]
    found: dict[str, Any] = ecs.describe_task_definition(taskDefinition=revision)["taskDefinition"]
    return found


@pytest.mark.case(2)
@pytest.mark.attack(16)
def test_04_leaves_the_image_of_an_application_that_carries_the_nodes_name(routed: Environment) -> None:
    deploy(routed, "taskBv2", lambda form: form["containerDefinitions"][0].update(environment=[CARRIED]))
    before = running(routed, "serviceBv2")["containerDefinitions"][0]
    routed.walk("00", "04")
    after = {c["name"]: c for c in running(routed, "serviceBv2")["containerDefinitions"]}
    assert sorted(after) == ["app", "envoy"]
    assert (after["app"]["image"], after["app"]["environment"]) == (before["image"], [CARRIED])


@pytest.mark.attack(16)
def test_00_fails_and_04_registers_nothing_where_two_containers_run_envoy(routed: Environment) -> None:
    more = [envoy("one", IMAGE, memory=64), envoy("two", IMAGE, memory=64)]
    deploy(routed, "taskB", lambda form: form["containerDefinitions"].extend(more))
    before = routed.writes()
    words = "expected one container that runs App Mesh's image, found 'one', 'two'"
    assert "✗ FAIL  definition taskB of serviceB " in (shown := routed.notebook("00").shown)
    assert "it is unclear which container is" in shown
    done = routed.notebook("04", mode="apply")
    assert done.first.startswith("PlanError: task definition taskB: it is unclear which container is Envoy")
    assert words in done.first
    assert routed.writes() == before
