"""Envoy as a container: which node it is, its health, its size, who waits for it, what
it signs with. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.task_definition.envoy import (
    IDENTITY,
    identity_variable,
    is_daemon,
    passes_by,
    waiting,
)
from runbook_lib.task_definition.form import others, task_units, user_of, variables
from runbook_lib.task_definition.lint.rule import (
    Check,
    Finding,
    Rule,
    View,
    at,
    reserved,
    unlike,
)

# --- which node it is -----------------------------------------------------------------

NO_IDENTITY = Rule(
    "identity",
    "FAIL",
    "APPMESH_RESOURCE_ARN is not set: Envoy does not know which node it is",
    "set it to the node's ARN",
)
OLD_IDENTITY = Rule(
    "old-identity",
    "WARN",
    "{found} is, from Envoy 1.15.0 on, supported for existing meshes only",
    "set APPMESH_RESOURCE_ARN to the node's full ARN instead",
)
OTHER_NODE = Rule(
    "other-node",
    "FAIL",
    "expected {expected}, found {found}: Envoy gets another node's configuration",
    "set the ARN of this service's own node",
)


def identity(view: View) -> Iterator[Finding]:
    """Yield where Envoy is not told, by its node's ARN, which node it is."""
    where = at(view.proxy, "environment")
    variable = identity_variable(view.proxy)
    if variable is None:
        yield view.finding(NO_IDENTITY, where)
    elif variable != IDENTITY[0]:
        yield view.finding(OLD_IDENTITY, where, found=variable)


def other_node(view: View) -> Iterator[Finding]:
    """Yield where Envoy is told that it is another node than the one it should be."""
    expected = view.node_arn
    variable = identity_variable(view.proxy)
    if not expected or variable is None:
        return
    found = variables(view.proxy)[variable]
    without_prefix = expected[expected.find("mesh/") :]
    if found not in (expected, without_prefix):
        where = at(view.proxy, "environment")
        yield view.finding(OTHER_NODE, where, expected=expected, found=found)


# --- how it runs ----------------------------------------------------------------------

ESSENTIAL = Rule(
    "envoy-essential",
    "FAIL",
    "Envoy is not essential: the task would live on without its traffic",
    "make it essential",
)
HEALTH = Rule(
    "envoy-health",
    "FAIL",
    "no health check: Envoy never becomes HEALTHY, nor starts what waits for it",
    "add the check of server_info",
)
OPEN_FILES = Rule(
    "open-files",
    "WARN",
    "nofile below 15000: Envoy crashes under load (troubleshooting-scaling)",
    "set its soft and hard limit to 15000",
)
WAIT = Rule(
    "wait-for-envoy",
    "FAIL",
    "does not wait for {expected} to be HEALTHY: its first calls are lost",
    "add it to dependsOn; that also stops Envoy last",
)
LEAST_OPEN_FILES = 15000


def _essential(view: View) -> Iterator[Finding]:
    if view.proxy.get("essential") is False:
        yield view.finding(ESSENTIAL, at(view.proxy, "essential"))


def _health(view: View) -> Iterator[Finding]:
    if not view.proxy.get("healthCheck"):
        yield view.finding(HEALTH, at(view.proxy, "healthCheck"))


def _open_files(view: View) -> Iterator[Finding]:
    limits = view.proxy.get("ulimits", [])
    open_files = [each["softLimit"] for each in limits if each["name"] == "nofile"]
    if max(open_files, default=0) < LEAST_OPEN_FILES:
        yield view.finding(OPEN_FILES, at(view.proxy, "ulimits"))


def _waits(view: View) -> Iterator[Finding]:
    name = view.proxy["name"]
    wait = {"containerName": name, "condition": "HEALTHY"}
    for container in waiting(view.task):
        if wait not in container.get("dependsOn", []):
            yield view.finding(WAIT, at(container, "dependsOn"), expected=name)


# --- its size -------------------------------------------------------------------------

CPU = Rule(
    "envoy-cpu",
    "WARN",
    "512 CPU units are advised for Envoy alone, the whole task has {found}",
    "give the task 1024 or more",
)
MEMORY = Rule(
    "envoy-memory",
    "WARN",
    "at least 64 MiB are advised for Envoy, {found} can be had",
    "raise the task's memory",
)
LEAST_MIB = 64


def _cpu(view: View) -> Iterator[Finding]:
    cpu = task_units(view.task.get("cpu"))
    if view.fargate and cpu is not None and cpu <= 512:
        yield view.finding(CPU, "cpu", found=cpu)


def _memory(view: View) -> Iterator[Finding]:
    limits = _memory_limits(view)
    if limits and min(limits) < LEAST_MIB:
        yield view.finding(MEMORY, "memory", found=min(limits))


def _memory_limits(view: View) -> list[int]:
    """Return the MiB that Envoy can have at most: by its own limit, and by what the
    other containers leave of the task's.
    """
    limits = []
    if "memory" in view.proxy:
        limits.append(view.proxy["memory"])
    memory = task_units(view.task.get("memory"))
    if memory is not None:
        beside = others(view.containers, [view.proxy["name"]])
        left = memory - sum(reserved(container) for container in beside)
        limits.append(max(left, 0))
    return limits


# --- its X-Ray daemon -----------------------------------------------------------------

NO_DAEMON = Rule(
    "no-daemon",
    "WARN",
    "tracing is on, and no X-Ray daemon is in the task",
    "add the daemon",
)
DAEMON_USER = Rule(
    "daemon-user",
    "FAIL",
    "expected Envoy's user {expected}, found {found}: its own calls would be proxied",
    "run it as Envoy's user",
)


def _daemons(view: View) -> Iterator[Finding]:
    if variables(view.proxy).get("ENABLE_ENVOY_XRAY_TRACING") != "1":
        return
    daemons = [container for container in view.containers if is_daemon(container)]
    if not daemons:
        yield view.finding(NO_DAEMON, at(view.proxy, "environment"))
    for daemon in daemons:
        expected, found = user_of(view.proxy), user_of(daemon)
        if found != expected and not passes_by(view.task, daemon):
            named = unlike(expected, found)
            yield view.finding(DAEMON_USER, at(daemon, "user"), **named)


# --- what it signs with ---------------------------------------------------------------

TASK_ROLE = Rule(
    "task-role",
    "FAIL",
    "Envoy has nothing to sign with (appmesh:StreamAggregatedResources)",
    "set a task role that allows it on this node's ARN",
)
INSTANCE_ROLE = Rule(
    "instance-role",
    "WARN",
    "without one Envoy signs with the instance's role, if it can reach it",
    "prefer a task role",
)


def _task_role(view: View) -> Iterator[Finding]:
    if not view.task.get("taskRoleArn"):
        rule = TASK_ROLE if view.fargate else INSTANCE_ROLE
        yield view.finding(rule, "taskRoleArn")


RULES = (
    NO_IDENTITY,
    OLD_IDENTITY,
    OTHER_NODE,
    ESSENTIAL,
    HEALTH,
    OPEN_FILES,
    WAIT,
    CPU,
    MEMORY,
    NO_DAEMON,
    DAEMON_USER,
    TASK_ROLE,
    INSTANCE_ROLE,
)
CHECKS_OF_IDENTITY: tuple[Check, ...] = (identity, other_node)
CHECKS: tuple[Check, ...] = (
    _essential,
    _health,
    _open_files,
    _waits,
    _cpu,
    _memory,
    _daemons,
    _task_role,
)
