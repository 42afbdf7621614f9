"""Move a service to another task definition, or its tasks to other groups. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runbook_lib.aws.ecs.arns import short
from runbook_lib.aws.ecs.definitions import Definition
from runbook_lib.aws.ecs.revisions import REGISTERED, labelled, registered
from runbook_lib.aws.ecs.running import Running, not_ours
from runbook_lib.aws.ecs.services import reading_of_service, stable_again, update_call
from runbook_lib.errors import PlanError
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Answer, Call, Change, Inverse, Wait, differences, ordered
from runbook_lib.task_definition.form import same

Groups = Sequence[Mapping[str, Any]]
"""The `loadBalancers` of a service, as the API has them."""


def deployment_order(p: Parameters, names: Sequence[str]) -> list[str]:
    """Return services so that those who answer come before those who call."""
    return ordered(names, {name: sorted(p.callees_of(name)) for name in names})


# --- to another definition ------------------------------------------------------------


def moved(
    p: Parameters,
    found: Running,
    form: Definition,
    planned: Sequence[Change],
    *,
    waits: tuple[Wait, ...] = (),
    hint: str = "",
) -> list[Change]:
    """Return what brings a service to a definition: its registration unless it
    exists, and the update.

    A move that a crash left under way is asked for once more, which begins nothing, and
    waited for. `planned` are the changes before: one of them may register a revision of
    the same family. `waits` come once the service is stable and has tasks. Raises
    PlanError, with `hint`, for a service that ECS does not deploy.
    """
    state = found.state or {}
    if not state["desiredCount"]:
        waits = ()
    if same(found.definition or {}, form):
        if found.is_being_deployed:
            return [_deployed(p, found, found.arn, waits)]
        return []
    if found.controller != "ECS":
        raise not_ours(p, found, hint)
    _refuse_lost_targets(p, found, form)
    wanted = labelled(p, form)
    if found.newest and same(found.newest, wanted):
        newest = found.newest["taskDefinitionArn"]
        return [_deployed(p, found, newest, waits)]
    registration = registered(found, wanted, planned)
    revision = Answer(registration.name, REGISTERED)
    return [registration, _deployed(p, found, revision, waits)]


def _refuse_lost_targets(p: Parameters, found: Running, form: Definition) -> None:
    """Refuse a definition without a container that the service registers somewhere."""
    containers = [container["name"] for container in form["containerDefinitions"]]
    lost = _registered_containers(found).difference(containers)
    if lost:
        raise PlanError(
            f"ECS service {p.ecs_service_of(found.service)}: requests are sent to its "
            f"container {min(lost)!r}; expected one of the new definition of "
            f"{form['family']}: {', '.join(containers)}",
            hint="let the service name an application's container first",
        )


def _registered_containers(found: Running) -> set[str]:
    """Return which containers of a service are registered somewhere, by name."""
    names: set[str] = set()
    for key in ("loadBalancers", "serviceRegistries"):
        for entry in found.settings.get(key) or []:
            if entry.get("containerName"):
                names.add(entry["containerName"])
    return names


def _deployed(
    p: Parameters, found: Running, revision: str | Answer, waits: tuple[Wait, ...]
) -> Change:
    """Return the update of a service to a revision."""
    name = found.service
    state = found.state or {}
    former = {"taskDefinition": state["taskDefinition"]}
    stable = stable_again(p, found)
    again = update_call(p, name, **former)
    back = Inverse("deploy", again, wanted=former, waits=(stable,))
    return Change(
        name=f"service {name}",
        verb="deploy",
        call=update_call(p, name, taskDefinition=revision),
        reading=reading_of_service(p, name),
        expected={"arn": state["arn"], **former},
        wanted={"taskDefinition": revision},
        about=(f"service {name}",),
        inverse=back,
        diff=differences(short(former["taskDefinition"]), _in_words(revision)),
        waits=(stable, *waits),
        back_on_failure=True,
        note=found.pace.words,
    )


def _in_words(revision: str | Answer) -> str:
    if isinstance(revision, Answer):
        return "the revision registered above"
    return short(revision)


# --- to other groups ------------------------------------------------------------------


def regrouped(
    p: Parameters,
    found: Running,
    wanted: Groups,
    shown: Callable[[Groups], list[str]],
    *,
    grace: int = 0,
    waits: tuple[Wait, ...] = (),
    no_inverse: str = "",
) -> Change:
    """Return what gives a service other `loadBalancers`: its tasks are replaced.

    `shown` names them for people. For `grace` seconds ECS lets a new task fail their
    checks. `waits` come once the service is stable. PlanError: a service that ECS does
    not deploy.
    """
    if found.controller != "ECS":
        raise not_ours(p, found)
    name = found.service
    state = found.state or {}
    before = found.groups
    former = {"settings": {"loadBalancers": before}}
    stable = stable_again(p, found)
    back: Inverse | None = None
    if not no_inverse:
        call = _with_groups(p, name, before, grace)
        back = Inverse("regroup", call, wanted=former, waits=(stable,))
    return Change(
        name=f"service {name}",
        verb="regroup",
        call=_with_groups(p, name, wanted, grace),
        reading=reading_of_service(p, name),
        expected={"arn": state["arn"], **former},
        wanted={"settings": {"loadBalancers": list(wanted)}},
        about=(f"service {name}",),
        inverse=back,
        no_inverse=no_inverse,
        diff=differences(shown(before), shown(wanted), "groups"),
        waits=(stable, *waits),
        back_on_failure=not no_inverse,
    )


def _with_groups(p: Parameters, name: str, groups: Groups, grace: int) -> Call:
    """Return the call that gives a service these groups, `grace` in seconds."""
    wanted: dict[str, Any] = {"loadBalancers": list(groups)}
    if groups and grace:  # ECS takes a grace period only beside a load balancer
        wanted["healthCheckGracePeriodSeconds"] = grace
    return update_call(p, name, **wanted)
