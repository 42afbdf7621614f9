"""End a service: its scaling, its tasks, the service itself, its revisions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runbook_lib.aws.ecs.queries import ROLLOUT
from runbook_lib.aws.ecs.revisions import deregistered
from runbook_lib.aws.ecs.running import Running
from runbook_lib.aws.ecs.scaling import without_scaling
from runbook_lib.aws.ecs.services import State, reading_of_service, update_call
from runbook_lib.aws.ecs.tasks import running_again
from runbook_lib.errors import PlanError
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Change, Inverse, Plan, Wait, differences

NOTHING: tuple[Any, ...] = (None, [], {})
SERVICE_LINKED = ":role/aws-service-role/"  # ECS's own, which no request may name
STATUS = "{status: services[0].status}"
GONE = "status == null || status == 'INACTIVE'"


def plan_end(
    p: Parameters,
    found: Running,
    revisions: Sequence[str],
    *,
    back: tuple[Wait, ...] = (),
) -> Plan:
    """Plan the end of one service: no more scaling, no tasks, no service, none of these
    `revisions` active.

    Scaling to zero can be undone in a moment, which waits for `back` too; deletion by
    creating the service again. PlanError: a service that cannot be scaled, or that ECS
    would not create again as it was.
    """
    _refuse_to_end(p, found)
    changes: list[Change] = []
    state = found.state
    if state and found.scalable:
        changes.append(without_scaling(p, found.service, found.scalable))
    if state and state["desiredCount"]:
        changes.append(_drained(p, found.service, state, back))
    if state:
        changes.append(_deleted(p, found, state))
    changes += [deregistered(arn, found.service) for arn in revisions]
    return Plan("06_tear_down_service_b", tuple(changes))


def _refuse_to_end(p: Parameters, found: Running) -> None:
    if found.is_daemon:
        kind = "schedulingStrategy DAEMON"
    elif found.is_express:
        kind = "an Express mode service"
    elif found.controller != "ECS":
        kind = f"deploymentController {found.controller}"
    else:
        return
    raise PlanError(
        f"ECS service {p.ecs_service_of(found.service)}: expected a REPLICA service "
        f"that ECS deploys, found {kind}: "
        "it could not be drained, and not be brought back as it was",
        hint="end it by what deploys it, once no request reaches it",
    )


def _drained(p: Parameters, name: str, state: State, back: tuple[Wait, ...]) -> Change:
    """Return the scaling of a service to no task."""
    count = state["desiredCount"]
    again = Inverse(
        "scale",
        update_call(p, name, desiredCount=count),
        wanted={"desiredCount": count},
        waits=(running_again(p, name, count), *back),
    )
    rollout = reading_of_service(p, name, ROLLOUT)
    return Change(
        name=f"service {name}'s tasks",
        verb="scale",
        call=update_call(p, name, desiredCount=0),
        reading=reading_of_service(p, name),
        expected={"arn": state["arn"], "desiredCount": count},
        wanted={"desiredCount": 0},
        about=(f"service {name}",),
        inverse=again,
        diff=differences(count, 0, "desiredCount"),
        waits=(Wait(f"no task of {name}", rollout, "running == `0`"),),
    )


def _deleted(p: Parameters, found: Running, state: State) -> Change:
    """Return the deletion of a service, which can be created again as it was."""
    name, own_name = found.service, p.ecs_service_of(found.service)
    delete = Call("ecs", "delete_service", {"cluster": p.cluster, "service": own_name})
    again = Call("ecs", "create_service", _as_created(p, found, state))
    lost = _lost(found)
    note = f"do not come back by undo: {'; '.join(lost)}" if lost else ""
    return Change(
        name=f"service {name}",
        verb="delete",
        call=delete,
        reading=reading_of_service(p, name),
        expected={"arn": state["arn"], "desiredCount": 0},
        wanted=None,
        about=(f"service {name}",),
        inverse=Inverse("create", again, wanted={"desiredCount": 0}),
        diff=differences(own_name, None, "service"),
        note=note,
        waits=(_gone(p, name),),
    )


def _gone(p: Parameters, name: str) -> Wait:
    status = reading_of_service(p, name, STATUS)
    return Wait(f"service {name} gone", status, GONE)


def _as_created(p: Parameters, found: Running, state: State) -> dict[str, Any]:
    """Return the arguments by which CreateService makes a service as it is, without
    tasks and without its tags.
    """
    arguments: dict[str, Any] = {"cluster": p.cluster}
    for key, value in _shown(found).items():
        if key != "tags" and value not in NOTHING:
            arguments[key] = value
    if "loadBalancers" not in arguments:  # without one CreateService does not take it
        arguments.pop("healthCheckGracePeriodSeconds", None)
    role = state.get("role") or ""
    if role and SERVICE_LINKED not in role:
        arguments["role"] = role
    return {**arguments, "taskDefinition": state["taskDefinition"], "desiredCount": 0}


def _shown(found: Running) -> dict[str, Any]:
    """Return all that ECS shows of what a service was created with."""
    return {**found.settings, **(found.revised or {})}


def _lost(found: Running) -> list[str]:
    """Say what CreateService cannot be given again."""
    lost = []
    labels = [tag["key"] for tag in _shown(found).get("tags") or []]
    if labels:
        lost.append(f"its tags, which are not recorded ({', '.join(labels)})")
    if found.revised is None:
        lost.append(
            "a gateway connector and monitoring, if it has any: ECS describes no "
            "revision of this service"
        )
    return lost
