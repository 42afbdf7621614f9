"""Every gate, forced shut: a notebook that goes on after an error, as nbval does, changes nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from runbook_lib import clear, evidence_for_shift
from runbook_lib.errors import GateError
from tests.notebook_runner import (
    NOTEBOOKS,
    ROOT,
    Environment,
    child_environment,
    execute,
    folder,
    refused,
)

__all__ = ["folder"]

OTHER_ACCOUNT = "999999999999"
every_notebook = pytest.mark.parametrize("number", NOTEBOOKS)


@pytest.fixture(scope="module")
def plain(folder: Path) -> Environment:
    """Return an environment in which no notebook has been run."""
    return Environment.create(folder, "plain")


@pytest.fixture(scope="module")
def routed(folder: Path) -> Environment:
    """Return an environment with everything of the mesh and no sidecar."""
    environment = Environment.create(folder, "routed")
    environment.walk("01", "02", "03")
    return environment


@pytest.fixture(scope="module")
def shifting(folder: Path) -> Environment:
    """Return an environment at 75/25."""
    environment = Environment.create(folder, "shifting")
    environment.walk("01", "02", "03", "04")
    environment.walk("05", shift=environment.shift(25))
    return environment


@pytest.fixture(scope="module")
def shifted(folder: Path) -> Environment:
    """Return an environment whose canary carries everything."""
    environment = Environment.create(folder, "shifted")
    environment.walk("01", "02", "03", "04", "05")
    return environment


@pytest.fixture(scope="module")
def retired(folder: Path) -> Environment:
    """Return an environment whose stable version is gone, and whose callers may not fail."""
    environment = Environment.create(folder, "retired", removal={"callers_may_fail": False})
    environment.walk("01", "02", "03", "04", "05", "06")
    return environment


# --- what every notebook refuses before it looks at anything ------------------------------------------------


@every_notebook
def test_refuses_a_parameter_nothing_knows(number: str, plain: Environment) -> None:
    refused(plain, number, "ParametersError: .*'acount_id'; did you mean 'account_id'", acount_id="1")


@every_notebook
def test_refuses_false_as_a_word(number: str, plain: Environment) -> None:
    refused(plain, number, "ParametersError: undo: expected True or False; found 'false'", undo="false")


@every_notebook
def test_refuses_a_percentage_as_a_word(number: str, plain: Environment) -> None:
    refused(plain, number, r"ParametersError: .*steps.*'25%'", shift={**plain.said["shift"], "steps": ["25%"]})


@every_notebook
def test_refuses_a_mode_that_is_none(number: str, plain: Environment) -> None:
    refused(plain, number, "ParametersError: .*mode.*'aply'", mode="aply")


@every_notebook
def test_another_account_is_another_place_and_nothing_is_written_in_the_files_own(
    number: str, plain: Environment
) -> None:
    before = plain.writes()
    plain.notebook(number, mode="apply", account_id=OTHER_ACCOUNT, go_on=True)
    assert plain.writes() == before


@every_notebook
def test_refuses_aws_where_nobody_is_logged_in_whatever_endpoint_is_set(
    number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    done = execute(number, {"environment": "staging", "mode": "apply"}, go_on=True)
    assert re.search("TargetError: account: .*nobody is logged in here", done.first), done.first


# --- what the notebooks refuse for what is there ------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("02", r"GateError: .*missing: mesh apps \(01_create_mesh\)"),
        ("03", r"GateError: .*virtual node serviceA \(02_create_virtual_nodes\)"),
        ("04", r"GateError: .*route serviceB/serviceB \(03_create_router_and_routes\)"),
        ("05", r"(Gate|Prerequisite)Error: .*route serviceB/serviceB \(03_create_router_and_routes\)"),
        ("06", "GateError: .*stable carries nothing: serviceB has 0 %, serviceBv2 has 0 %"),
    ],
)
def test_names_the_earlier_steps_that_are_missing(number: str, words: str, plain: Environment) -> None:
    refused(plain, number, f"(?s){words}")


def test_04_refuses_where_an_ecs_service_is_missing(folder: Path) -> None:
    environment = Environment.create(folder, "undeployed")
    environment.walk("01", "02", "03")
    environment.client("ecs").delete_service(cluster="apps", service="serviceB", force=True)
    refused(environment, "04", "PrerequisiteError: ECS services not found in cluster apps: serviceB")


def test_04_refuses_where_an_envoy_could_not_sign(folder: Path) -> None:
    environment = Environment.create(folder, "unsigned", iam={"manage": False, "policy": "node"})
    environment.walk("01", "02", "03")
    environment.client("iam").delete_role_policy(RoleName="apps-serviceB-task", PolicyName="envoy-serviceB")
    done = refused(
        environment, "04", r"(?s)GateError: .*credentials: serviceB: (role )?apps-serviceB-task may not appmesh:S"
    )
    assert "attach to role apps-serviceB-task: {" in done.first


def test_05_refuses_without_sidecars(routed: Environment) -> None:
    refused(routed, "05", "(?s)GateError: .*sidecars: without the wanted sidecar: service serviceB")


def test_05_refuses_a_name_that_does_not_resolve(folder: Path) -> None:
    """A virtual service nobody has registered: the caller's application would never get as far as its Envoy."""
    environment = Environment.create(folder, "unresolved", **dialling("api.apps.local"))
    environment.walk("01", "02", "03", "04")
    refused(environment, "05", r"(?s)GateError: .*hostname resolves: api\.apps\.local resolves to 0 addresses")


def test_05_refuses_a_name_nobody_dials(routed: Environment) -> None:
    services = {**routed.said["services"], "serviceA": {**routed.said["services"]["serviceA"], "backends": []}}
    words = r"(?s)GateError: .*hostname resolves: no service lists serviceb\.apps\.local among its backends"
    refused(routed, "05", words, services=services)


def test_06_refuses_where_the_name_would_not_survive(folder: Path) -> None:
    environment = Environment.create(folder, "perishing", **dialling("api.apps.local"))
    environment.walk("01", "02", "03", "04")
    service = register(environment, "api")
    environment.walk("05")
    forget(environment, service)
    refused(environment, "06", r"(?s)GateError: .*the name survives: api\.apps\.local is not in this namespace")


def test_06_refuses_while_stable_has_weight(shifting: Environment) -> None:
    refused(shifting, "06", "(?s)GateError: .*stable carries nothing: serviceB has 75 %, serviceBv2 has 25 %")
    assert shifting.weights() == {"serviceB": 75, "serviceBv2": 25}


def test_06_refuses_while_another_route_names_the_service_even_at_weight_0(shifted: Environment) -> None:
    app_mesh = shifted.client("appmesh")
    listeners = [{"portMapping": {"port": 9080, "protocol": "http2"}}]
    app_mesh.create_virtual_router(meshName="apps", virtualRouterName="theirs", spec={"listeners": listeners})
    targets = [{"virtualNode": "serviceB", "weight": 0}, {"virtualNode": "serviceBv2", "weight": 100}]
    spec = {"http2Route": {"action": {"weightedTargets": targets}, "match": {"prefix": "/"}}}
    named = {"meshName": "apps", "virtualRouterName": "theirs", "routeName": "theirs"}
    app_mesh.create_route(**named, spec=spec)
    refused(shifted, "06", "(?s)GateError: .*nothing else refers to it: route theirs/theirs")
    app_mesh.delete_route(**named)
    app_mesh.delete_virtual_router(meshName="apps", virtualRouterName="theirs")


@pytest.mark.parametrize(("number", "stage"), [("05", "shifting"), ("06", "shifted")])
def test_refuses_while_the_canary_does_not_run(number: str, stage: str, request: pytest.FixtureRequest) -> None:
    environment = request.getfixturevalue(stage)
    scale(environment, "serviceBv2", 0)
    try:
        refused(environment, number, r"(?s)GateError: .*serviceBv2 runs 0 of 0 tasks")
    finally:
        scale(environment, "serviceBv2", 1)


def test_05_brings_no_retired_service_back(retired: Environment) -> None:
    before = retired.writes()
    done = retired.notebook("05", mode="apply", go_on=True)
    assert retired.writes() == before
    assert re.search(r"not retired\s+✗ FAIL", done.shown)
    assert retired.weights() == {"serviceBv2": 100}


def test_a_retired_services_weights_cannot_be_cleared(retired: Environment) -> None:
    found = retired.look()
    with pytest.raises(GateError, match="not retired: retired: serviceB"):
        clear(found.plan_weights({"serviceB": 100, "serviceBv2": 0}), *evidence_for_shift(found))


def test_90_refuses_while_callers_would_lose_their_name(retired: Environment) -> None:
    refused(retired, "90", r"(?s)GateError: .*callers keep their name: serviceb\.apps\.local leads to a placeholder")


# --- a plan that has become stale ---------------------------------------------------------------------------


def somebody_creates_the_mesh(environment: Environment) -> None:
    environment.client("appmesh").create_mesh(meshName="apps")


def somebody_creates_a_node(environment: Environment) -> None:
    discovery = {"dns": {"hostname": "elsewhere.apps.local"}}
    listeners = [{"portMapping": {"port": 9080, "protocol": "http2"}}]
    spec = {"serviceDiscovery": discovery, "listeners": listeners}
    environment.client("appmesh").create_virtual_node(meshName="apps", virtualNodeName="serviceA", spec=spec)


def somebody_creates_the_router(environment: Environment) -> None:
    listeners = [{"portMapping": {"port": 9080, "protocol": "http2"}}]
    named = {"meshName": "apps", "virtualRouterName": "serviceB"}
    environment.client("appmesh").create_virtual_router(**named, spec={"listeners": listeners})


def somebody_puts_the_policy(environment: Environment) -> None:
    named = {"RoleName": "apps-serviceA-task", "PolicyName": "runbook-envoy-apps-serviceA"}
    statement = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    environment.client("iam").put_role_policy(**named, PolicyDocument=str(document).replace("'", '"'))


def somebody_shifts(environment: Environment) -> None:
    app_mesh = environment.client("appmesh")
    named = {"meshName": "apps", "virtualRouterName": "serviceB", "routeName": "serviceB"}
    spec = app_mesh.describe_route(**named)["route"]["spec"]
    for target in spec["http2Route"]["action"]["weightedTargets"]:
        target["weight"] = 50
    app_mesh.update_route(**named, spec=spec)


def somebody_deploys_the_caller(environment: Environment) -> None:
    ecs = environment.client("ecs")
    found = ecs.describe_task_definition(taskDefinition="taskA")["taskDefinition"]
    form = {
        k: v for k, v in found.items() if k in ("family", "networkMode", "cpu", "memory", "requiresCompatibilities")
    }
    ecs.register_task_definition(**form, containerDefinitions=[{"name": "app", "image": "newer", "memory": 256}])


@pytest.mark.parametrize(
    ("number", "steps", "cell", "edit"),
    [
        ("01", [], "apply", somebody_creates_the_mesh),
        ("02", ["01"], "apply", somebody_creates_a_node),
        ("03", ["01", "02"], "apply", somebody_creates_the_router),
        ("04", ["01", "02", "03"], "apply", somebody_puts_the_policy),
        ("90", ["01", "02", "03", "04"], "apply", somebody_deploys_the_caller),
    ],
)
def test_refuses_a_plan_that_somebody_has_made_stale(
    number: str, steps: list[str], cell: str, edit: Callable[[Environment], None], folder: Path
) -> None:
    environment = Environment.create(folder, f"stale-{number}")
    environment.walk(*steps)
    before = environment.writes()
    done = environment.notebook(number, mode="apply", go_on=True, before={cell: lambda names: edit(environment)})
    assert environment.writes() == before
    assert re.search("StalePlanError: .*it is no longer what was planned against", done.first), done.first


def test_06_refuses_where_somebody_has_shifted_since_its_gates_were_looked_at(folder: Path) -> None:
    environment = Environment.create(folder, "stale-06")
    environment.walk("01", "02", "03", "04", "05")
    before = environment.writes()
    edited = {"apply": lambda names: somebody_shifts(environment)}
    done = environment.notebook("06", mode="apply", go_on=True, before=edited)
    assert environment.writes() == before
    words = r"stable carries nothing: serviceB has 50 %, serviceBv2 has 50 % \(before: serviceB has 0 %"
    assert re.search(f"(?s)GateError: .*{words}", done.first), done.first


def test_05_goes_on_from_what_somebody_else_made_of_the_weights(folder: Path) -> None:
    """Its apply cell plans each step anew: it never goes back below what it finds, and never fights."""
    environment = Environment.create(folder, "edited")
    environment.walk("01", "02", "03", "04")
    seen: list[dict[str, int]] = []
    hook = {"measured-shift": lambda names: (somebody_shifts(environment), seen.append(environment.weights()))}
    done = environment.notebook("05", mode="apply", before=hook, shift=environment.shift(25))
    assert not done.errors, done.first
    assert seen == [{"serviceB": 50, "serviceBv2": 50}]
    assert environment.weights() == {"serviceB": 50, "serviceBv2": 50}


# --- and by nbval itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "numbers", [["01", "05", "90"], pytest.param(list(NOTEBOOKS), marks=pytest.mark.soak)], ids=["three", "all"]
)
def test_nbval_itself_changes_nothing_with_a_gate_shut(
    numbers: list[str], plain: Environment, retired: Environment, tmp_path: Path
) -> None:
    """It goes on after a refusal as `refused` does above with every notebook; a kernel each makes this slow."""
    shut = {
        **{number: {"environment": "staging", "mode": "apply"} for number in ("00", "01")},  # nobody is logged in
        **{number: {"environment": str(plain.file)} for number in ("02", "03", "04", "05", "06")},
        "90": {"environment": str(retired.file)},
    }
    for number in numbers:
        copy(number, tmp_path, shut[number])
    before = [plain.writes(), retired.writes()]
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--nbval-lax", "--nbval-current-env", "-q", str(tmp_path)],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    failed = {line[:2] for line in re.findall(r"^FAILED (?:.*/)?(\d\d_\w+\.ipynb)", done.stdout, re.MULTILINE)}
    assert done.returncode == 1, done.stdout + done.stderr
    assert failed == set(numbers), done.stdout
    assert [plain.writes(), retired.writes()] == before


def copy(number: str, to: Path, given: dict[str, str]) -> None:
    """Copy a notebook with other values in its parameters cell: nbval injects none."""
    book = nbformat.read(NOTEBOOKS[number], as_version=4)
    [cell] = [c for c in book.cells if c.id == "parameters"]
    cell.source += "".join(f"\n{name}: str = {value!r}" for name, value in given.items())
    nbformat.write(book, to / NOTEBOOKS[number].name)


# --- somebody else's hands ----------------------------------------------------------------------------------


def dialling(name: str) -> dict[str, Any]:
    """Return the tutorial's services and routers with another name before them."""
    said = yaml.safe_load((ROOT / "parameters" / "local.yaml").read_text())
    said["services"]["serviceA"]["backends"] = [name]
    said["virtual_services"] = {"servicea.apps.local": {"node": "serviceA"}, name: {"router": "serviceB"}}
    said["shift"]["name"] = name
    return {key: said[key] for key in ("services", "virtual_services", "shift")}


def register(environment: Environment, label: str) -> str:
    """Register an address under a name of the namespace; return the Cloud Map service's id."""
    cloud_map = environment.client("servicediscovery")
    [space] = [n["Id"] for n in cloud_map.list_namespaces()["Namespaces"] if n["Name"] == "apps.local"]
    dns = {"NamespaceId": space, "RoutingPolicy": "MULTIVALUE", "DnsRecords": [{"Type": "A", "TTL": 10}]}
    service = str(cloud_map.create_service(Name=label, NamespaceId=space, DnsConfig=dns)["Service"]["Id"])
    address = {"AWS_INSTANCE_IPV4": "10.20.30.40"}
    cloud_map.register_instance(ServiceId=service, InstanceId="hand-made", Attributes=address)
    return service


def forget(environment: Environment, service: str) -> None:
    cloud_map = environment.client("servicediscovery")
    cloud_map.deregister_instance(ServiceId=service, InstanceId="hand-made")
    cloud_map.delete_service(Id=service)


def scale(environment: Environment, service: str, count: int) -> None:
    """Give a service another number of tasks and wait until it has them."""
    ecs = environment.client("ecs")
    ecs.update_service(cluster="apps", service=service, desiredCount=count)
    end = time.monotonic() + 30
    while ecs.describe_services(cluster="apps", services=[service])["services"][0]["runningCount"] != count:
        assert time.monotonic() < end
        time.sleep(0.1)
