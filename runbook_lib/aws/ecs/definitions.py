"""Read task definitions: the newest of a family, those of a service, all of its own.

`read_` functions read; all others are pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from runbook_lib.aws.ecs.arns import family_of, number_of, short
from runbook_lib.aws.ecs.queries import SERVICES
from runbook_lib.aws.ecs.running import Running
from runbook_lib.aws.reads import Reads, read_each, read_in_portions
from runbook_lib.plan import Call, Reading

Definition = Mapping[str, Any]

IN_USE = (
    "services[].[taskDefinition, deployments[].taskDefinition, "
    "taskSets[].taskDefinition][][]"
)


def reading_of_definition(name: str) -> Reading:
    """Return how a definition is read, by family, whose newest it is, or by ARN."""
    arguments = {"taskDefinition": name, "include": ["TAGS"]}
    call = Call("ecs", "describe_task_definition", arguments)
    with_tags = "merge(taskDefinition, {tags: tags || `[]`})"
    return Reading(call, with_tags, absent=("ClientException",))


def read_by_name(session: Reads, names: Sequence[str]) -> dict[str, Definition | None]:
    """Read definitions by family, whose newest it is, or by ARN."""
    readings = [reading_of_definition(name) for name in names]
    answers = read_each(session, readings)
    return dict(zip(names, answers, strict=True))


def read_last_definition(session: Reads, family: str) -> Definition | None:
    """Read a family's newest revision, whether it is active or has been deregistered;
    None where it has none.
    """
    newest = _read_revisions(session, family).newest
    if newest is None:
        return None
    definition: Definition | None = session.read(reading_of_definition(newest))
    return definition


def read_definitions(session: Reads, family: str) -> list[Definition]:
    """Read a family's active revisions, and its newest one where that has
    been deregistered.
    """
    revisions = _read_revisions(session, family)
    arns = revisions.active
    if revisions.newest and revisions.newest not in arns:
        arns = [*arns, revisions.newest]
    definitions = read_by_name(session, arns).values()
    return [each for each in definitions if each]


@dataclass(frozen=True, slots=True)
class _Revisions:
    """A family's active revisions, and its newest one of any status, by ARN."""

    active: list[str]
    newest: str | None


def _read_revisions(session: Reads, family: str) -> _Revisions:
    active, inactive = session.together(
        [
            partial(_read_listed, session, family, "ACTIVE"),
            partial(_read_listed, session, family, "INACTIVE"),
        ]
    )
    newest = max([*active, *inactive], key=number_of, default=None)
    return _Revisions(active, newest)


def _read_listed(session: Reads, family: str, status: str) -> list[str]:
    """List a family's revisions of a status. The filter is on the whole name here:
    `taskB` is not `taskBv2`.
    """
    arns = session.pages(
        "ecs",
        "list_task_definitions",
        "taskDefinitionArns",
        familyPrefix=family,
        status=status,
    )
    return [arn for arn in arns if family_of(arn) == family]


# --- the revisions that end with a service --------------------------------------------


def read_own_revisions(
    session: Reads, found: Running, is_own: Callable[[Definition], bool]
) -> tuple[str, ...]:
    """Return the active revisions that end with a service: those of its family that
    are nobody else's.

    No other service of the cluster runs one of them or is being moved to or from it. In
    a family that others run too, only the revision that it runs is its own, and those
    of which `is_own` says so; of the rest nobody can tell.
    """
    family = session.parameters.services[found.service].task_definition
    active = _read_listed(session, family, "ACTIVE")
    if not active:
        return ()
    used = _read_used_by_others(session, found.service)
    unused = [arn for arn in active if arn not in used]
    used_families = {family_of(arn) for arn in used}
    if family not in used_families:
        return tuple(unused)
    unclear = [arn for arn in unused if arn != found.arn]
    definitions = read_by_name(session, unclear)
    own = []
    for arn in unused:
        definition = definitions.get(arn)
        if arn == found.arn or (definition and is_own(definition)):
            own.append(arn)
    return tuple(own)


def _read_used_by_others(session: Reads, name: str) -> set[str]:
    """Read which revisions the cluster's other services run or are being moved to."""
    p = session.parameters
    own = p.ecs_service_of(name)
    services = session.pages("ecs", "list_services", "serviceArns", cluster=p.cluster)
    others = [arn for arn in services if short(arn) != own]
    in_use = partial(_in_use, p.cluster)
    used = read_in_portions(session, others, SERVICES, in_use)
    return {arn for arn in used if arn}


def _in_use(cluster: str, services: Sequence[str]) -> Reading:
    """Return how the revisions are read that these services run."""
    arguments = {"cluster": cluster, "services": services}
    return Reading(Call("ecs", "describe_services", arguments), IN_USE)
