"""The two seams of ECS: who runs tasks, and who hears of them."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from runbook_lib.local import control_plane
from runbook_lib.local.control_plane import Standing, Task, TaskState
from runbook_lib.local.control_plane import ecs as engine
from runbook_lib.local.troubles import Troubles
from tests.control_plane_fixtures import (
    aws,
    definition,
    described,
    ecs,
    endpoint,
    service,
    settle,
    shared_clients,
)
from tests.demo_mesh import until

BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


class Scripted:
    """A launcher whose tasks do what `says` holds for their revision, RUNNING and HEALTHY by default."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.says: dict[int, TaskState] = {}

    def start(self, task: Task) -> None:
        self.calls.append(("start", task.id))

    def stop(self, task: Task) -> None:
        self.calls.append(("stop", task.id))

    def state(self, task: Task) -> TaskState:
        if task.desired == "STOPPED":
            return {"status": "STOPPED", "health": {}}
        healthy: TaskState = {"status": "RUNNING", "health": dict.fromkeys(task.checked, "HEALTHY")}
        return self.says.get(task.definition["revision"], healthy)


class Witness:
    """An attachment that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def started(self, task: Task) -> None:
        self.heard.append(("started", task.id))

    def stopped(self, task: Task) -> None:
        self.heard.append(("stopped", task.id))

    def standing(self, task: Task) -> Standing:
        return Standing()


@pytest.fixture
def launcher() -> Iterator[Scripted]:
    settle()
    scripted = Scripted()
    control_plane.launch_with(scripted)
    yield scripted
    control_plane.launch_with(control_plane.InMemoryLauncher())
    settle()


@pytest.fixture
def witness() -> Iterator[Witness]:
    made = Witness()
    control_plane.attach(made)
    yield made
    engine._ATTACHMENTS.remove(made)


def _deploy(ecs: Any, **more: Any) -> None:
    ecs.register_task_definition(**definition())
    ecs.update_service(cluster="apps", service="serviceB", taskDefinition="taskB", **more)


def test_a_task_is_started_once_and_stopped_once(ecs: Any, launcher: Scripted) -> None:
    ecs.create_service(**service())
    settle()
    ecs.update_service(cluster="apps", service="serviceB", desiredCount=0)
    settle()
    assert [call for call, _ in launcher.calls] == ["start", "stop"]
    assert len({task for _, task in launcher.calls}) == 1


def test_a_task_that_stays_pending_keeps_the_deployment_in_progress(ecs: Any, launcher: Scripted) -> None:
    launcher.says[1] = {"status": "PENDING", "health": {}}
    ecs.create_service(**service())
    settle()
    found = described(ecs)
    assert (found["pendingCount"], found["deployments"][0]["rolloutState"]) == (1, "IN_PROGRESS")


def test_a_running_task_whose_health_is_unknown_does_not_complete_a_deployment(ecs: Any, launcher: Scripted) -> None:
    launcher.says[1] = {"status": "RUNNING", "health": {"app": "UNKNOWN"}}
    ecs.create_service(**service())
    settle()
    found = described(ecs)
    assert (found["runningCount"], found["deployments"][0]["rolloutState"]) == (1, "IN_PROGRESS")


def test_an_unhealthy_task_is_stopped_and_replaced(ecs: Any, launcher: Scripted) -> None:
    ecs.create_service(**service())
    settle()
    (first,) = ecs.list_tasks(cluster="apps")["taskArns"]
    launcher.says[1] = {"status": "RUNNING", "health": {"app": "UNHEALTHY"}}
    control_plane.reconcile()
    del launcher.says[1]
    settle()
    (gone,) = ecs.describe_tasks(cluster="apps", tasks=[first])["tasks"]
    assert gone["stoppedReason"] == "Task failed container health checks"
    assert described(ecs)["runningCount"] == 1


def test_a_task_that_ends_by_itself_says_why_and_is_replaced(ecs: Any, launcher: Scripted) -> None:
    ecs.create_service(**service())
    settle()
    (first,) = ecs.list_tasks(cluster="apps")["taskArns"]
    launcher.says[1] = {"status": "STOPPED", "health": {}, "reason": "killed", "exit_codes": {"app": 137}}
    control_plane.reconcile()
    del launcher.says[1]
    settle()
    (gone,) = ecs.describe_tasks(cluster="apps", tasks=[first])["tasks"]
    assert (gone["stoppedReason"], gone["containers"][0]["exitCode"]) == ("killed", 137)
    assert described(ecs)["runningCount"] == 1


def test_the_circuit_breaker_rolls_back_to_the_last_completed_revision(ecs: Any, launcher: Scripted) -> None:
    launcher.says[2] = {"status": "STOPPED", "health": {}, "reason": "no such image"}
    ecs.create_service(**service(deploymentConfiguration=BREAKER))
    settle()
    _deploy(ecs)
    settle()
    found = described(ecs)
    (primary,) = found["deployments"]
    assert (primary["taskDefinition"][-7:], primary["rolloutState"]) == ("taskB:1", "COMPLETED")
    assert found["taskDefinition"].endswith("taskB:1")
    assert any("deployment failed: tasks failed to start." in event["message"] for event in found["events"])


def test_the_running_task_survives_a_roll_back(ecs: Any, launcher: Scripted) -> None:
    launcher.says[2] = {"status": "STOPPED", "health": {}}
    ecs.create_service(**service(deploymentConfiguration=BREAKER))
    settle()
    before = ecs.list_tasks(cluster="apps")["taskArns"]
    _deploy(ecs)
    settle()
    assert ecs.list_tasks(cluster="apps")["taskArns"] == before


def test_without_rollback_the_deployment_fails_and_the_former_tasks_stay(ecs: Any, launcher: Scripted) -> None:
    launcher.says[2] = {"status": "STOPPED", "health": {}}
    ecs.create_service(
        **service(deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": False}})
    )
    settle()
    _deploy(ecs)
    settle()
    primary, former = described(ecs)["deployments"]
    assert (primary["rolloutState"], primary["failedTasks"]) == ("FAILED", 3)
    assert primary["rolloutStateReason"] == "ECS deployment circuit breaker: tasks failed to start."
    assert (former["status"], former["runningCount"]) == ("ACTIVE", 1)


def test_a_new_deployment_gets_out_of_a_failed_one(ecs: Any, launcher: Scripted) -> None:
    launcher.says[2] = {"status": "STOPPED", "health": {}}
    ecs.create_service(
        **service(deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": False}})
    )
    settle()
    _deploy(ecs)
    settle()
    _deploy(ecs)
    settle()
    (primary,) = described(ecs)["deployments"]
    assert (primary["taskDefinition"][-7:], primary["rolloutState"]) == ("taskB:3", "COMPLETED")


def test_an_attachment_hears_of_each_task_once_when_it_runs_and_once_before_it_stops(
    ecs: Any,
    launcher: Scripted,
    witness: Witness,
) -> None:
    ecs.create_service(**service())
    control_plane.reconcile()
    assert witness.heard == []
    settle()
    assert [what for what, _ in witness.heard] == ["started"]
    ecs.delete_service(cluster="apps", service="serviceB", force=True)
    settle()
    assert [what for what, _ in witness.heard] == ["started", "stopped"]


def test_a_task_that_never_ran_is_not_heard_of(ecs: Any, launcher: Scripted, witness: Witness) -> None:
    launcher.says[1] = {"status": "PENDING", "health": {}}
    ecs.create_service(**service())
    settle()
    ecs.delete_service(cluster="apps", service="serviceB", force=True)
    settle()
    assert witness.heard == []


def test_converge_takes_steps_until_it_is_told_to_stop(ecs: Any) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=control_plane.converge, args=(stop, Troubles(), 0.01))
    thread.start()
    ecs.create_service(**service())
    ecs.get_waiter("services_stable").wait(
        cluster="apps", services=["serviceB"], WaiterConfig={"Delay": 0.05, "MaxAttempts": 100}
    )
    stop.set()
    thread.join(timeout=5)
    assert not thread.is_alive()


class Failing(Scripted):
    """A launcher that cannot start a task, the first time."""

    def start(self, task: Task) -> None:
        super().start(task)
        if len(self.calls) == 1:
            raise KeyError("unforeseen")


def test_converge_goes_on_after_an_error_nobody_foresaw(ecs: Any) -> None:
    stop, troubles, launcher = threading.Event(), Troubles(), Failing()
    control_plane.launch_with(launcher)
    ecs.create_service(**service())
    thread = threading.Thread(target=control_plane.converge, args=(stop, troubles, 0.01))
    thread.start()
    try:
        until(lambda: described(ecs)["runningCount"] == 1)
    finally:
        stop.set()
        thread.join(timeout=5)
        control_plane.launch_with(control_plane.InMemoryLauncher())
    assert len(launcher.calls) >= 1
    assert not troubles.now, "what has passed is forgotten"
