"""A second release by hand, on the file that the first one left: a run of its own, whose end can be undone alone."""

from __future__ import annotations

from pathlib import Path

from tests.notebook_runner import Environment, folder, newest, own_mesh

__all__ = ["folder", "own_mesh"]

ALL = ("01", "02", "03", "04", "05", "06")


def next_release(first: Environment, folder: Path) -> Environment:
    """Return the environment with the file of its next release: the canary of the first is stable now."""
    said = first.said
    services = {name: said["services"][name] for name in ("serviceA", "serviceBv2")}
    services["serviceBv3"] = {"hostname": "servicebv3.apps.local", "task_definition": "taskBv3"}
    route = {**said["routers"]["serviceB"]["routes"]["serviceB"], "targets": ["serviceBv2", "serviceBv3"]}
    return Environment.create(
        folder,
        first.name,
        account_id=first.account,
        services=services,
        routers={"serviceB": {"routes": {"serviceB": route}}},
        shift={**said["shift"], "stable": "serviceBv2", "canary": "serviceBv3"},
    )


def test_a_second_release_is_a_run_of_its_own_and_its_retirement_is_undone_alone(own_mesh: Path, folder: Path) -> None:
    first = Environment.create(folder, "releases")
    first.walk(*ALL)
    run = newest("releases")
    assert run.closed
    second = next_release(first, folder)
    second.walk(*ALL)
    assert newest("releases") != run
    assert newest("releases").closed
    assert second.weights() == {"serviceBv3": 100}
    undone = second.notebook("06", undo=True)
    assert not undone.errors, undone.first
    assert second.weights() == {"serviceBv2": 0, "serviceBv3": 100}
    found = second.client("ecs").describe_services(cluster="apps", services=["serviceBv2"])["services"][0]
    assert (found["status"], found["desiredCount"]) == ("ACTIVE", 1)
