"""Read the ECS services of the file: what each wants, runs, and was made of.

`read_` functions read; all others are pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from runbook_lib.aws.ecs.definitions import Definition, read_by_name
from runbook_lib.aws.ecs.queries import (
    REVISED,
    ROLLOUT,
    SERVICES,
    STABLE,
    STATE,
    STATES,
    fields,
)
from runbook_lib.aws.ecs.running import Running
from runbook_lib.aws.ecs.scaling import read_scalables
from runbook_lib.aws.reads import Reads, read_in_portions
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Reading, Wait

State = Mapping[str, Any]

REVISIONS = "services[0].currentServiceRevisions[].arn"
STABLE_SECONDS = 900  # for tasks to start, and former ones to end


def read_running(session: Reads) -> dict[str, Running]:
    """Read every service of the parameters, by its name there."""
    p = session.parameters
    families = dict.fromkeys(each.task_definition for each in p.services.values())
    states, scalables, newest = session.together(
        [
            partial(read_states, session, list(p.services)),
            partial(read_scalables, session),
            partial(read_by_name, session, list(families)),
        ]
    )
    there = [state for state in states.values() if state]
    in_use = _read_in_use(session, there, newest.values())
    running: dict[str, Running] = {}
    for name, service in p.services.items():
        state = states[name]
        definition = in_use.get(state["taskDefinition"]) if state else None
        running[name] = Running(
            service=name,
            state=state,
            definition=definition,
            newest=newest[service.task_definition],
            scalable=scalables[name],
        )
    return running


def _read_in_use(
    session: Reads, states: Iterable[State], newest: Iterable[Definition | None]
) -> dict[str, Definition | None]:
    """Read the definitions that services run, by ARN: those that are their family's
    newest have been read.
    """
    definitions: dict[str, Definition | None] = {}
    for definition in newest:
        if definition:
            definitions[definition["taskDefinitionArn"]] = definition
    arns = dict.fromkeys(state["taskDefinition"] for state in states)
    others = [arn for arn in arns if arn and arn not in definitions]
    return definitions | read_by_name(session, others)


def read_states(session: Reads, names: Collection[str]) -> dict[str, State | None]:
    """Read services by their names in the file; None where there is no service."""
    p = session.parameters
    own_names = [p.ecs_service_of(name) for name in p.services if name in names]
    reading_of = partial(_reading, p, query=STATES)
    listed = read_in_portions(session, own_names, SERVICES, reading_of)
    states: dict[str, State] = {shown["name"]: shown["state"] for shown in listed}
    return {name: states.get(p.ecs_service_of(name)) for name in names}


def read_counts(session: Reads, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Read how many tasks each service wants and runs; none of both where
    there is no service.
    """
    counts = dict.fromkeys(names, (0, 0))
    for name, state in read_states(session, names).items():
        if state:
            counts[name] = (state["desiredCount"], state["runningCount"])
    return counts


def read_registries(session: Reads) -> set[str]:
    """Read the ARNs of the Cloud Map services in which the file's are registered."""
    registries: set[str] = set()
    for state in read_states(session, list(session.parameters.services)).values():
        if state:
            entries = state["settings"]["serviceRegistries"] or ()
            registries.update(entry["registryArn"] for entry in entries)
    return registries


def read_revised(session: Reads, found: Running) -> Running:
    """Return a service with what ECS shows of its service revision alone.

    ECS describes no revision that was made before 2024-10-25.
    """
    of_service = reading_of_service(session.parameters, found.service, REVISIONS)
    revisions = session.read(of_service)
    if not (found.state and revisions):
        return found
    arguments = {"serviceRevisionArns": revisions}
    call = Call("ecs", "describe_service_revisions", arguments)
    of_definition = f"serviceRevisions[?taskDefinition=='{found.arn}']"
    newest = f"sort_by({of_definition}, &to_string(createdAt))[-1]"
    shown = fields({name: name for name in REVISED})
    return replace(found, revised=session.read(Reading(call, f"{newest}.{shown}")))


def reading_of_service(p: Parameters, name: str, query: str = STATE) -> Reading:
    """Return how a query on one service is read; without one, its state."""
    return _reading(p, [p.ecs_service_of(name)], query)


def _reading(p: Parameters, own_names: Sequence[str], query: str) -> Reading:
    """Return a query on some services of the cluster, by their own names."""
    arguments = {"cluster": p.cluster, "services": own_names, "include": ["TAGS"]}
    call = Call("ecs", "describe_services", arguments)
    return Reading(call, query, ("ClusterNotFoundException",))


def update_call(p: Parameters, name: str, **wanted: Any) -> Call:
    """Return the call that gives a service what is wanted; all else stays."""
    service = p.ecs_service_of(name)
    arguments = {"cluster": p.cluster, "service": service, **wanted}
    return Call("ecs", "update_service", arguments)


def stable_again(p: Parameters, found: Running) -> Wait:
    """Wait until a service is deployed, a bake of the service's own included."""
    return Wait(
        f"service {found.service} stable on the wanted revision",
        reading_of_service(p, found.service, ROLLOUT),
        STABLE,
        failed="rollout == 'FAILED'",
        timeout_seconds=STABLE_SECONDS + found.pace.seconds,
    )
