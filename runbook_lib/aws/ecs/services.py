"""Read ECS services and task definitions, and plan their changes.

The only caller of the ECS and Application Auto Scaling clients. `read_` reads, `plan_`
functions are pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from runbook_lib.aws.ecs.arns import family_of, number_of, portions, short
from runbook_lib.aws.ecs.running import Running, not_ours
from runbook_lib.aws.ecs.tasks import running_again
from runbook_lib.aws.naming import tags
from runbook_lib.aws.reads import Reads
from runbook_lib.errors import PlanError
from runbook_lib.parameters import Parameters
from runbook_lib.plan import (
    Answer,
    Call,
    Change,
    Inverse,
    Plan,
    Reading,
    Wait,
    differences,
    ordered,
)
from runbook_lib.redaction import shown_definition
from runbook_lib.task_definition.form import READ_ONLY, normalise, same

# What CreateService takes back from what DescribeServices shows.
SETTINGS = [
    "serviceName",
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "schedulingStrategy",
    "availabilityZoneRebalancing",
    "deploymentConfiguration",
    "deploymentController",
    "networkConfiguration",
    "loadBalancers",
    "serviceRegistries",
    "placementConstraints",
    "placementStrategy",
    "healthCheckGracePeriodSeconds",
    "enableECSManagedTags",
    "propagateTags",
    "enableExecuteCommand",
    "tags",
]
# What CreateService takes, and is shown of the deployment alone.
DEPLOYED = [
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
]
# What CreateService takes, and is shown of the service's revision alone.
REVISED = ["gatewayConnectors", "monitoring"]
PRIMARY = "deployments[?status=='PRIMARY']"
_SETTINGS = [f"{name}: {name}" for name in SETTINGS]
_SETTINGS += [f"{name}: {PRIMARY}.{name} | [0]" for name in DEPLOYED]
STATE_OF_EACH = (
    "{arn: serviceArn, desiredCount: desiredCount, "
    "runningCount: runningCount, "
    "taskDefinition: [deployments, taskSets][] | "
    "[?status=='PRIMARY'].taskDefinition | [0], "
    "rollout: deployments[?status=='PRIMARY'].rolloutState | [0], "
    "managedBy: resourceManagementType, role: roleArn, "
    f"settings: {{{', '.join(_SETTINGS)}}}}}"
)
STATE = f"services[?status=='ACTIVE'] | [0].{STATE_OF_EACH}"
STATES = f"services[?status=='ACTIVE'].{{name: serviceName, state: {STATE_OF_EACH}}}"
SERVICES = 10  # DescribeServices takes so many
TARGETS = 50  # DescribeScalableTargets takes so many
SCALABLE_OF_EACH = (
    "{ServiceNamespace: ServiceNamespace, ResourceId: ResourceId, "
    "ScalableDimension: ScalableDimension, MinCapacity: MinCapacity, "
    "MaxCapacity: MaxCapacity}"
)
ROLLOUT = (
    "services[0].{desired: desiredCount, running: runningCount, deployments: "
    "length(deployments), "
    "rollout: deployments[?status=='PRIMARY'].rolloutState | [0], "
    "reason: deployments[?status=='PRIMARY'].rolloutStateReason | [0]}"
)
STATUSES = ("ACTIVE", "INACTIVE")  # of a revision
REGISTERED = "taskDefinition.taskDefinitionArn"
NOTHING: tuple[Any, ...] = (None, [], {})
SERVICE_LINKED = ":role/aws-service-role/"  # ECS's own, which no request may name
STABLE_SECONDS = 900  # for tasks to start, and former ones to end
STABLE = "deployments == `1` && running == desired && rollout == 'COMPLETED'"


def read_running(session: Reads) -> dict[str, Running]:
    """Read every service of the parameters, by its name there."""
    p = session.parameters
    families = list(dict.fromkeys(s.task_definition for s in p.services.values()))
    states, scalables, definitions = session.together(
        [
            partial(read_states, session, list(p.services)),
            partial(_read_scalables, session),
            partial(_read_definitions, session, families),
        ]
    )
    newest = {name: definitions[s.task_definition] for name, s in p.services.items()}
    arns = {name: (state or {}).get("taskDefinition") for name, state in states.items()}
    known = {d["taskDefinitionArn"]: d for d in newest.values() if d}
    others = list(dict.fromkeys(arn for arn in arns.values() if arn not in known))
    known |= _read_definitions(session, [arn for arn in others if arn])
    return {
        name: Running(
            name,
            states[name],
            known.get(arns[name]),
            newest[name],
            scalables.get(_resource_id(p, name)),
        )
        for name in p.services
    }


def read_revised(session: Reads, found: Running) -> Running:
    """Return a service with what ECS shows of its service revision alone.

    ECS describes no revision that was made before 2024-10-25.
    """
    query = "services[0].currentServiceRevisions[].arn"
    arns = session.read(_service(session.parameters, found.service, query))
    if not (found.state and arns):
        return found
    shown = ", ".join(f"{name}: {name}" for name in REVISED)
    of_it = f"serviceRevisions[?taskDefinition=='{found.arn}']"
    newest = f"sort_by({of_it}, &to_string(createdAt))[-1].{{{shown}}}"
    call = Call("ecs", "describe_service_revisions", {"serviceRevisionArns": arns})
    return replace(found, revised=session.read(Reading(call, newest)))


def read_states(
    session: Reads, names: Collection[str]
) -> dict[str, Mapping[str, Any] | None]:
    """Read services by their names in the file; None where there is no service."""
    p = session.parameters
    named = {name: p.ecs_service_of(name) for name in p.services if name in names}
    answers = session.together(
        [
            partial(session.read, _services(p, some, STATES))
            for some in portions(list(named.values()), SERVICES)
        ]
    )
    found = {each["name"]: each["state"] for some in answers for each in some or ()}
    return {name: found.get(named[name]) for name in names}


def read_registries(session: Reads) -> set[str]:
    """Read the ARNs of the Cloud Map services in which the file's are registered."""
    states = read_states(session, list(session.parameters.services))
    settings = [state["settings"] for state in states.values() if state]
    registries = [each for said in settings for each in said["serviceRegistries"] or ()]
    return {each["registryArn"] for each in registries}


def _read_definitions(session: Reads, names: Sequence[str]) -> dict[str, Any]:
    """Read definitions by family, whose newest it is, or by ARN."""
    asks = [partial(session.read, _definition(name)) for name in names]
    return dict(zip(names, session.together(asks), strict=True))


def _read_scalables(session: Reads) -> dict[str, Mapping[str, Any]]:
    """Read which services scale by themselves, by the id that scaling has for them."""
    p = session.parameters
    ids = [_resource_id(p, name) for name in p.services]
    query = f"ScalableTargets[].{SCALABLE_OF_EACH}"
    answers = session.together(
        [
            partial(session.read, _scaling(some, query))
            for some in portions(ids, TARGETS)
        ]
    )
    return {each["ResourceId"]: each for some in answers for each in some or ()}


def _service(p: Parameters, name: str, query: str = STATE) -> Reading:
    return _services(p, [p.ecs_service_of(name)], query)


def _services(p: Parameters, services: Sequence[str], query: str) -> Reading:
    """Return a query on some services of the cluster, by their own names."""
    arguments = {"cluster": p.cluster, "services": services, "include": ["TAGS"]}
    call = Call("ecs", "describe_services", arguments)
    return Reading(call, query, ("ClusterNotFoundException",))


def _definition(name: str) -> Reading:
    call = Call(
        "ecs", "describe_task_definition", {"taskDefinition": name, "include": ["TAGS"]}
    )
    return Reading(
        call, "merge(taskDefinition, {tags: tags || `[]`})", absent=("ClientException",)
    )


def _revisions(session: Reads, family: str, status: str = "ACTIVE") -> list[str]:
    """List a family's revisions of a status. The filter is on the whole name here:
    `taskB` is not `taskBv2`.
    """
    found = session.pages(
        "ecs",
        "list_task_definitions",
        "taskDefinitionArns",
        familyPrefix=family,
        status=status,
    )
    return [arn for arn in found if family_of(arn) == family]


def read_last_definition(session: Reads, family: str) -> Mapping[str, Any] | None:
    """Read a family's newest revision, whether it is active or has been deregistered;
    None where it has none.
    """
    _, newest = _read_revisions(session, family)
    found: Mapping[str, Any] | None = None
    if newest:
        found = session.read(_definition(newest))
    return found


def read_definitions(session: Reads, family: str) -> list[Mapping[str, Any]]:
    """Read a family's active revisions, and its newest one where that has
    been deregistered.
    """
    active, newest = _read_revisions(session, family)
    arns = [arn for arn in dict.fromkeys([*active, newest]) if arn]
    return list(_read_definitions(session, arns).values())


def _read_revisions(session: Reads, family: str) -> tuple[list[str], str | None]:
    """List a family's active revisions, and name its newest of any status."""
    active, inactive = session.together(
        [partial(_revisions, session, family, status) for status in STATUSES]
    )
    return active, max([*active, *inactive], key=number_of, default=None)


def read_own_revisions(
    session: Reads, found: Running, is_own: Callable[[Mapping[str, Any]], bool]
) -> tuple[str, ...]:
    """Return the active revisions that end with a service: those of its family that
    are nobody else's.

    No other service of the cluster runs one of them or is being moved to or from it. In
    a family that others run too, only the revision that it runs is its own, and those
    of which `is_own` says so; of the rest nobody can tell.
    """
    family = session.parameters.services[found.service].task_definition
    revisions = _revisions(session, family)
    if not revisions:
        return ()
    used = _used_by_others(session, found.service)
    unused = [arn for arn in revisions if arn not in used]
    if family not in {family_of(arn) for arn in used}:
        return tuple(unused)
    others = [arn for arn in unused if arn != found.arn]
    definitions = _read_definitions(session, others)
    own = {arn for arn in others if definitions[arn] and is_own(definitions[arn])}
    return tuple(arn for arn in unused if arn == found.arn or arn in own)


def _used_by_others(session: Reads, name: str) -> set[str]:
    p = session.parameters
    own = p.ecs_service_of(name)
    arns = session.pages("ecs", "list_services", "serviceArns", cluster=p.cluster)
    others = [arn for arn in arns if short(arn) != own]
    query = (
        "services[].[taskDefinition, deployments[].taskDefinition, "
        "taskSets[].taskDefinition][][]"
    )
    answers = session.together(
        [
            partial(session.read, _of_others(p, some, query))
            for some in portions(others, SERVICES)
        ]
    )
    return {arn for some in answers for arn in some or () if arn}


def _of_others(p: Parameters, arns: Sequence[str], query: str) -> Reading:
    arguments = {"cluster": p.cluster, "services": arns}
    return Reading(Call("ecs", "describe_services", arguments), query)


def _scalable(p: Parameters, name: str) -> Reading:
    return _scaling([_resource_id(p, name)], f"ScalableTargets[0].{SCALABLE_OF_EACH}")


def _scaling(ids: Sequence[str], query: str) -> Reading:
    arguments = {"ServiceNamespace": "ecs", "ResourceIds": ids}
    call = Call("application-autoscaling", "describe_scalable_targets", arguments)
    return Reading(call, query)


def _resource_id(p: Parameters, name: str) -> str:
    return f"service/{p.cluster}/{p.ecs_service_of(name)}"


def read_counts(session: Reads, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Read how many tasks each service wants and runs; none of both where
    there is no service.
    """
    states = read_states(session, names).items()
    return {
        name: (state["desiredCount"], state["runningCount"]) if state else (0, 0)
        for name, state in states
    }


# --- a service's move to another definition
# ------------------------------------------------------------------


def deployment_order(p: Parameters, names: Sequence[str]) -> list[str]:
    """Return services so that those who answer come before those who call."""
    return ordered(names, {name: sorted(p.callees_of(name)) for name in names})


def moved(
    p: Parameters,
    found: Running,
    form: Mapping[str, Any],
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
    state: Mapping[str, Any] = found.state or {}
    after = waits if state["desiredCount"] else ()
    if same(found.definition or {}, form):
        under_way = state.get("rollout") == "IN_PROGRESS"
        return [_deploy(p, found, found.arn, after)] if under_way else []
    if found.controller != "ECS":
        raise not_ours(p, found, hint)
    _refuse_lost_targets(p, found, form)
    form = {**form, "tags": _labels(p, form)}
    if found.newest and same(found.newest, form):
        return [_deploy(p, found, found.newest["taskDefinitionArn"], after)]
    register = _register(found, form, planned)
    return [register, _deploy(p, found, Answer(register.name, REGISTERED), after)]


def _refuse_lost_targets(
    p: Parameters, found: Running, form: Mapping[str, Any]
) -> None:
    """Refuse a definition without a container that the service registers somewhere."""
    settings = (found.state or {}).get("settings") or {}
    entries = [
        entry
        for key in ("loadBalancers", "serviceRegistries")
        for entry in settings.get(key) or []
    ]
    named = {entry["containerName"] for entry in entries if entry.get("containerName")}
    containers = [container["name"] for container in form["containerDefinitions"]]
    for lost in sorted(named.difference(containers)):
        raise PlanError(
            f"ECS service {p.ecs_service_of(found.service)}: requests are sent to its "
            f"container {lost!r}; expected one of the new definition of "
            f"{form['family']}: {', '.join(containers)}",
            hint="let the service name an application's container first",
        )


def _labels(p: Parameters, form: Mapping[str, Any]) -> list[dict[str, str]]:
    own = [{"key": key, "value": value} for key, value in tags(p).items()]
    return [t for t in form.get("tags") or [] if t["key"] not in tags(p)] + own


def _register(
    found: Running, form: Mapping[str, Any], planned: Sequence[Change]
) -> Change:
    family = str(form["family"])
    name, own_family = f"task definition {family} of {found.service}", _key_of(family)
    revision, reading = Answer(name, REGISTERED), _definition(family)
    newest = found.newest["taskDefinitionArn"] if found.newest else None
    earlier = [change.name for change in planned if change.thing == own_family]
    return Change(
        name=name,
        verb="register",
        call=Call("ecs", "register_task_definition", form),
        reading=Reading(reading.call, REGISTERED, reading.absent),
        expected=Answer(earlier[-1], REGISTERED) if earlier else newest,
        wanted=revision,
        about=(own_family, f"service {found.service}"),
        inverse=Inverse(
            "deregister",
            Call("ecs", "deregister_task_definition", {"taskDefinition": revision}),
            wanted="INACTIVE",
            reading=_status(revision),
            expected="ACTIVE",
        ),
        diff=differences(_shown(found.definition or {}), _shown(form)),
    )


def _key_of(family_or_revision: str) -> str:
    """Return by what key plans speak of a task definition."""
    return f"task definition {family_or_revision}"


def _shown(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return a definition for comparison on a screen: in its normal form, without
    what may be secret.
    """
    return normalise(shown_definition(definition))


def _deploy(
    p: Parameters, found: Running, revision: str | Answer, waits: tuple[Wait, ...]
) -> Change:
    name, state = found.service, found.state or {}
    before, stable = {"taskDefinition": state["taskDefinition"]}, _stable(p, found)
    after = (
        "the revision registered above"
        if isinstance(revision, Answer)
        else short(revision)
    )
    return Change(
        name=f"service {name}",
        verb="deploy",
        call=_update(p, name, taskDefinition=revision),
        reading=_service(p, name),
        expected={"arn": state["arn"], **before},
        wanted={"taskDefinition": revision},
        about=(f"service {name}",),
        inverse=Inverse(
            "deploy", _update(p, name, **before), wanted=before, waits=(stable,)
        ),
        diff=differences(short(state["taskDefinition"]), after),
        waits=(stable, *waits),
        back_on_failure=True,
        note=found.pace.words,
    )


def regrouped(
    p: Parameters,
    found: Running,
    wanted: Sequence[Mapping[str, Any]],
    shown: Callable[[Sequence[Mapping[str, Any]]], list[str]],
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
    name, state = found.service, found.state or {}
    before = (state.get("settings") or {}).get("loadBalancers") or []
    stable = _stable(p, found)

    def call(groups: Sequence[Mapping[str, Any]]) -> Call:
        # ECS takes a grace period only beside a load balancer
        said = {"healthCheckGracePeriodSeconds": grace} if groups and grace else {}
        return _update(p, name, loadBalancers=list(groups), **said)

    former = {"settings": {"loadBalancers": before}}
    back = Inverse("regroup", call(before), wanted=former, waits=(stable,))
    return Change(
        name=f"service {name}",
        verb="regroup",
        call=call(wanted),
        reading=_service(p, name),
        expected={"arn": state["arn"], **former},
        wanted={"settings": {"loadBalancers": list(wanted)}},
        about=(f"service {name}",),
        inverse=None if no_inverse else back,
        no_inverse=no_inverse,
        diff=differences(shown(before), shown(wanted), "groups"),
        waits=(stable, *waits),
        back_on_failure=not no_inverse,
    )


def _update(p: Parameters, name: str, **wanted: Any) -> Call:
    return Call(
        "ecs",
        "update_service",
        {"cluster": p.cluster, "service": p.ecs_service_of(name), **wanted},
    )


def _stable(p: Parameters, found: Running) -> Wait:
    """Wait until a service is deployed, a bake of the service's own included."""
    return Wait(
        f"service {found.service} stable on the wanted revision",
        _service(p, found.service, ROLLOUT),
        STABLE,
        failed="rollout == 'FAILED'",
        timeout_seconds=STABLE_SECONDS + found.pace.seconds,
    )


# --- the end of a service
# -------------------------------------------------------------------------------------


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
    if found.state and found.scalable:
        changes.append(_unscale(p, found.service, found.scalable))
    if found.state and found.state["desiredCount"]:
        changes.append(_drain(p, found, found.state, back))
    if found.state:
        changes.append(_delete_service(p, found, found.state))
    changes += [_deregister(arn, found.service) for arn in revisions]
    return Plan("06_tear_down_service_b", tuple(changes))


def _refuse_to_end(p: Parameters, found: Running) -> None:
    if found.controller == "ECS" and not (found.is_daemon or found.is_express):
        return
    kind = f"deploymentController {found.controller}"
    if found.is_daemon:
        kind = "schedulingStrategy DAEMON"
    elif found.is_express:
        kind = "an Express mode service"
    raise PlanError(
        f"ECS service {p.ecs_service_of(found.service)}: expected a REPLICA service "
        f"that ECS deploys, found {kind}: "
        "it could not be drained, and not be brought back as it was",
        hint="end it by what deploys it, once no request reaches it",
    )


def plan_capacity(p: Parameters, found: Running, least: int) -> Plan:
    """Plan that a service's scaling never goes below `least` tasks; nothing where it
    does not scale by itself.
    """
    target = found.scalable
    if not target or target["MinCapacity"] >= least:
        return Plan("05_shift_traffic")
    wanted = {
        **target,
        "MinCapacity": least,
        "MaxCapacity": max(least, target["MaxCapacity"]),
    }
    write = ("application-autoscaling", "register_scalable_target")
    change = Change(
        name=f"scaling of {found.service}",
        verb="update",
        call=Call(*write, wanted),
        reading=_scalable(p, found.service),
        expected=target,
        wanted=wanted,
        about=_scaling_of(found.service),
        inverse=Inverse("update", Call(*write, target), wanted=target),
        diff=differences(target, wanted),
    )
    return Plan("05_shift_traffic", (change,))


def _scaling_of(name: str) -> tuple[str, ...]:
    return (f"scaling of {name}", f"service {name}")


def _unscale(p: Parameters, name: str, target: Mapping[str, Any]) -> Change:
    own = {
        key: target[key]
        for key in ("ServiceNamespace", "ResourceId", "ScalableDimension")
    }
    return Change(
        name=f"scaling of {name}",
        verb="delete",
        call=Call("application-autoscaling", "deregister_scalable_target", own),
        reading=_scalable(p, name),
        expected=target,
        wanted=None,
        about=_scaling_of(name),
        inverse=Inverse(
            "create",
            Call("application-autoscaling", "register_scalable_target", target),
            wanted=target,
        ),
        diff=differences(target, {}),
        note="its policies and scheduled actions go with it, and do not come back "
        "by undo",
    )


def _drain(
    p: Parameters, found: Running, state: Mapping[str, Any], back: tuple[Wait, ...]
) -> Change:
    name, count = found.service, state["desiredCount"]
    again = _update(p, name, desiredCount=count)
    return Change(
        name=f"service {name}'s tasks",
        verb="scale",
        call=_update(p, name, desiredCount=0),
        reading=_service(p, name),
        expected={"arn": state["arn"], "desiredCount": count},
        wanted={"desiredCount": 0},
        about=(f"service {name}",),
        inverse=Inverse(
            "scale",
            again,
            wanted={"desiredCount": count},
            waits=(running_again(p, name, count), *back),
        ),
        diff=differences(count, 0, "desiredCount"),
        waits=(
            Wait(f"no task of {name}", _service(p, name, ROLLOUT), "running == `0`"),
        ),
    )


def _delete_service(p: Parameters, found: Running, state: Mapping[str, Any]) -> Change:
    name = found.service
    settings, lost = _recreated(found, state)
    again = {
        "cluster": p.cluster,
        **settings,
        "taskDefinition": state["taskDefinition"],
        "desiredCount": 0,
    }
    status = _service(p, name, "{status: services[0].status}")
    return Change(
        name=f"service {name}",
        verb="delete",
        call=Call(
            "ecs",
            "delete_service",
            {"cluster": p.cluster, "service": p.ecs_service_of(name)},
        ),
        reading=_service(p, name),
        expected={"arn": state["arn"], "desiredCount": 0},
        wanted=None,
        about=(f"service {name}",),
        inverse=Inverse(
            "create", Call("ecs", "create_service", again), wanted={"desiredCount": 0}
        ),
        diff=differences(p.ecs_service_of(name), None, "service"),
        note=f"do not come back by undo: {'; '.join(lost)}" if lost else "",
        waits=(
            Wait(
                f"service {name} gone", status, "status == null || status == 'INACTIVE'"
            ),
        ),
    )


def _recreated(
    found: Running, state: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return what CreateService takes of a service as it is, and in words what it
    cannot be given again.
    """
    shown = {**state["settings"], **(found.revised or {})}
    settings = {key: value for key, value in shown.items() if value not in NOTHING}
    if "loadBalancers" not in settings:  # without one CreateService does not take it
        settings.pop("healthCheckGracePeriodSeconds", None)
    role = state.get("role") or ""
    if role and SERVICE_LINKED not in role:
        settings["role"] = role
    labels = [tag["key"] for tag in settings.pop("tags", [])]
    lost = []
    if labels:
        lost.append(f"its tags, which are not recorded ({', '.join(labels)})")
    if found.revised is None:
        lost.append(
            "a gateway connector and monitoring, if it has any: ECS describes no "
            "revision of this service"
        )
    return settings, lost


def _status(revision: str | Answer) -> Reading:
    call = Call("ecs", "describe_task_definition", {"taskDefinition": revision})
    return Reading(call, "taskDefinition.status", absent=("ClientException",))


def _deregister(arn: str, service: str) -> Change:
    """Return the end of one revision. Registering it again makes a new one: revision
    numbers are never reused.
    """
    left_out = ", ".join(
        f"{key}: `null`" for key in sorted(READ_ONLY | {"inferenceAccelerators"})
    )
    form = Reading(
        _definition(arn).call, f"merge(taskDefinition, {{tags: tags, {left_out}}})"
    )
    again = Call("ecs", "register_task_definition", form)
    return Change(
        name=_key_of(short(arn)),
        verb="deregister",
        call=Call("ecs", "deregister_task_definition", {"taskDefinition": arn}),
        reading=_status(arn),
        expected="ACTIVE",
        wanted="INACTIVE",
        about=(_key_of(short(arn)), f"service {service}"),
        inverse=Inverse(
            "register", again, wanted="INACTIVE", renames=arn, answer=REGISTERED
        ),
        diff=differences("ACTIVE", "INACTIVE", "status"),
    )
