from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import botocore.loaders
import botocore.session
import botocore.validate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.errors import PlanError
from runbook_lib.task_definition.envoy import LABEL, is_daemon
from runbook_lib.task_definition.fargate import FARGATE_SIZES
from runbook_lib.task_definition.form import READ_ONLY, containers_of, normalise, register_input, same
from runbook_lib.task_definition.image import (
    DEFAULT_ENVOY_ACCOUNT,
    ENVOY_ACCOUNTS,
    FIPS_REGIONS,
    REGIONS,
    envoy_image,
    image_problems,
)
from runbook_lib.task_definition.lint import BY_ECS, RULES, SUBJECTS, lint
from runbook_lib.task_definition.lint.rule import Rule
from runbook_lib.task_definition.sidecar import Meshed, Sidecar, sidecar_of, with_envoy, without_envoy

FIXTURES = Path(__file__).parent / "fixtures" / "task_definitions"
EXAMPLES = ("fargate", "fargate_xray", "ec2", "ec2_xray")
NODE = "arn:aws:appmesh:us-west-2:123456789012:mesh/apps/virtualNode/serviceB"
SHORT_NODE = "mesh/apps/virtualNode/serviceB"
TASK_ROLE = "arn:aws:iam::123456789012:role/ecsTaskRole"
ECS = botocore.session.get_session().get_service_model("ecs")


def fixture(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def sidecar(**changes: Any) -> Sidecar:
    plain = Sidecar(
        image=envoy_image("us-west-2", "v1.39.1.0-prod"),
        node_arn=NODE,
        app_ports=(9080,),
        task_role_arn=TASK_ROLE,
    )
    return replace(plain, **changes)


def container(definition: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in definition["containerDefinitions"] if c["name"] == name)


def environment(definition: dict[str, Any], name: str = "envoy") -> dict[str, str]:
    return {e["name"]: e["value"] for e in container(definition, name)["environment"]}


def properties(definition: dict[str, Any]) -> dict[str, str]:
    return {p["name"]: p["value"] for p in definition["proxyConfiguration"]["properties"]}


def plain(**changes: Any) -> dict[str, Any]:
    """A definition in which lint finds nothing once it is meshed."""
    return {**fixture("plain_fargate"), "cpu": "1024", "memory": "2048", **changes}


def plain_with(**changes: Any) -> dict[str, Any]:
    """`plain` with its application container changed."""
    base = plain()
    base["containerDefinitions"][0].update(changes)
    return base


# The tutorial's four examples, and what is wrong with them (numbers: facts/appmesh.md 2.7).


def item_6_and_11_arn_of_the_one_account(example: dict[str, Any]) -> None:
    """The text asks for APPMESH_RESOURCE_ARN, the examples say APPMESH_VIRTUAL_NODE_NAME; one account."""
    old = container(example, "envoy")["environment"][0]
    assert old == {"name": "APPMESH_VIRTUAL_NODE_NAME", "value": "mesh/apps/virtualNode/serviceB"}
    old.update(name="APPMESH_RESOURCE_ARN", value=NODE)


def item_7_integers(example: dict[str, Any]) -> None:
    """The API takes no text for a container's cpu and memoryReservation."""
    container(example, "xray-daemon").update(cpu=32, memoryReservation=256)


def item_10_memory_for_more_than_the_daemon(example: dict[str, Any]) -> None:
    """The daemon alone reserves the whole 256 MiB of the task."""
    assert example["memory"] == "256"
    example["memory"] = "512"


def what_the_runbook_adds(example: dict[str, Any]) -> None:
    """Not a slip: time to start, open files, metrics; and no limit of Envoy's own beside the task's memory."""
    envoy = container(example, "envoy")
    envoy["healthCheck"]["startPeriod"] = 90
    envoy["ulimits"] = [{"name": "nofile", "softLimit": 15000, "hardLimit": 15000}]
    metrics = {"ENABLE_ENVOY_STATS_TAGS": "1", "APPMESH_METRIC_EXTENSION_VERSION": "1"}
    envoy["environment"] += [{"name": name, "value": value} for name, value in metrics.items()]
    envoy.pop("memory", None)


def the_way_back(**former: Any) -> Callable[[dict[str, Any]], None]:
    """Not a slip: the label by which `without_envoy` knows what was there before."""

    def correct(example: dict[str, Any]) -> None:
        added = [c["name"] for c in example["containerDefinitions"] if c["name"] != "appName"]
        task = {"proxyConfiguration": None, "taskRoleArn": None, **former}
        label = json.dumps({"added": added, "containers": {}, "task": task}, sort_keys=True, separators=(",", ":"))
        container(example, "envoy")["dockerLabels"] = {LABEL: label}

    return correct


SAME = [item_6_and_11_arn_of_the_one_account, what_the_runbook_adds]
CORRECTIONS = {
    "fargate": [*SAME, the_way_back()],
    "fargate_xray": [*SAME, item_7_integers, the_way_back()],
    "ec2": [*SAME, the_way_back()],
    "ec2_xray": [*SAME, item_10_memory_for_more_than_the_daemon, the_way_back(memory="256")],
}


def corrected(name: str) -> dict[str, Any]:
    example = fixture(f"seed_{name}")
    for correct in CORRECTIONS[name]:
        correct(example)
    return example


def as_in_example(name: str) -> Sidecar:
    """The sidecar as the example has it."""
    return Sidecar(
        image="840364872350.dkr.ecr.us-west-2.amazonaws.com/aws-appmesh-envoy:v1.29.6.1-prod",
        node_arn=NODE,
        app_ports=(9080,),
        launch_type="FARGATE" if name.startswith("fargate") else "EC2",
        xray=name.endswith("xray"),
        task_role_arn=TASK_ROLE,
        task_memory="512" if name == "ec2_xray" else None,
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_makes_the_tutorials_example_from_the_plain_definition(name: str) -> None:
    made = with_envoy(fixture(f"plain_{name}"), as_in_example(name))
    assert normalise(made) == normalise(corrected(name))


@pytest.mark.parametrize("name", EXAMPLES)
def test_makes_the_plain_definition_from_the_tutorials_corrected_example(name: str) -> None:
    assert same(without_envoy(corrected(name)), fixture(f"plain_{name}"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_correction_is_needed(name: str) -> None:
    made = with_envoy(fixture(f"plain_{name}"), as_in_example(name))
    for left_out in CORRECTIONS[name]:
        example = fixture(f"seed_{name}")
        for correct in CORRECTIONS[name]:
            if correct is not left_out:
                correct(example)
        assert not same(made, example)


def test_the_api_refuses_numbers_written_as_text() -> None:
    assert "cpu, value: 32, type: <class 'str'>" in validation_errors(fixture("seed_fargate_xray"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_corrected_example_is_valid_for_the_api_and_has_no_failure(name: str) -> None:
    example = corrected(name)
    launch_type = as_in_example(name).launch_type
    assert validation_errors(example) == ""
    assert [f for f in lint(example, launch_type=launch_type) if f.level == "FAIL"] == []


def test_lint_finds_the_slips_of_the_examples() -> None:
    examples = {name: fixture(f"seed_{name}") for name in EXAMPLES}
    item_7_integers(examples["fargate_xray"])  # as the API takes them
    found = {
        name: {f.rule for f in lint(example, launch_type=as_in_example(name).launch_type)}
        for name, example in examples.items()
    }
    assert all({"old-identity", "open-files"} <= rules for rules in found.values())  # item 6, facts 3.5
    assert "envoy-cpu" in found["fargate"]  # item 9
    assert "memory-sum" in found["ec2_xray"]  # item 10
    assert "memory-sum" not in found["ec2"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_takes_envoy_out_of_the_tutorials_own_example(name: str) -> None:
    """Meshed by hand: roles, sizes and daemon stay, since nothing says that no application uses them."""
    expected = {**fixture(f"plain_{name}"), "taskRoleArn": TASK_ROLE}
    expected["containerDefinitions"] += [c for c in containers_of(fixture(f"seed_{name}")) if is_daemon(c)]
    assert same(without_envoy(fixture(f"seed_{name}")), expected)


@pytest.mark.parametrize("name", EXAMPLES)
def test_leaves_an_x_ray_daemon_that_came_by_other_hands(name: str) -> None:
    example = fixture(f"seed_{name}")
    if not any(map(is_daemon, containers_of(example))):
        example["containerDefinitions"].append({"name": "xray-daemon", "image": "amazon/aws-xray-daemon"})
    assert [c["name"] for c in without_envoy(example)["containerDefinitions"]] == ["appName", "xray-daemon"]


# Properties.

NAMES = st.text("abcdefgh", min_size=1, max_size=4)
TEXT = st.text("abc \n\"'{}é", max_size=5)
JSON = st.sampled_from([True, 0, "", "text", [], {}, [1, {"a": []}], {"b": {"c": "d"}}])
VARIABLES = st.lists(NAMES, unique=True, max_size=4).flatmap(
    lambda names: st.lists(TEXT, min_size=len(names), max_size=len(names)).map(
        lambda values: [{"name": n, "value": v} for n, v in zip(names, values, strict=True)]
    )
)
UNKNOWN = st.dictionaries(NAMES.map("x-".__add__), JSON, max_size=2)
APP_FIELDS = {
    "image": TEXT,
    "portMappings": st.just([{"containerPort": 9080}]),
    "dependsOn": st.just([]) | st.just([{"containerName": "zebra", "condition": "START"}]),
    "environment": VARIABLES,
    "dockerLabels": st.dictionaries(NAMES, TEXT, max_size=2),
    "memoryReservation": st.just(64),
    "user": st.just("0"),
}


@st.composite
def containers(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(NAMES, unique=True, min_size=1, max_size=3))
    apps = [{"name": name, **draw(st.fixed_dictionaries({}, optional=APP_FIELDS)), **draw(UNKNOWN)} for name in names]
    return [*apps, {"name": "zebra", "image": "z"}]


@st.composite
def by_hand(draw: st.DrawFn, definition: dict[str, Any]) -> dict[str, Any]:
    """Mesh a definition as people did: another name, the old variable, settings of their own."""
    name = draw(st.sampled_from(["envoy", "proxy"]))
    variable = draw(st.sampled_from(["APPMESH_VIRTUAL_NODE_NAME", "APPMESH_RESOURCE_ARN"]))
    own = [
        {"name": variable, "value": "mesh/old/virtualNode/old"},
        {"name": "APPMESH_RESOURCE_CLUSTER", "value": "c"},
    ]
    envoy = {
        "name": name,
        "image": "x/aws-appmesh-envoy:v1.11.1.1-prod",
        "environment": [
            *draw(VARIABLES),
            *own[: draw(st.integers(1, 2))],
            {"name": "ENVOY_LOG_LEVEL", "value": "info"},
        ],
        **draw(
            st.fixed_dictionaries(
                {}, optional={"memory": st.just(300), "user": st.just("1"), "dockerLabels": st.just({})}
            )
        ),
        "ulimits": [{"name": "core", "softLimit": 1, "hardLimit": 1}],
        **draw(UNKNOWN),
    }
    for app in definition["containerDefinitions"]:
        app["dependsOn"] = [*app.get("dependsOn", []), {"containerName": name, "condition": "START"}]
    definition["containerDefinitions"].insert(draw(st.integers(0, 1)), envoy)
    proxy = {
        "containerName": name,
        "properties": [{"name": "AppPorts", "value": "80"}, {"name": "IgnoredGID"}],
    }
    return {**definition, "proxyConfiguration": proxy}


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    optional = {
        "cpu": st.just("1 vCPU"),
        "memory": st.just("4 GB"),
        "taskRoleArn": TEXT,
        "tags": st.just([{"key": "a", "value": "b"}, {"key": "aws:x", "value": "y"}]),
        "volumes": st.just([{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]) | st.just([]),
        "requiresCompatibilities": st.just(["EC2", "FARGATE"]) | st.just([]),
        "revision": st.just(3),
        "status": st.just("ACTIVE"),
    }
    definition = {
        "family": "taskB",
        "networkMode": "awsvpc",
        "containerDefinitions": draw(containers()),
        **draw(st.fixed_dictionaries({}, optional=optional)),
        **draw(UNKNOWN),
    }
    if draw(st.booleans()):
        daemon = {"name": "tracer", "image": "amazon/aws-xray-daemon:3.x", "user": "0"}
        definition["containerDefinitions"].append(daemon)
    return draw(by_hand(definition)) if draw(st.booleans()) else definition


SIDECARS = st.builds(
    sidecar,
    app_ports=st.sampled_from([(9080,), (80, 9080)]),
    launch_type=st.sampled_from(["FARGATE", "EC2"]),
    resource_cluster=st.none() | st.just("cluster"),
    ignored_ips=st.sampled_from([(), ("10.0.0.1",)]),
    ignored_ports=st.sampled_from([(22,), (), (22, 6379)]),
    user=st.sampled_from(["1337", "1338"]),
    xray=st.booleans(),
    task_role_arn=st.none() | st.just(TASK_ROLE),
    task_cpu=st.none() | st.just("2048"),
    task_memory=st.none() | st.just("8192"),
)


@given(definitions(), SIDECARS)
def test_is_idempotent(definition: dict[str, Any], envoy: Sidecar) -> None:
    once = with_envoy(definition, envoy)
    assert with_envoy(once, envoy) == once


@given(definitions(), SIDECARS)
def test_without_envoy_is_exactly_what_it_came_from(definition: dict[str, Any], envoy: Sidecar) -> None:
    assert without_envoy(with_envoy(definition, envoy)) == register_input(definition)


@given(definitions(), SIDECARS, SIDECARS)
def test_an_earlier_sidecar_leaves_nothing_behind(definition: dict[str, Any], a: Sidecar, b: Sidecar) -> None:
    assert with_envoy(with_envoy(definition, a), b) == with_envoy(definition, b)


@given(definitions(), SIDECARS)
def test_changes_nothing_it_is_given(definition: dict[str, Any], envoy: Sidecar) -> None:
    before = copy.deepcopy(definition)
    meshed = with_envoy(definition, envoy)
    after = copy.deepcopy(meshed)
    for read in (without_envoy, normalise, register_input, sidecar_of):
        read(definition)
        read(meshed)
    lint(definition, launch_type="EC2")
    lint(meshed, launch_type="EC2")
    assert (definition, meshed) == (before, after)


@given(definitions(), SIDECARS)
def test_shares_nothing_with_what_it_is_given(definition: dict[str, Any], envoy: Sidecar) -> None:
    before = copy.deepcopy(definition)
    for made in (with_envoy(definition, envoy), without_envoy(definition), register_input(definition)):
        for part in made["containerDefinitions"]:
            for value in part.values():
                if isinstance(value, list | dict):
                    value.clear()
    assert definition == before


@given(definitions(), SIDECARS)
def test_keeps_every_field_it_was_not_asked_to_change(definition: dict[str, Any], envoy: Sidecar) -> None:
    meshed = with_envoy(definition, envoy)
    proxy = meshed["proxyConfiguration"]["containerName"]
    changed = {"proxyConfiguration", "containerDefinitions", "taskRoleArn", "cpu", "memory"}
    for key, value in register_input(definition).items():
        assert key in changed or meshed[key] == value
    for before in definition["containerDefinitions"]:
        after = container(meshed, before["name"])
        if before["name"] == proxy:
            assert {k: v for k, v in before.items() if k.startswith("x-")}.items() <= after.items()
            variables = environment(meshed, proxy)
            assert variables["ENVOY_LOG_LEVEL"] == "info"
            if "APPMESH_RESOURCE_CLUSTER" in environment(definition, proxy):
                assert variables["APPMESH_RESOURCE_CLUSTER"] == (envoy.resource_cluster or "c")
        else:
            mine = {"dependsOn", "user"} if before["name"] == "tracer" and envoy.xray else {"dependsOn"}
            assert {k: v for k, v in before.items() if k not in mine} == {
                k: v for k, v in after.items() if k not in mine
            }


@given(definitions(), SIDECARS)
def test_a_definition_as_described_is_the_same_as_registered(definition: dict[str, Any], envoy: Sidecar) -> None:
    meshed = with_envoy(definition, envoy)
    assert same(described(meshed), meshed)


def described(definition: dict[str, Any]) -> dict[str, Any]:
    """What DescribeTaskDefinition adds to what was registered."""
    result = copy.deepcopy(definition)
    for part in result["containerDefinitions"]:
        for key in ("environment", "mountPoints", "volumesFrom", "systemControls", "portMappings"):
            part.setdefault(key, [])
        part.setdefault("cpu", 0)
        part.setdefault("essential", True)
        part["environment"] = sorted(part["environment"], key=lambda e: e["name"])
        for port in part["portMappings"]:
            port.setdefault("hostPort", port["containerPort"])
            port.setdefault("protocol", "tcp")
    result["proxyConfiguration"]["properties"].reverse()
    read_only = {"taskDefinitionArn": "arn", "revision": 8, "status": "ACTIVE", "compatibilities": ["EC2"]}
    tags = result.pop("tags", [])
    task = {"volumes": [], "placementConstraints": [], "requiresCompatibilities": [], **result, **read_only}
    return {
        "taskDefinition": {**task, "requiresAttributes": [{"name": "x"}]},
        "tags": tags,
        "ResponseMetadata": {},
    }


PLAIN = st.builds(
    lambda size, xray, efs, described_, port: (
        {
            **(fixture("plain_fargate_described")["taskDefinition"] if described_ else fixture("plain_fargate")),
            "cpu": str(size[0]),
            "memory": str(size[1]),
            "volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}] if efs else [],
            "containerDefinitions": [{"name": "app", "image": "app:1", "portMappings": [{"containerPort": port}]}],
        },
        sidecar(xray=xray, app_ports=(port,)),
    ),
    st.sampled_from([(cpu, memory) for cpu, sizes in FARGATE_SIZES.items() for memory in sizes]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(1, 65535),
)


@given(PLAIN)
def test_what_it_makes_is_valid_for_the_api_and_has_no_failure(made: tuple[dict[str, Any], Sidecar]) -> None:
    definition, envoy = made
    meshed = with_envoy(definition, envoy)
    assert validation_errors(meshed) == ""
    found = lint(meshed, launch_type="FARGATE", node_arn=NODE, listener_ports=envoy.app_ports)
    assert [f for f in found if f.level == "FAIL"] == []


def validation_errors(definition: dict[str, Any]) -> str:
    shape = ECS.operation_model("RegisterTaskDefinition").input_shape
    return botocore.validate.ParamValidator().validate(definition, shape).generate_report()


# with_envoy, one fact each.


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_it_makes_of_the_plain_definitions_is_valid_for_the_api(name: str) -> None:
    assert validation_errors(with_envoy(fixture(f"plain_{name}"), as_in_example(name))) == ""


def test_meshes_a_described_definition_with_its_tags() -> None:
    meshed = with_envoy(fixture("plain_fargate_described"), sidecar())
    assert meshed["tags"] == [{"key": "team", "value": "apps"}]
    assert not READ_ONLY & meshed.keys()
    assert validation_errors(meshed) == ""


def test_sets_the_six_proxy_properties() -> None:
    assert properties(with_envoy(plain(), sidecar(ignored_ips=("10.0.0.1",), ignored_ports=(22, 6379)))) == {
        "IgnoredUID": "1337",
        "ProxyIngressPort": "15000",
        "ProxyEgressPort": "15001",
        "AppPorts": "9080",
        "EgressIgnoredIPs": "169.254.170.2,169.254.169.254,10.0.0.1",
        "EgressIgnoredPorts": "22,6379",
    }


def test_keeps_the_properties_that_no_sidecar_says_and_names_the_group_it_is_told() -> None:
    by_hand = {"containerName": "envoy", "properties": [{"name": "IgnoredGID", "value": "1338"}]}
    by_hand["properties"] += [{"name": "Another", "value": "x"}, {"name": "AppPorts", "value": "1"}]
    found = {**plain(), "proxyConfiguration": by_hand}
    found["containerDefinitions"] += [{"name": "envoy", "image": "aws-appmesh-envoy:v1.29.6.1-prod"}]
    kept = properties(with_envoy(found, sidecar()))
    assert (kept["IgnoredGID"], kept["Another"], kept["AppPorts"]) == ("1338", "x", "9080")
    assert properties(with_envoy(found, sidecar(ignored_gid="1400")))["IgnoredGID"] == "1400"


def test_a_user_keeps_its_group() -> None:
    found = with_envoy(plain(), sidecar(xray=True))
    container(found, "envoy")["user"] = "1337:1338"
    container(found, "xray-daemon")["user"] = "0:1338"
    again = with_envoy(found, sidecar(user="1400", xray=True))
    assert [container(again, name)["user"] for name in ("envoy", "xray-daemon")] == ["1400:1338"] * 2


def test_envoys_container_is_what_the_file_says() -> None:
    log = {"logDriver": "awslogs", "options": {"awslogs-group": "/apps/envoy"}}
    asked = sidecar(cpu=512, memory=64, start_seconds=10, log=log, execution_role_arn="given")
    without_role = {k: v for k, v in plain().items() if k != "executionRoleArn"}
    made = with_envoy(without_role, asked)
    envoy = container(made, "envoy")
    assert (envoy["cpu"], envoy["memory"], envoy["healthCheck"]["startPeriod"]) == (512, 64, 10)
    assert envoy["logConfiguration"] == log
    assert made["executionRoleArn"] == "given"
    assert with_envoy(plain(), asked)["executionRoleArn"] == plain()["executionRoleArn"]
    assert without_envoy(made) == without_role
    kept = container(with_envoy(made, sidecar()), "envoy")
    assert ("cpu" in kept, "memory" in kept, kept["logConfiguration"]) == (False, False, log)
    assert "logConfiguration" not in container(with_envoy(made, sidecar(log={})), "envoy")


def test_a_limit_of_memory_leaves_no_reservation_that_is_not_below_it() -> None:
    found = with_envoy(plain(), sidecar())
    container(found, "envoy")["memoryReservation"] = 128
    assert "memoryReservation" not in container(with_envoy(found, sidecar(memory=64)), "envoy")
    assert container(with_envoy(found, sidecar(memory=256)), "envoy")["memoryReservation"] == 128


def test_leaves_a_property_without_a_value_out() -> None:
    assert "EgressIgnoredPorts" not in properties(with_envoy(plain(), sidecar(ignored_ports=())))


def test_leaves_nfs_to_efs() -> None:
    volumes = [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]
    assert properties(with_envoy(plain(volumes=volumes), sidecar()))["EgressIgnoredPorts"] == "22,2049"


def test_every_application_container_waits_for_envoy_and_keeps_its_other_waits() -> None:
    other = {"containerName": "init", "condition": "SUCCESS"}
    definition = plain_with(dependsOn=[other])
    definition["containerDefinitions"].append({"name": "init", "image": "i", "essential": False})
    meshed = with_envoy(definition, sidecar())
    wait = {"containerName": "envoy", "condition": "HEALTHY"}
    assert container(meshed, "appName")["dependsOn"] == [other, wait]
    assert container(meshed, "init")["dependsOn"] == [wait]


def test_what_envoy_waits_for_does_not_wait_for_envoy() -> None:
    meshed = with_envoy(plain(), sidecar())
    envoy = container(meshed, "envoy")
    envoy["logConfiguration"] = {"logDriver": "awsfirelens"}
    meshed["containerDefinitions"].append({"name": "log", "image": "l", "firelensConfiguration": {"type": "fluentbit"}})
    again = with_envoy(meshed, sidecar())
    assert "dependsOn" not in container(again, "log")
    assert container(again, "envoy")["logConfiguration"] == {"logDriver": "awsfirelens"}


def test_envoy_knows_its_node_and_publishes_its_metrics() -> None:
    assert environment(with_envoy(plain(), sidecar(resource_cluster="blue"))) == {
        "APPMESH_RESOURCE_ARN": NODE,
        "APPMESH_RESOURCE_CLUSTER": "blue",
        "ENABLE_ENVOY_STATS_TAGS": "1",
        "APPMESH_METRIC_EXTENSION_VERSION": "1",
    }


def test_envoy_may_open_15000_files_and_take_90_seconds_to_start() -> None:
    envoy = container(with_envoy(plain(), sidecar()), "envoy")
    assert envoy["ulimits"] == [{"name": "nofile", "softLimit": 15000, "hardLimit": 15000}]
    assert envoy["healthCheck"]["startPeriod"] == 90
    assert (envoy["essential"], envoy["user"]) == (True, "1337")


def test_envoy_gets_500_mib_where_the_task_has_no_memory() -> None:
    definition = {k: v for k, v in fixture("plain_ec2").items() if k != "memory"}
    definition["containerDefinitions"][0]["memory"] = 128
    meshed = with_envoy(definition, sidecar(launch_type="EC2"))
    assert container(meshed, "envoy")["memory"] == 500
    assert "memory" not in container(with_envoy(fixture("plain_ec2"), sidecar(launch_type="EC2")), "envoy")


def test_the_x_ray_daemon_runs_as_envoys_user() -> None:
    meshed = with_envoy(plain(), sidecar(xray=True, user="1338"))
    assert container(meshed, "xray-daemon") == {
        "name": "xray-daemon",
        "image": "amazon/aws-xray-daemon",
        "user": "1338",
        "essential": True,
        "cpu": 32,
        "memoryReservation": 256,
        "portMappings": [{"containerPort": 2000, "protocol": "udp"}],
    }
    assert environment(meshed)["ENABLE_ENVOY_XRAY_TRACING"] == "1"


def test_an_x_ray_daemon_already_there_is_used() -> None:
    definition = plain()
    definition["containerDefinitions"].append({"name": "tracer", "image": "amazon/aws-xray-daemon:3.x"})
    meshed = with_envoy(definition, sidecar(xray=True))
    assert container(meshed, "tracer") == {
        "name": "tracer",
        "image": "amazon/aws-xray-daemon:3.x",
        "user": "1337",
    }
    assert [c["name"] for c in meshed["containerDefinitions"]] == ["appName", "tracer", "envoy"]


def test_an_old_node_name_becomes_the_arn() -> None:
    meshed = with_envoy(fixture("seed_fargate"), sidecar())
    assert "APPMESH_VIRTUAL_NODE_NAME" not in environment(meshed)
    assert environment(meshed)["APPMESH_RESOURCE_ARN"] == NODE
    assert same(without_envoy(meshed), fixture("seed_fargate"))


def test_edits_made_since_survive_on_the_way_back() -> None:
    meshed = with_envoy(plain(), sidecar())
    container(meshed, "appName").update(image="appImage:2", environment=[{"name": "NEW", "value": "1"}])
    back = without_envoy(meshed)
    expected = plain_with(image="appImage:2", environment=[{"name": "NEW", "value": "1"}])
    assert back == expected


def test_a_variable_given_to_envoy_since_survives_on_the_way_back() -> None:
    meshed = with_envoy(fixture("seed_fargate"), sidecar())
    container(meshed, "envoy")["environment"].append({"name": "ENVOY_LOG_LEVEL", "value": "debug"})
    assert environment(without_envoy(meshed)) == {
        "APPMESH_VIRTUAL_NODE_NAME": "mesh/apps/virtualNode/serviceB",
        "ENVOY_LOG_LEVEL": "debug",
    }


def test_the_memory_of_what_was_there_holds_no_value_of_the_applications_variables() -> None:
    definition = fixture("seed_fargate")
    secret = {"name": "DD_API_KEY", "value": "hunter2"}
    container(definition, "envoy")["environment"].append(secret)
    container(definition, "envoy")["logConfiguration"] = {
        "logDriver": "splunk",
        "options": {"splunk-token": "hunter2"},
    }
    meshed = with_envoy(definition, sidecar())
    assert "hunter2" not in container(meshed, "envoy")["dockerLabels"][LABEL]
    assert without_envoy(meshed) == register_input(definition)


def test_a_definition_without_envoy_comes_back_as_it_is() -> None:
    own = plain()
    own["containerDefinitions"].append({"name": "envoy", "image": "envoyproxy/envoy:v1.30"})
    assert without_envoy(own) == own


@pytest.mark.parametrize("label", ["not json", "{}", "[]", '"x"', "1"])
def test_refuses_a_way_back_it_cannot_read(label: str) -> None:
    meshed = with_envoy(plain(), sidecar())
    container(meshed, "envoy")["dockerLabels"][LABEL] = label
    with pytest.raises(PlanError, match=r"taskB: label appmesh-runbook\.before"):
        without_envoy(meshed)


@pytest.mark.parametrize("mode", ["bridge", "host", None])
def test_refuses_another_network_mode(mode: str | None) -> None:
    definition = plain(networkMode=mode) if mode else {k: v for k, v in plain().items() if k != "networkMode"}
    with pytest.raises(PlanError, match=f"taskB: networkMode: expected awsvpc, found {mode or 'bridge'}"):
        with_envoy(definition, sidecar())


def test_refuses_a_launch_type_the_definition_excludes() -> None:
    with pytest.raises(PlanError, match="expected EC2, found FARGATE"):
        with_envoy(plain(), sidecar(launch_type="EC2"))


def test_refuses_to_replace_an_envoy_that_is_not_app_meshs() -> None:
    definition = plain()
    definition["containerDefinitions"].append({"name": "envoy", "image": "envoyproxy/envoy:v1.30"})
    with pytest.raises(PlanError, match="no container named 'envoy' but App Mesh's"):
        with_envoy(definition, sidecar())


def test_refuses_a_sixteenth_ignored_port_for_efs() -> None:
    volumes = [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]
    with pytest.raises(PlanError, match="at most 15, found 16"):
        with_envoy(plain(volumes=volumes), sidecar(ignored_ports=tuple(range(1, 16))))


# sidecar_of


def test_says_who_a_definition_is_meshed_as() -> None:
    assert sidecar_of(with_envoy(plain(), sidecar())) == Meshed("envoy", "apps", "serviceB", (9080,))


def test_says_who_a_definition_meshed_by_hand_is() -> None:
    assert sidecar_of(fixture("seed_ec2")) == Meshed("envoy", "apps", "serviceB", (9080,))


def test_a_node_it_cannot_name_is_a_sidecar_all_the_same() -> None:
    meshed = with_envoy(plain(), sidecar(node_arn="somewhere"))
    assert sidecar_of(meshed) == Meshed("envoy", "", "", (9080,))


def test_two_containers_that_run_app_meshs_image_are_nobody_in_particular() -> None:
    definition = fixture("seed_fargate")
    definition["containerDefinitions"].insert(0, {"name": "spare", "image": "x/aws-appmesh-envoy:v1.29.6.1-prod"})
    with pytest.raises(PlanError, match="expected one container that runs App Mesh's image, found 'spare', 'envoy'"):
        sidecar_of(definition)


def test_a_plain_definition_is_nobody_in_the_mesh() -> None:
    assert sidecar_of(plain()) is None


# register_input and the comparison form


def test_read_only_keys_are_what_the_api_describes_and_does_not_register() -> None:
    takes = ECS.operation_model("RegisterTaskDefinition").input_shape.members.keys()
    assert ECS.shape_for("TaskDefinition").members.keys() - takes == READ_ONLY


def test_what_can_be_registered_of_a_described_definition_is_the_same_task() -> None:
    registrable = register_input(fixture("plain_fargate_described"))
    assert validation_errors(registrable) == ""
    assert same(registrable, {**fixture("plain_fargate"), "tags": [{"key": "team", "value": "apps"}]})


def test_drops_properties_without_a_value_and_empty_accelerators() -> None:
    proxy = {
        "containerName": "envoy",
        "properties": [{"name": "IgnoredGID"}, {"name": "AppPorts", "value": "80"}],
    }
    made = register_input({"family": "f", "inferenceAccelerators": [], "tags": [], "proxyConfiguration": proxy})
    expected = {"containerName": "envoy", "properties": [{"name": "AppPorts", "value": "80"}]}
    assert made == {"family": "f", "proxyConfiguration": expected}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (plain(cpu="0.5 vCPU"), plain(cpu="512")),
        (plain(cpu=".5vcpu"), plain(cpu="512")),
        (plain(memory="1 GB"), plain(memory="1024")),
        (plain(memory="1GB"), plain(memory=1024)),
        (plain(volumes=[], placementConstraints=None, tags=[]), plain()),
        (plain(tags=[{"key": "a"}, {"key": "b"}]), plain(tags=[{"key": "b"}, {"key": "a"}])),
        (
            plain(requiresCompatibilities=["EC2", "FARGATE"]),
            plain(requiresCompatibilities=["FARGATE", "EC2"]),
        ),
        (plain(volumes=[{"name": "v", "host": {}}]), plain(volumes=[{"name": "v"}])),
        (plain_with(cpu=0, essential=True, environment=[], mountPoints=[], privileged=False), plain()),
        (plain_with(portMappings=[{"containerPort": 9080, "hostPort": 9080, "protocol": "tcp"}]), plain()),
        (
            plain_with(environment=[{"name": "A"}, {"name": "B"}]),
            plain_with(environment=[{"name": "B"}, {"name": "A"}]),
        ),
        (
            plain_with(healthCheck={"command": ["CMD", "x"], "interval": 30, "timeout": 5, "retries": 3}),
            plain_with(healthCheck={"command": ["CMD", "x"]}),
        ),
    ],
)
def test_one_task_written_in_two_ways_is_the_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert normalise(a) == normalise(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (plain(cpu="512"), plain(cpu="1024")),
        (plain(cpu="lots"), plain(cpu="more")),
        (plain_with(essential=False), plain_with(essential=True)),
        (plain_with(command=["a", "b"]), plain_with(command=["b", "a"])),
        (plain_with(command=["a", ""]), plain_with(command=["a"])),
        (plain_with(dockerLabels={"a": ""}), plain_with(dockerLabels={"b": ""})),
        (plain_with(environment=[{"name": "A", "value": ""}]), plain_with()),
        (
            plain_with(environment=[{"name": "A", "value": "1"}]),
            plain_with(environment=[{"name": "A", "value": "2"}]),
        ),
        (plain_with(portMappings=[{"containerPort": 9080, "protocol": "udp"}]), plain()),
        (
            plain_with(environmentFiles=[{"value": "a"}, {"value": "b"}]),
            plain_with(environmentFiles=[{"value": "b"}, {"value": "a"}]),
        ),
        (
            plain_with(healthCheck={"command": ["CMD", "x"], "startPeriod": 10}),
            plain_with(healthCheck={"command": ["CMD", "x"], "startPeriod": 90}),
        ),
        (
            with_envoy(plain(), sidecar(ignored_ports=(22,))),
            with_envoy(plain(), sidecar(ignored_ports=(22, 80))),
        ),
    ],
)
def test_two_tasks_are_not_the_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert not same(a, b)


def test_a_host_port_means_something_in_bridge_mode() -> None:
    fixed = plain_with(portMappings=[{"containerPort": 9080, "hostPort": 9080}])
    assert not same({**fixed, "networkMode": "bridge"}, plain(networkMode="bridge"))


@given(definitions())
def test_the_comparison_form_is_its_own_comparison_form(definition: dict[str, Any]) -> None:
    assert normalise(normalise(definition)) == normalise(definition)


@pytest.mark.parametrize("mapping", [{"containerPort": 9080}, {"containerPortRange": "9100-9110", "protocol": "tcp"}])
def test_a_port_range_is_kept_and_compared(mapping: dict[str, Any]) -> None:
    definition = plain_with(portMappings=[{"containerPort": 9080}, mapping])
    assert container(with_envoy(definition, sidecar()), "appName")["portMappings"] == [{"containerPort": 9080}, mapping]
    assert same(definition, plain_with(portMappings=[mapping, {"containerPort": 9080, "hostPort": 9080}]))
    assert not same(definition, plain_with(portMappings=[mapping]))


def test_the_ports_of_a_range_are_open() -> None:
    definition = meshed_with("appName", portMappings=[{"containerPort": 9080}, {"containerPortRange": "9100-9110"}])
    found = lint(definition, launch_type="FARGATE")
    assert [f.message for f in found] == [
        "container ports 9100-9110 are not among them: reached past Envoy (roadmap#166)"
    ]


# Lint: what each rule finds, from a definition in which nothing is found.


def clean() -> dict[str, Any]:
    return with_envoy(plain(), sidecar(xray=True))


def meshed_with(name: str, **changes: Any) -> dict[str, Any]:
    """`clean` with one container's fields changed; None takes one away."""
    made = clean()
    part = container(made, name)
    part.update(changes)
    for key in [key for key, value in changes.items() if value is None]:
        del part[key]
    return made


def with_property(name: str, value: str | None) -> dict[str, Any]:
    made = clean()
    others = [p for p in made["proxyConfiguration"]["properties"] if p["name"] != name]
    made["proxyConfiguration"]["properties"] = others if value is None else [*others, {"name": name, "value": value}]
    return made


def with_variable(old: str, *, name: str = "", value: str = "") -> dict[str, Any]:
    made = clean()
    envoy = container(made, "envoy")
    envoy["environment"] = [e for e in envoy["environment"] if e["name"] != old]
    envoy["environment"] += [{"name": name, "value": value}] if name else []
    return made


def image(tag: str, region: str = "us-west-2", account: str = "840364872350") -> dict[str, Any]:
    return meshed_with("envoy", image=f"{account}.dkr.ecr.{region}.amazonaws.com/aws-appmesh-envoy:{tag}")


EFS = [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]
NULL_PROPERTY = {"containerName": "envoy", "properties": [{"name": "IgnoredGID"}]}
BAD: dict[str, dict[str, Any]] = {
    "fargate-needs-size": {k: v for k, v in clean().items() if k != "cpu"},
    "fargate-size": {**clean(), "memory": "1024"},
    "host-port": meshed_with("appName", portMappings=[{"containerPort": 9080, "hostPort": 80}]),
    "cpu-sum": meshed_with("appName", cpu=1000),
    "memory-sum": meshed_with("appName", memoryReservation=2000),
    "memory-hard": meshed_with("appName", memory=4096),
    "depends-on": meshed_with("appName", dependsOn=[{"containerName": "nobody", "condition": "START"}]),
    "execution-role": {k: v for k, v in clean().items() if k != "executionRoleArn"},
    "secret": meshed_with("appName", environment=[{"name": "DB_PASSWORD", "value": "hunter2"}]),
    "no-proxy": {k: v for k, v in clean().items() if k != "proxyConfiguration"},
    "null-property": {**clean(), "proxyConfiguration": NULL_PROPERTY},
    "property": with_property("ProxyIngressPort", None),
    "ignored-uid": with_property("IgnoredUID", "1338"),
    "which-envoy": {**clean(), "proxyConfiguration": {"containerName": "appName"}},
    "unmapped-ports": meshed_with("appName", portMappings=[]),
    "app-user": meshed_with("appName", user="1337:1337"),
    "group": meshed_with("appName", user="0:1338"),
    "app-ports": with_property("AppPorts", "9080,9081"),
    "open-port": meshed_with("appName", portMappings=[{"containerPort": 9080}, {"containerPort": 9081}]),
    "listener-ports": with_property("AppPorts", "9081"),
    "low-port": with_envoy(plain_with(portMappings=[{"containerPort": 80}]), sidecar(app_ports=(80,))),
    "ignored-ports": with_property("EgressIgnoredPorts", ",".join(map(str, range(1, 17)))),
    "efs-port": {**clean(), "volumes": EFS},
    "metadata-ips": with_property("EgressIgnoredIPs", "169.254.169.254"),
    "identity": with_variable("APPMESH_RESOURCE_ARN"),
    "old-identity": with_variable(
        "APPMESH_RESOURCE_ARN", name="APPMESH_VIRTUAL_NODE_NAME", value="mesh/apps/virtualNode/serviceB"
    ),
    "other-node": with_variable("APPMESH_RESOURCE_ARN", name="APPMESH_RESOURCE_ARN", value=f"{NODE}v2"),
    "image-unknown": image("latest"),
    "image-old": image("v1.17.1.9-prod"),
    "image-arm": {**image("v1.20.0.0-prod"), "runtimePlatform": {"cpuArchitecture": "ARM64"}},
    "image-metrics": image("v1.19.1.0-prod"),
    "image-account": image("v1.39.1.0-prod", "eu-south-2"),
    "image-fips": image("v1.39.1.0-prod-fips", "eu-west-1"),
    "envoy-essential": meshed_with("envoy", essential=False),
    "envoy-health": meshed_with("envoy", healthCheck=None),
    "wait-for-envoy": meshed_with("appName", dependsOn=[{"containerName": "envoy", "condition": "START"}]),
    "open-files": meshed_with("envoy", ulimits=None),
    "envoy-cpu": {**clean(), "cpu": "512", "memory": "2048"},
    "envoy-memory": meshed_with("envoy", memory=63),
    "no-daemon": with_envoy(plain(), sidecar()),  # tracing switched on below
    "daemon-user": meshed_with("xray-daemon", user="0"),
    "task-role": {k: v for k, v in clean().items() if k != "taskRoleArn"},
}
container(BAD["no-daemon"], "envoy")["environment"].append({"name": "ENABLE_ENVOY_XRAY_TRACING", "value": "1"})

EC2 = {**fixture("plain_ec2_xray"), "memory": "1024"}
EC2_SIDECAR = sidecar(launch_type="EC2", xray=True)
ON_EC2 = {
    "memory-missing": with_envoy({k: v for k, v in EC2.items() if k != "memory"}, EC2_SIDECAR),
    "instance-role": with_envoy(EC2, replace(EC2_SIDECAR, task_role_arn=None)),
}


def rules(definition: dict[str, Any], launch_type: str = "FARGATE") -> dict[str, str]:
    found = lint(definition, launch_type=launch_type, node_arn=NODE, listener_ports=(9080,))
    return {f.rule: f.where for f in found}


def test_finds_nothing_where_nothing_is_wrong() -> None:
    assert rules(clean()) == {}
    assert rules(with_envoy(EC2, EC2_SIDECAR), "EC2") == {}


@pytest.mark.parametrize("rule", BAD)
def test_finds(rule: str) -> None:
    assert rule in rules(BAD[rule])


@pytest.mark.parametrize("rule", ON_EC2)
def test_finds_on_ec2(rule: str) -> None:
    assert rule in rules(ON_EC2[rule], "EC2")
    assert rule not in rules(ON_EC2[rule], "FARGATE")


def test_what_ecs_refuses_is_a_failure() -> None:
    assert {RULES[rule].level for rule in BY_ECS} == {"FAIL"}


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.__name__)
def test_every_rule_of_a_subject_is_listed(subject: ModuleType) -> None:
    assert {rule for rule in vars(subject).values() if isinstance(rule, Rule)} == {*subject.RULES}


def test_every_rule_has_an_example() -> None:
    assert BAD.keys() | ON_EC2.keys() == RULES.keys()


@pytest.mark.parametrize(
    ("rule", "definition", "launch_type"),
    [
        ("app-ports", meshed_with("appName", portMappings=[]), "FARGATE"),
        ("app-ports", meshed_with("appName", portMappings=[{"containerPortRange": "9080-9089"}]), "FARGATE"),
        ("unmapped-ports", meshed_with("appName", portMappings=[{"containerPortRange": "9080-9089"}]), "FARGATE"),
        ("low-port", BAD["low-port"], "EC2"),
        ("task-role", BAD["task-role"], "EC2"),
        ("fargate-size", BAD["fargate-size"], "EC2"),
        ("efs-port", with_envoy(plain(volumes=EFS), sidecar()), "FARGATE"),
        ("ignored-ports", with_property("EgressIgnoredPorts", ",".join(map(str, range(1, 16)))), "FARGATE"),
        ("image-old", image("v1.17.2.0-prod"), "FARGATE"),
        ("image-arm", {**image("v1.20.0.1-prod"), "runtimePlatform": {"cpuArchitecture": "ARM64"}}, "FARGATE"),
        ("image-metrics", image("v1.19.1.1-prod"), "FARGATE"),
        ("group", meshed_with("appName", user="0:0"), "FARGATE"),
        ("group", meshed_with("appName", user="1000:1000"), "FARGATE"),
        ("image-fips", image("v1.39.1.0-prod-fips"), "FARGATE"),
        ("image-account", image("v1.39.1.0-prod", "eu-south-2", ENVOY_ACCOUNTS["eu-south-2"]), "FARGATE"),
        (
            "other-node",
            with_variable("APPMESH_RESOURCE_ARN", name="APPMESH_RESOURCE_NAME", value=SHORT_NODE),
            "FARGATE",
        ),
        ("secret", meshed_with("appName", secrets=[{"name": "DB_PASSWORD", "valueFrom": "arn"}]), "FARGATE"),
        ("memory-sum", meshed_with("appName", memoryReservation=1791), "FARGATE"),
        ("envoy-memory", meshed_with("envoy", memory=64), "FARGATE"),
        ("ignored-uid", meshed_with("envoy", user="1337:1338"), "FARGATE"),
        ("app-user", meshed_with("appName", user="1338"), "FARGATE"),
        (
            "host-port",
            meshed_with("appName", portMappings=[{"containerPort": 9080, "hostPort": 9080}]),
            "FARGATE",
        ),
        ("no-daemon", with_envoy(plain(), sidecar()), "FARGATE"),
        ("envoy-cpu", with_envoy(plain(cpu="512"), sidecar()), "EC2"),
    ],
)
def test_does_not_find(rule: str, definition: dict[str, Any], launch_type: str) -> None:
    assert rule not in rules(definition, launch_type)


@pytest.mark.parametrize(
    ("condition", "target", "found"),
    [
        ("HEALTHY", {"name": "other", "image": "x"}, True),
        ("HEALTHY", {"name": "other", "image": "x", "healthCheck": {"command": ["CMD", "x"]}}, False),
        ("SUCCESS", {"name": "other", "image": "x"}, True),
        ("COMPLETE", {"name": "other", "image": "x", "essential": True}, True),
        ("SUCCESS", {"name": "other", "image": "x", "essential": False}, False),
        ("START", {"name": "other", "image": "x"}, False),
    ],
)
def test_a_wait_must_be_able_to_end(condition: str, target: dict[str, Any], found: bool) -> None:
    definition = plain_with(dependsOn=[{"containerName": "other", "condition": condition}])
    definition["containerDefinitions"].append(target)
    assert ("depends-on" in rules(definition)) == found


@pytest.mark.parametrize(("soft", "found"), [(14999, True), (15000, False), (65536, False)])
def test_envoy_needs_15000_open_files(soft: int, found: bool) -> None:
    limits = [{"name": "nofile", "softLimit": soft, "hardLimit": 65536}]
    assert ("open-files" in rules(meshed_with("envoy", ulimits=limits))) == found


@pytest.mark.parametrize(("port", "found"), [(80, True), (1024, True), (1025, False)])
def test_ports_up_to_1024_are_low(port: int, found: bool) -> None:
    definition = with_envoy(plain_with(portMappings=[{"containerPort": port}]), sidecar(app_ports=(port,)))
    assert ("low-port" in rules(definition)) == found


def test_a_plain_definition_gets_the_ecs_checks_alone() -> None:
    assert rules(plain()) == {}
    assert rules(plain(memory="1024")) == {"fargate-size": "taskB: cpu, memory"}


def test_failures_come_first_and_say_where() -> None:
    found = lint({**BAD["secret"], "memory": "7"}, launch_type="FARGATE")
    assert [f.level for f in found] == sorted(f.level for f in found)
    assert "taskB: containerDefinitions[appName].environment" in {f.where for f in found}


def test_findings_never_repeat_a_variables_value() -> None:
    found = lint(BAD["secret"], launch_type="FARGATE")
    assert found
    assert "hunter2" not in repr(found)


def test_a_low_port_names_both_its_sources() -> None:
    (found,) = lint(BAD["low-port"], launch_type="FARGATE")
    assert "tutorial" in found.message
    assert "troubleshooting-setup" in found.message


def test_fargate_sizes_are_those_of_the_api_documentation() -> None:
    assert 4096 in FARGATE_SIZES[512]
    assert 1536 not in FARGATE_SIZES[512]
    assert FARGATE_SIZES[8192][1] == 20480
    assert max(FARGATE_SIZES[16384]) == 122880


# The image table


def appmesh_endpoints() -> dict[str, dict[str, Any]]:
    data = botocore.loaders.Loader().load_data("endpoints")
    partitions = [p["services"]["appmesh"]["endpoints"] for p in data["partitions"] if "appmesh" in p["services"]]
    return {name: found for part in partitions for name, found in part.items() if not name.endswith("-fips")}


def test_regions_are_botocores() -> None:
    assert appmesh_endpoints().keys() == REGIONS


def test_fips_regions_are_botocores() -> None:
    fips = {
        name
        for name, endpoint in appmesh_endpoints().items()
        if any("fips" in variant["tags"] for variant in endpoint.get("variants", []))
    }
    assert fips == FIPS_REGIONS


@pytest.mark.parametrize(
    ("region", "uri"),
    [
        ("us-west-2", "840364872350.dkr.ecr.us-west-2.amazonaws.com"),
        ("me-south-1", "772975370895.dkr.ecr.me-south-1.amazonaws.com"),
        ("eu-south-2", "992897592190.dkr.ecr.eu-south-2.amazonaws.com"),
        ("eu-central-2", "704106688930.dkr.ecr.eu-central-2.amazonaws.com"),
        ("cn-north-1", "919366029133.dkr.ecr.cn-north-1.amazonaws.com.cn"),
        ("cn-northwest-1", "919830735681.dkr.ecr.cn-northwest-1.amazonaws.com.cn"),
    ],
)
def test_each_region_has_its_registry(region: str, uri: str) -> None:
    assert envoy_image(region, "v1.39.1.0-prod") == f"{uri}/aws-appmesh-envoy:v1.39.1.0-prod"


def test_a_fips_build_is_a_suffix_in_regional_and_public_registries() -> None:
    tag = "v1.39.1.0-prod"
    assert envoy_image("us-east-1", tag, fips=True).endswith(f"{tag}-fips")
    public = "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.39.1.0-prod"
    assert envoy_image("us-east-1", tag, fips=True, public=True) == f"{public}-fips"
    assert envoy_image("eu-west-1", tag, public=True) == public


def test_an_image_app_mesh_serves_is_no_problem() -> None:
    assert list(image_problems("us-west-2", "v1.39.1.0-prod", fips=True)) == []
    assert list(image_problems("cn-north-1", "v1.39.1.0-prod", fips=False)) == []


@pytest.mark.parametrize("region", ["eu-west-1", "cn-north-1"])
def test_refuses_fips_where_there_is_no_endpoint_and_names_where_there_is(region: str) -> None:
    (problem,) = image_problems(region, "v1.39.1.0-prod", fips=True)
    assert problem.startswith("envoy.fips: ")
    assert all(name in problem for name in (region, *FIPS_REGIONS))


@pytest.mark.parametrize("tag", ["v1.17.2.0-prod", "v1.17.2.0", "v1.29.6.1-prod", "v2.0.0.0-prod", "v1.100.0.0-prod"])
def test_takes_an_image_app_mesh_still_serves(tag: str) -> None:
    assert list(image_problems("us-west-2", tag, fips=False)) == []


@pytest.mark.parametrize(
    "tag", ["v1.17.1.9-prod", "v1.9.0.0-prod", "latest", "", "v1.29", "1.29.6.1-prod", "v1.29.6.1-x"]
)
def test_refuses_an_old_image_and_one_that_has_no_version(tag: str) -> None:
    (problem,) = image_problems("us-west-2", tag, fips=False)
    assert problem.startswith("envoy.image_tag: expected v1.17.2.0-prod or later")


def test_a_fips_tag_is_asked_for_by_its_own_parameter() -> None:
    (problem,) = image_problems("us-west-2", "v1.39.1.0-prod-fips", fips=False)
    assert "without its FIPS suffix" in problem
    assert "fips: true" in problem


def test_a_region_unknown_to_app_mesh_is_refused_with_the_nearest_name() -> None:
    (problem,) = image_problems("us-west-22", "v1.39.1.0-prod", fips=False)
    assert problem.startswith("region: ")
    assert problem.endswith("did you mean 'us-west-2'?")


def test_every_account_is_of_a_region_app_mesh_serves() -> None:
    assert ENVOY_ACCOUNTS.keys() <= REGIONS
    assert DEFAULT_ENVOY_ACCOUNT not in ENVOY_ACCOUNTS.values()
