"""What ECS refuses at registration, or never starts. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.task_definition.fargate import has_size, sizes_with
from runbook_lib.task_definition.form import Json, by_name, task_units
from runbook_lib.task_definition.image import ecr_image
from runbook_lib.task_definition.lint.rule import (
    Check,
    Finding,
    Rule,
    View,
    at,
    reserved,
)

# --- the task's size ------------------------------------------------------------------

NO_SIZE = Rule(
    "fargate-needs-size",
    "FAIL",
    "Fargate requires cpu and memory at the task level",
    'for example "1024" and "2048"',
)
SIZE = Rule(
    "fargate-size",
    "FAIL",
    "Fargate has no size of {cpu} CPU units with {memory} MiB",
    "sizes there are: {sizes}",
)


def _fargate_size(view: View) -> Iterator[Finding]:
    if not view.fargate:
        return
    where = "cpu, memory"
    cpu = task_units(view.task.get("cpu"))
    memory = task_units(view.task.get("memory"))
    if cpu is None or memory is None:
        yield view.finding(NO_SIZE, where)
    elif not has_size(cpu, memory):
        sizes = sizes_with(cpu)
        yield view.finding(SIZE, where, cpu=cpu, memory=memory, sizes=sizes)


# --- its ports ------------------------------------------------------------------------

HOST_PORT = Rule(
    "host-port",
    "FAIL",
    "hostPort {found} is not containerPort {expected}; in awsvpc they must match",
    "drop hostPort",
)


def _host_ports(view: View) -> Iterator[Finding]:
    """A host port that equals its container port is not in a comparison form."""
    if view.task.get("networkMode") != "awsvpc":
        return
    for container in view.containers:
        where = at(container, "portMappings")
        for port in container.get("portMappings", []):
            found, expected = port.get("hostPort"), port.get("containerPort")
            if found is not None:
                yield view.finding(HOST_PORT, where, found=found, expected=expected)


# --- the sums of its containers -------------------------------------------------------

CPU_SUM = Rule(
    "cpu-sum",
    "FAIL",
    "the containers ask for {total} CPU units, the task has {limit}",
    "raise the task's cpu or lower a container's",
)
MEMORY_SUM = Rule(
    "memory-sum",
    "FAIL",
    "the containers reserve {total} of the task's {limit} MiB; {others} gets none",
    "raise the task's memory; what is reserved must stay below it",
)
MEMORY_HARD = Rule(
    "memory-hard",
    "FAIL",
    "{found} MiB is more than the task's {limit}",
    "raise the task's memory or lower the container's",
)
MEMORY_MISSING = Rule(
    "memory-missing",
    "FAIL",
    "needs memory or memoryReservation, since the task has no memory of its own",
    "set one of them, or the task's memory",
)


def _cpu_sum(view: View) -> Iterator[Finding]:
    limit = task_units(view.task.get("cpu"))
    if limit is None:
        return
    total = sum(container.get("cpu", 0) for container in view.containers)
    if total > limit:
        yield view.finding(CPU_SUM, "cpu", total=total, limit=limit)


def _memory_sum(view: View) -> Iterator[Finding]:
    """A container without memory of its own needs some that none has reserved."""
    limit = task_units(view.task.get("memory"))
    if limit is None:
        return
    total = sum(reserved(container) for container in view.containers)
    names = [container["name"] for container in _without_memory(view)]
    is_too_much = total >= limit if names else total > limit
    if is_too_much:
        others = ", ".join(names) or "anything else"
        numbers = {"total": total, "limit": limit}
        yield view.finding(MEMORY_SUM, "memory", **numbers, others=others)


def _without_memory(view: View) -> list[Json]:
    return [each for each in view.containers if not reserved(each)]


def _memory_limits(view: View) -> Iterator[Finding]:
    limit = task_units(view.task.get("memory"))
    if limit is None:
        return
    for container in view.containers:
        found = container.get("memory", 0)
        if found > limit:
            where = at(container, "memory")
            yield view.finding(MEMORY_HARD, where, found=found, limit=limit)


def _memory_missing(view: View) -> Iterator[Finding]:
    if view.fargate or task_units(view.task.get("memory")) is not None:
        return
    for container in _without_memory(view):
        yield view.finding(MEMORY_MISSING, at(container, "memory"))


# --- who waits for whom ---------------------------------------------------------------

DEPENDS_ON = Rule(
    "depends-on",
    "FAIL",
    "waits for {name}, {problem}",
    "see ContainerDependency in the ECS API reference",
)


def _dependencies(view: View) -> Iterator[Finding]:
    containers = by_name(view.containers)
    for container in view.containers:
        where = at(container, "dependsOn")
        for wait in container.get("dependsOn", []):
            name = wait["containerName"]
            problem = _problem(wait, containers.get(name))
            if problem:
                yield view.finding(DEPENDS_ON, where, name=name, problem=problem)


def _problem(wait: Json, target: Json | None) -> str:
    """Say why a container cannot be waited for like this; "" where it can."""
    if target is None:
        return "which is not a container of this task"
    if wait["condition"] == "HEALTHY" and "healthCheck" not in target:
        return "which has no health check to be HEALTHY by"
    if wait["condition"] in ("SUCCESS", "COMPLETE") and target.get("essential", True):
        return "which is essential and so must not end"
    return ""


# --- its execution role ---------------------------------------------------------------

EXECUTION_ROLE = Rule(
    "execution-role",
    "FAIL",
    "Fargate pulls images from ECR with it, the regional Envoy image included",
    "set an execution role with ECR pull permission",
)


def _execution_role(view: View) -> Iterator[Finding]:
    if not view.fargate or view.task.get("executionRoleArn"):
        return
    images = [container.get("image", "") for container in view.containers]
    if any(ecr_image(image) for image in images):
        yield view.finding(EXECUTION_ROLE, "executionRoleArn")


RULES = (
    NO_SIZE,
    SIZE,
    HOST_PORT,
    CPU_SUM,
    MEMORY_SUM,
    MEMORY_HARD,
    MEMORY_MISSING,
    DEPENDS_ON,
    EXECUTION_ROLE,
)
CHECKS: tuple[Check, ...] = (
    _fargate_size,
    _host_ports,
    _cpu_sum,
    _memory_sum,
    _memory_limits,
    _memory_missing,
    _dependencies,
    _execution_role,
)
