"""Names as long as AWS allows: 255 characters for what App Mesh and ECS name, labels of 63 in DNS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbook_lib.aws.naming import fitting
from runbook_lib.engines.appmesh import engine as mesh
from runbook_lib.engines.appmesh import iam
from runbook_lib.parameters import load
from tests.notebook_runner import Environment, folder, newest, own_mesh, runbook

__all__ = ["folder", "own_mesh"]

LONGEST = 255


def long(name: str) -> str:
    """Return a name of 255 characters that begins and ends in its own way."""
    return f"{name}-{'x' * (LONGEST - 2 * len(name) - 2)}-{name}"


def long_dns(name: str) -> str:
    """Return a DNS name of labels as long as DNS allows, in a namespace of its own."""
    return f"{name}{'d' * (63 - len(name))}.{NAMESPACE}"


NAMESPACE = ".".join(letter * 63 for letter in "nam")[: 253 - 64].rstrip(".")
A, B, V2 = (long(name) for name in ("serviceA", "serviceB", "serviceBv2"))
ENVIRONMENT = long("environment")
NAME_A, NAME_B, NAME_V2 = (long_dns(name) for name in ("a", "b", "v2"))


@pytest.fixture(scope="module")
def longest(own_mesh: Path, folder: Path) -> Environment:
    """Give an environment in which every name is as long as it may be."""
    services: dict[str, Any] = {
        A: {"hostname": NAME_A, "task_definition": long("taskA"), "backends": [NAME_B], "ecs_service": long("ecsA")},
        B: {"hostname": NAME_B, "task_definition": long("taskB"), "ecs_service": long("ecsB")},
        V2: {"hostname": NAME_V2, "task_definition": long("taskBv2"), "ecs_service": long("ecsBv2")},
    }
    local = Environment.create(folder, "short")
    shift = {**local.said["shift"], "name": NAME_B, "stable": B, "canary": V2}
    (route,) = local.said["routers"]["serviceB"]["routes"].values()
    return Environment.create(
        folder,
        "longest",
        environment=ENVIRONMENT,
        mesh={"name": long("mesh"), "egress": "DROP_ALL"},
        cluster=long("cluster"),
        namespace=NAMESPACE,
        services=services,
        virtual_services={NAME_A: {"node": A}, NAME_B: {"router": long("router")}},
        routers={long("router"): {"routes": {long("route"): {**route, "targets": [B, V2]}}}},
        shift=shift,
    )


@pytest.mark.attack(22)
def test_names_of_255_characters_work_from_00_to_06_and_back(longest: Environment) -> None:
    longest.walk("00", "01", "02", "03", "04", "05")
    assert longest.weights() == {B: 0, V2: 100}
    found = longest.look()
    (trial,) = mesh.plan_trial(found.parameters, found.split, "x-runbook-trial", "1")
    longest.client("appmesh").create_route(
        **trial.call.arguments
    )  # its name is taken, and the trial's own end finds it
    (ended,) = mesh.plan_trial_end(found.split, mesh.read_trial(found.session))
    longest.client("appmesh").delete_route(**ended.call.arguments)
    longest.walk("06")
    code, said = runbook("undo", newest(ENVIRONMENT).id, "--yes", "--notebook", "06")
    assert code == 0, said
    assert longest.look().running[B].state is not None


@pytest.mark.attack(22)
def test_what_is_named_after_long_names_is_told_apart(longest: Environment) -> None:
    p = load(str(longest.file))
    policies = {iam.policy_name(p, name) for name in p.services}
    assert len(policies) == len(p.services)
    assert max(map(len, policies)) <= 128


def test_a_short_name_is_kept_and_a_long_one_cut_off() -> None:
    assert fitting("route-trial", 255) == "route-trial"
    assert len(fitting("x" * 256, 255)) == 255
    assert fitting("x" * 256 + "a", 255) != fitting("x" * 256 + "b", 255)
