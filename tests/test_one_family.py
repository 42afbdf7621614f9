"""Both versions in one task definition family: each keeps its own revision, and undo brings back the right ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib import survey
from runbook_lib.aws.session import Session
from runbook_lib.engines.appmesh.sidecars import read_own_revisions
from tests.notebook_runner import Environment, folder, newest, own_mesh, runbook
from tests.scenes import change, fact, open_at, open_local, settle, somebody, step

__all__ = ["folder", "own_mesh"]

SERVICES = ["serviceA", "serviceB", "serviceBv2"]


def revisions(environment: Environment) -> dict[str, str]:
    """Return the revision that each service runs."""
    found = environment.client("ecs").describe_services(cluster="apps", services=SERVICES)["services"]
    return {s["serviceName"]: s["taskDefinition"].rsplit("/", 1)[1] for s in found if s["status"] == "ACTIVE"}


def active(environment: Environment, family: str) -> list[str]:
    """Return the active revisions of a family."""
    found = environment.client("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
    names = [arn.rsplit("/", 1)[1] for arn in found]
    return sorted(name for name in names if name.split(":")[0] == family)


def images(environment: Environment, revision: str) -> dict[str, str]:
    found = environment.client("ecs").describe_task_definition(taskDefinition=revision)["taskDefinition"]
    return {c["name"]: c["image"] for c in found["containerDefinitions"] if c["name"] != "envoy"}


def node(environment: Environment, revision: str) -> str:
    """Return the virtual node whose sidecar a revision has; "" where it has none."""
    found = environment.client("ecs").describe_task_definition(taskDefinition=revision)["taskDefinition"]
    envoys = [c for c in found["containerDefinitions"] if c["name"] == "envoy"]
    said = [e["value"] for c in envoys for e in c["environment"] if e["name"] == "APPMESH_RESOURCE_ARN"]
    return said[0].rsplit("/", 1)[1] if said else ""


def one_family(folder: Path, name: str) -> Environment:
    environment = Environment.create(folder, "staged")
    services = environment.said["services"]
    services["serviceBv2"]["task_definition"] = "taskB"
    return Environment.create(folder, name, services=services)


@pytest.fixture(scope="module")
def family(own_mesh: Path, folder: Path) -> Environment:
    """Give an environment of one family, walked up to 05."""
    environment = one_family(folder, "family")
    assert active(environment, "taskB") == ["taskB:1", "taskB:2"]
    environment.walk("01", "02", "03", "04", "05")
    return environment


@pytest.mark.attack(15)
def test_both_versions_of_one_family_are_registered_shifted_retired_and_undone(family: Environment) -> None:
    meshed = revisions(family)
    assert (meshed["serviceB"], meshed["serviceBv2"]) == ("taskB:3", "taskB:4")
    assert [node(family, f"taskB:{n}") for n in (1, 2, 3, 4)] == ["", "", "serviceB", "serviceBv2"]
    assert family.weights() == {"serviceB": 0, "serviceBv2": 100}
    family.walk("06")
    assert revisions(family) == {name: meshed[name] for name in ("serviceA", "serviceBv2")}
    assert active(family, "taskB") == ["taskB:1", "taskB:2", "taskB:4"]  # of :1 and :2 nobody can tell whose they are
    code, said = runbook("undo", newest("family").id, "--yes", "--notebook", "06")
    assert code == 0, said
    assert revisions(family) == {**meshed, "serviceB": "taskB:5"}
    assert node(family, "taskB:5") == "serviceB"
    assert images(family, "taskB:5") == images(family, "taskB:1") == {"app": "serviceb:1"}
    code, said = runbook("undo", newest("family").id, "--yes")
    assert code == 0, said
    assert revisions(family) == {"serviceA": "taskA:1", "serviceB": "taskB:1", "serviceBv2": "taskB:2"}
    assert active(family, "taskB") == ["taskB:1", "taskB:2"]


# The same in this process, where only what is registered, run and ended is looked at.


def at_once(session: Session) -> dict[str, str]:
    """Return the revision that each service runs."""
    found = somebody(session, "ecs").describe_services(cluster="apps", services=SERVICES)["services"]
    return {s["serviceName"]: s["taskDefinition"].rsplit("/", 1)[1] for s in found if s["status"] == "ACTIVE"}


def containers(session: Session, revision: str) -> list[str]:
    found = somebody(session, "ecs").describe_task_definition(taskDefinition=revision)["taskDefinition"]
    return [c["image"].split("/")[-1].split(":")[0] for c in found["containerDefinitions"]]


def status(session: Session, revision: str) -> str:
    found = somebody(session, "ecs").describe_task_definition(taskDefinition=revision)["taskDefinition"]
    return str(found["status"])


@pytest.mark.attack(15)
def test_two_services_may_share_one_revision_before_the_mesh() -> None:
    session = open_local(services=True, said={"services": {"serviceBv2": {"task_definition": "taskB"}}})
    somebody(session, "ecs").update_service(cluster="apps", service="serviceBv2", taskDefinition="taskB:1")
    settle()
    for number in ("01", "02", "03", "04"):
        step(session, number)
    assert at_once(session) == {"serviceA": "taskA:2", "serviceB": "taskB:3", "serviceBv2": "taskB:4"}
    assert step(session, "04") == []
    for number in ("05", "06"):
        step(session, number)
    assert at_once(session) == {"serviceA": "taskA:2", "serviceBv2": "taskB:4"}
    assert [status(session, f"taskB:{n}") for n in (3, 4)] == ["INACTIVE", "ACTIVE"]
    assert step(session, "06") == []
    plan = survey(session).plan_removal()
    change(session, plan, *map(fact, plan.needs))
    assert containers(session, at_once(session)["serviceBv2"]) == ["serviceb"]


@pytest.mark.attack(15)
def test_a_revision_that_a_service_of_nobodys_file_runs_stays() -> None:
    session = open_at("shifted")
    ecs = somebody(session, "ecs")
    theirs = ecs.describe_services(cluster="apps", services=["serviceB"])["services"][0]
    own = {key: theirs[key] for key in ("launchType", "networkConfiguration", "taskDefinition")}
    ecs.create_service(cluster="apps", serviceName="batch", desiredCount=1, **own)
    settle()
    step(session, "06")
    assert "serviceB" not in at_once(session)
    assert status(session, "taskB:2") == "ACTIVE"


@pytest.mark.attack(15)
def test_a_revision_that_a_deployment_still_moves_away_from_stays() -> None:
    session = open_at("shifted")
    ecs = somebody(session, "ecs")
    ecs.update_service(cluster="apps", service="serviceBv2", taskDefinition="taskB:2")
    settle()
    ecs.update_service(cluster="apps", service="serviceBv2", taskDefinition="taskBv2:2")  # and nothing settles
    found = survey(session)
    planned = read_own_revisions(session, found.running["serviceB"])
    assert "taskB:2" not in [arn.rsplit("/", 1)[1] for arn in planned]
    settle()
    planned = read_own_revisions(session, found.running["serviceB"])
    assert [arn.rsplit("/", 1)[1] for arn in planned] == ["taskB:1", "taskB:2"]
