"""Say which calls an undo may make: those that this product's own planners plan, on
what the file names.

Pure. A record is data and may have been written by anybody: what it asks for that no
planner could have asked for is refused by the number of its line, before any call. An
engine adds its own part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from runbook_lib.aws.cloud_map import PLACEHOLDER
from runbook_lib.aws.ecs import REGISTERED
from runbook_lib.engines.protocol import Permitted, Undoable
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Answer, Call, Change, Inverse, Reading, leaves
from runbook_lib.redaction import MASK

__all__ = ["READS", "WRITES", "obstacle", "obstacle_to_readings"]

Arguments = Mapping[str, Any]


def _of_service(p: Parameters, given: Arguments) -> bool:
    """A service that the file names; where it comes with a definition, that is one of a
    family that the file names.
    """
    named = {given.get("service"), given.get("serviceName")} - {None}
    own = {p.ecs_service_of(name) for name in p.services}
    if given.get("cluster") != p.cluster:
        return False
    if len(named) != 1 or not named <= own:
        return False
    return "taskDefinition" not in given or _of_definition(p, given)


def _of_scaling(p: Parameters, given: Arguments) -> bool:
    own = {f"service/{p.cluster}/{p.ecs_service_of(name)}" for name in p.services}
    return given.get("ServiceNamespace") == "ecs" and given.get("ResourceId") in own


def _of_definition(p: Parameters, given: Arguments) -> bool:
    named = given.get("taskDefinition")
    if isinstance(named, Answer):
        return named.query == REGISTERED
    return _is_revision(p, named)


def _is_revision(p: Parameters, named: Any) -> bool:
    """Say whether this is the ARN of a revision, of a family that the file names."""
    if not isinstance(named, str):
        return False
    here = rf"arn:[\w-]+:ecs:{re.escape(p.region)}:{p.account_id}:task-definition/"
    found = re.fullmatch(rf"{here}(?P<family>[\w-]+):\d+", named)
    if found is None:
        return False
    families = {service.task_definition for service in p.services.values()}
    return found["family"] in families


def _by_reference(p: Parameters, given: Any) -> bool:
    """A definition is registered again from AWS's own copy of a former revision, never
    from a record's text.
    """
    if not isinstance(given, Reading) or not COPY.fullmatch(given.query):
        return False
    operation, arguments = given.call.operation, given.call.arguments
    if operation != "describe_task_definition" or not isinstance(arguments, Mapping):
        return False
    return _is_revision(p, arguments.get("taskDefinition"))


def _of_placeholder(p: Parameters, given: Arguments) -> bool:
    return bool(given.get("InstanceId") == PLACEHOLDER)


COPY = re.compile(r"merge\(taskDefinition, \{tags: tags(, \w+: `null`)*\}\)")
WRITES: dict[tuple[str, str], Permitted] = {
    ("ecs", "create_service"): _of_service,
    ("ecs", "update_service"): _of_service,
    ("ecs", "delete_service"): _of_service,
    ("ecs", "deregister_task_definition"): _of_definition,
    ("ecs", "register_task_definition"): _by_reference,
    ("application-autoscaling", "register_scalable_target"): _of_scaling,
    ("application-autoscaling", "deregister_scalable_target"): _of_scaling,
    ("servicediscovery", "register_instance"): _of_placeholder,
    ("servicediscovery", "deregister_instance"): _of_placeholder,
}
READS = {
    ("ecs", "describe_services"),
    ("ecs", "describe_task_definition"),
    ("ecs", "describe_tasks"),
    ("ecs", "list_tasks"),
    ("application-autoscaling", "describe_scalable_targets"),
    ("servicediscovery", "get_instance"),
    ("servicediscovery", "list_instances"),
}


def obstacle(p: Parameters, own: Undoable, inverse: Inverse) -> str:
    """Say why an inverse may not be applied; "" where it may. `own` is
    the engine's part.
    """
    call = inverse.call
    what = f"{call.service} {call.operation}"
    writes = {**WRITES, **own.writes}
    rule = writes.get((call.service, call.operation))
    if rule is None:
        return f"{what} is no call that undo makes"
    if not _permits(rule, p, call.arguments):
        return f"{what} is about something that {p.environment}'s file does not name"
    if _computes(call.arguments):
        return f"{what} would write what a record computes"
    if inverse.renames and not _is_rename(p, inverse):
        return f"{what} would give {inverse.renames!r} a name that a record computes"
    if _is_masked(inverse):
        return f"{what} would write text that was masked"
    return obstacle_to_readings(own, inverse)


def _permits(rule: Permitted, p: Parameters, arguments: Arguments | Reading) -> bool:
    """Say whether a rule permits arguments; one alone is about a reading of them."""
    wants_reading = rule is _by_reference
    if isinstance(arguments, Reading) != wants_reading:
        return False
    return rule(p, arguments)


def _computes(arguments: Arguments | Reading) -> bool:
    """Say whether arguments hold what is computed, but for a revision just made."""
    if isinstance(arguments, Reading):
        return False
    return any(_computed(v) for k, v in arguments.items() if k != "taskDefinition")


def _is_rename(p: Parameters, inverse: Inverse) -> bool:
    """Say whether what comes back under another name is a revision of the file's."""
    return inverse.answer == REGISTERED and _is_revision(p, inverse.renames)


def obstacle_to_readings(own: Undoable, part: Change | Inverse) -> str:
    """Say why a record's change or inverse may not read what it reads and waits for;
    "" where it may.
    """
    waits = [wait.reading for wait in (*part.ready, *part.waits)]
    for call in _calls([part.reading, *waits]):
        if (call.service, call.operation) not in READS | own.reads:
            return f"{call.service} {call.operation} is no reading of this product"
    return ""


def _calls(value: Any) -> Iterator[Call]:
    """Yield each call by which a reading, or what it takes its
    arguments from, is made.
    """
    if isinstance(value, Reading):
        yield from _calls(value.call)
    elif isinstance(value, Call):
        yield value
        yield from _calls(value.arguments)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _calls(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _calls(inner)


def _computed(value: Any) -> bool:
    """Say whether a value is not all there, but is to be read or answered first: by a
    query that is a record's.
    """
    if isinstance(value, Mapping):
        return any(map(_computed, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_computed, value))
    return isinstance(value, Reading | Answer)


def _is_masked(inverse: Inverse) -> bool:
    """Say whether text in an inverse, or in what it waits for, was masked."""
    texts = [leaf for leaf in leaves(asdict(inverse)) if isinstance(leaf, str)]
    return any(MASK in text for text in texts)
