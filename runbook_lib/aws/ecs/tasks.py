"""Read the running tasks of the file's services, and how healthy they are.

`read_` functions read; all others are pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runbook_lib.aws.ecs.arns import short
from runbook_lib.aws.ecs.running import Running
from runbook_lib.aws.reads import Reads, read_each
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Reading, Wait
from runbook_lib.printable import counted

ABSENT = (
    "ServiceNotFoundException",
    "ServiceNotActiveException",
    "ClusterNotFoundException",
)
CONTAINERS = "containers[].{name: name, health: healthStatus}"
TASKS = f"tasks[].{{revision: taskDefinitionArn, containers: {CONTAINERS}}}"
RUNNING = "length(tasks[?lastStatus=='RUNNING'])"
UNHEALTHY = "length(tasks[?healthStatus=='UNHEALTHY'])"


@dataclass(frozen=True, slots=True)
class Task:
    """One running task: its service, its revision, each container's health."""

    service: str
    revision: str
    health: Mapping[str, str]


def read_tasks(session: Reads) -> list[Task]:
    """Read the running tasks of every service."""
    p = session.parameters
    readings = [reading_of_tasks(p, name, TASKS) for name in p.services]
    answers = read_each(session, readings)
    tasks: list[Task] = []
    for name, answer in zip(p.services, answers, strict=True):
        tasks += [_task(name, shown) for shown in answer or ()]
    return tasks


def _task(service: str, shown: Mapping[str, Any]) -> Task:
    health = {each["name"]: each["health"] for each in shown["containers"]}
    return Task(service, short(shown["revision"]), health)


def read_unhealthy(session: Reads, name: str) -> int:
    """Read how many of a service's running tasks are UNHEALTHY."""
    unhealthy = session.read(reading_of_tasks(session.parameters, name, UNHEALTHY))
    return unhealthy or 0


def reading_of_tasks(p: Parameters, name: str, query: str) -> Reading:
    """Return how a query on a service's tasks is read."""
    of_service = {"cluster": p.cluster, "serviceName": p.ecs_service_of(name)}
    arns = Reading(Call("ecs", "list_tasks", of_service), "taskArns", ABSENT)
    describe = Call("ecs", "describe_tasks", {"cluster": p.cluster, "tasks": arns})
    return Reading(describe, query, ABSENT)


def without_checks(task: Task, running: Running) -> Task:
    """Return a task that says which of its containers have no health check."""
    definition = running.definition or {}
    containers = definition.get("containerDefinitions", [])
    checked = {each["name"] for each in containers if each.get("healthCheck")}
    health = dict(task.health)
    for name in health.keys() - checked:
        if health[name] == "UNKNOWN":
            health[name] = "no health check"
    return replace(task, health=health)


def running_again(p: Parameters, name: str, count: int) -> Wait:
    """Wait for tasks that are to stay: a service's own count still has those that are
    just being stopped.
    """
    return Wait(
        f"{counted(count, 'task')} of {name} running",
        reading_of_tasks(p, name, RUNNING),
        f"@ >= `{count}`",
    )
