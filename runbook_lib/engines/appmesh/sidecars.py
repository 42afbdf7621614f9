"""Plan the Envoy beside each service's application, there and back (tutorial, step 5).

`read_own_revisions` reads; all others are pure: definitions and services as
read, in; plans out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runbook_lib.aws import ecs
from runbook_lib.aws.ecs import (
    Running,
    deployment_order,
    moved,
    not_ours,
    reading_of_tasks,
)
from runbook_lib.aws.naming import role_arn
from runbook_lib.aws.reads import Reads
from runbook_lib.engines.appmesh.spec import node_arn
from runbook_lib.errors import PlanError, PrerequisiteError
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.parameters import Parameters
from runbook_lib.parameters.appmesh import Envoy
from runbook_lib.parameters.model import Service
from runbook_lib.plan import Change, Plan, Wait
from runbook_lib.task_definition.envoy import envoy_of, is_daemon
from runbook_lib.task_definition.image import envoy_image
from runbook_lib.task_definition.lint import BY_ECS, lint
from runbook_lib.task_definition.sidecar import (
    Sidecar,
    sidecar_of,
    with_envoy,
    without_envoy,
)

DEPLOY_IT = (
    "deploy its revision with the sidecar by what deploys it, or let ECS deploy "
    "it; then run again"
)
HEALTHY_SECONDS = 180  # most that an Envoy may take until it is LIVE


def sidecar(p: Parameters, name: str, role_arn: str | None) -> Sidecar:
    """Return the sidecar the parameters ask for on one service.

    `role_arn` is for a definition without a role.
    """
    service = p.services[name]
    envoy = p.envoy
    image = envoy_image(
        p.region, envoy.image_tag, fips=envoy.fips, public=envoy.public_image
    )
    ports = p.ports_of(name) or [p.port]  # ECS refuses none
    return Sidecar(
        image=image,
        node_arn=node_arn(p, name),
        app_ports=tuple(ports),
        launch_type=p.launch_type_of(name),
        resource_cluster=envoy.resource_cluster,
        ignored_ips=tuple(envoy.ignored_ips),
        ignored_ports=tuple(envoy.ignored_ports),
        user=envoy.user,
        ignored_gid=envoy.ignored_gid,
        cpu=envoy.cpu,
        memory=envoy.memory,
        start_seconds=envoy.start_seconds,
        log=_log(envoy),
        xray=envoy.xray,
        task_role_arn=role_arn,
        execution_role_arn=_execution_role_arn(p, service),
        task_cpu=str(service.cpu) if service.cpu else None,
        task_memory=str(service.memory) if service.memory else None,
    )


def _log(envoy: Envoy) -> dict[str, Any] | None:
    """Return where Envoy's output goes; {} where the file says nowhere, None where it
    does not say.
    """
    if envoy.log:
        return {"logDriver": envoy.log.driver, "options": dict(envoy.log.options)}
    return {} if "log" in envoy.model_fields_set else None


def _execution_role_arn(p: Parameters, service: Service) -> str | None:
    return role_arn(p, service.execution_role) if service.execution_role else None


def plan_sidecars(
    p: Parameters,
    life: Lifecycle,
    running: Mapping[str, Running],
    roles: Mapping[str, str],
) -> Plan:
    """Plan a definition with Envoy for each service, and its move to it: callees first.

    `roles` gives the task role's ARN for services whose definition names none. Raises
    PrerequisiteError where a service does not exist, PlanError where a definition
    cannot take a sidecar.
    """
    names = life.left(p.services)
    _require_services(p, names, running)
    changes: list[Change] = []
    for name in deployment_order(p, names):
        found = running[name]
        if found.definition is None:
            raise not_ours(p, found, DEPLOY_IT)
        form = with_envoy(found.definition, sidecar(p, name, roles.get(name)))
        _refuse_what_ecs_would(p, found, form)
        changes += _moved(p, found, form, changes)
    return Plan("04_register_task_definitions", tuple(changes))


def _require_services(
    p: Parameters, names: Sequence[str], running: Mapping[str, Running]
) -> None:
    missing = [p.ecs_service_of(name) for name in names if running[name].state is None]
    if missing:
        raise PrerequisiteError(
            f"ECS services not found in cluster {p.cluster}: {', '.join(missing)}",
            hint="deploy them; the mesh's own resources (01 to 03) can "
            "already be there",
        )


def _refuse_what_ecs_would(
    p: Parameters, found: Running, form: Mapping[str, Any]
) -> None:
    """Refuse a definition that with its sidecar ECS would not take, or never start."""
    launch_type = p.launch_type_of(found.service)
    known = {f.rule for f in lint(found.definition or {}, launch_type=launch_type)}
    for finding in lint(form, launch_type=launch_type):
        if finding.rule in BY_ECS - known:
            raise PlanError(
                f"task definition {finding.where}: with the sidecar {finding.message}",
                hint=finding.hint,
            )


def plan_plain(p: Parameters, running: Mapping[str, Running]) -> Plan:
    """Plan every service back to a definition without the sidecar: callers first.

    An X-Ray daemon that came by other hands stays, and is named.
    """
    changes: list[Change] = []
    stays: list[str] = []
    for name in reversed(deployment_order(p, list(p.services))):
        found = running[name]
        if found.state and found.definition and sidecar_of(found.definition):
            form = without_envoy(found.definition)
            changes += _moved(p, found, form, changes)
            stays += _daemons_left(form)
    return Plan("90_remove_mesh", tuple(changes), stays=tuple(stays))


def _daemons_left(form: Mapping[str, Any]) -> Iterator[str]:
    for container in form["containerDefinitions"]:
        if is_daemon(container):
            yield (
                f"X-Ray daemon {container['name']} of task definition "
                f"{form['family']}: an application may send it traces"
            )


def _moved(
    p: Parameters, found: Running, form: Mapping[str, Any], planned: list[Change]
) -> list[Change]:
    waits = _healthy(p, found.service, form)
    return moved(p, found, form, planned, waits=waits, hint=DEPLOY_IT)


def back_waits(p: Parameters, found: Running) -> tuple[Wait, ...]:
    """Return what to wait for once a service's tasks have come back: their Envoys."""
    return _healthy(p, found.service, found.definition or {})


def _healthy(p: Parameters, name: str, form: Mapping[str, Any]) -> tuple[Wait, ...]:
    """Wait until each task's Envoy is HEALTHY; for nothing where a
    definition has none.
    """
    envoy = envoy_of(form)
    if envoy is None:
        return ()
    health = f"containers[?name=='{envoy['name']}'].healthStatus | [0]"
    tasks = reading_of_tasks(p, name, f"tasks[].{{task: taskArn, envoy: {health}}}")
    until = "@ && !(@[?envoy != null && envoy != 'HEALTHY'])"
    what = f"Envoy of {name} HEALTHY"
    return (Wait(what, tasks, until, timeout_seconds=HEALTHY_SECONDS),)


def behind(p: Parameters, life: Lifecycle, running: Mapping[str, Running]) -> list[str]:
    """Return the services that do not run with the wanted sidecar, each
    with its own role.

    Raises PrerequisiteError where one of them does not exist.
    """
    roles = {}
    for name, found in running.items():
        role = (found.definition or {}).get("taskRoleArn")
        if role:
            roles[name] = role
    plan = plan_sidecars(p, life, running, roles)
    return [change.name for change in plan if change.verb == "deploy"]


def meshed(found: Running) -> bool:
    """Say whether a service runs with an Envoy that says which node it is."""
    side = sidecar_of(found.definition) if found.definition else None
    return bool(side and side.virtual_node)


def read_own_revisions(session: Reads, found: Running) -> tuple[str, ...]:
    """Read the revisions that end with a service; where others share its family
    its sidecar tells.
    """

    def is_own(definition: Mapping[str, Any]) -> bool:
        return is_meshed_as(session.parameters, definition, found.service)

    return ecs.read_own_revisions(session, found, is_own)


def is_meshed_as(p: Parameters, definition: Mapping[str, Any], service: str) -> bool:
    """Say whether a definition is this service's, by its sidecar; False
    where it is unclear.
    """
    try:
        found = sidecar_of(definition)
    except PlanError:
        return False
    if found is None:
        return False
    return found.mesh == p.mesh.name and found.virtual_node == service
