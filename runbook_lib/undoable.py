"""Say which calls an undo may make: those that this product's own planners plan, on what the file names.

Pure. A record is data and may have been written by anybody: what it asks for that no planner could have asked
for is refused by the number of its line, before any call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from runbook_lib import iam
from runbook_lib.aws.cloud_map import PLACEHOLDER
from runbook_lib.aws.ecs import REGISTERED
from runbook_lib.mesh_spec import partition
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Answer, Call, Inverse, Reading
from runbook_lib.redaction import MASK

__all__ = ["READS", "WRITES", "obstacle", "obstacle_to_reading", "role_of"]

Arguments = Mapping[str, Any]


def _in_mesh(p: Parameters, given: Arguments) -> bool:
    return bool(given.get("meshName") == p.mesh.name)


def _of_mesh(p: Parameters, given: Arguments) -> bool:
    own = f"arn:{partition(p)}:appmesh:{p.region}:{p.account_id}:mesh/{p.mesh.name}"
    arn = str(given.get("resourceArn"))
    return arn == own or arn.startswith(f"{own}/")


def _of_service(p: Parameters, given: Arguments) -> bool:
    """A service that the file names; where it comes with a definition, that is one of a family that the file names."""
    named = {given.get("service"), given.get("serviceName")} - {None}
    own = {p.ecs_service_of(name) for name in p.services}
    ours = given.get("cluster") == p.cluster and len(named) == 1 and named <= own
    return ours and ("taskDefinition" not in given or _of_definition(p, given))


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
    own = f"arn:{partition(p)}:ecs:{p.region}:{p.account_id}:task-definition/"
    if not isinstance(named, str) or not named.startswith(own):
        return False
    family, _, number = named.removeprefix(own).rpartition(":")
    families = {service.task_definition for service in p.services.values()}
    return family in families and number.isdigit()


def _by_reference(p: Parameters, given: Any) -> bool:
    """A definition is registered again from AWS's own copy of a former revision, never from a record's text."""
    if not isinstance(given, Reading) or not COPY.fullmatch(given.query):
        return False
    call = given.call
    named = call.arguments.get("taskDefinition") if isinstance(call.arguments, Mapping) else None
    return call.operation == "describe_task_definition" and _is_revision(p, named)


def _of_placeholder(p: Parameters, given: Arguments) -> bool:
    return bool(given.get("InstanceId") == PLACEHOLDER)


def _of_policy(p: Parameters, given: Arguments) -> bool:
    """Only the policy that the file asks for, under the name it has there."""
    own = {iam.policy_name(p, name): iam.policy(p, name) for name in p.services}
    name, said = str(given.get("PolicyName")), given.get("PolicyDocument")
    return name in own and (said is None or json.loads(said) == own[name])


def _of_managed_policy(p: Parameters, given: Arguments) -> bool:
    return given.get("PolicyArn") in {f"arn:{partition(p)}:iam::aws:policy/{name}" for name in iam.MANAGED}


def _of_role_tag(p: Parameters, given: Arguments) -> bool:
    keys = [tag["Key"] for tag in given.get("Tags", [])] + list(given.get("TagKeys", []))
    return bool(keys) and all(str(key).startswith("runbook") for key in keys)


COPY = re.compile(r"merge\(taskDefinition, \{tags: tags(, \w+: `null`)*\}\)")
KINDS = ("mesh", "virtual_service", "virtual_node", "virtual_router", "route")
WRITES: dict[tuple[str, str], Callable[[Parameters, Any], bool]] = {
    **{("appmesh", f"{verb}_{kind}"): _in_mesh for verb in ("create", "update", "delete") for kind in KINDS},
    ("appmesh", "tag_resource"): _of_mesh,
    ("appmesh", "untag_resource"): _of_mesh,
    ("ecs", "create_service"): _of_service,
    ("ecs", "update_service"): _of_service,
    ("ecs", "delete_service"): _of_service,
    ("ecs", "deregister_task_definition"): _of_definition,
    ("ecs", "register_task_definition"): _by_reference,
    ("application-autoscaling", "register_scalable_target"): _of_scaling,
    ("application-autoscaling", "deregister_scalable_target"): _of_scaling,
    ("servicediscovery", "register_instance"): _of_placeholder,
    ("servicediscovery", "deregister_instance"): _of_placeholder,
    ("iam", "put_role_policy"): _of_policy,
    ("iam", "delete_role_policy"): _of_policy,
    ("iam", "attach_role_policy"): _of_managed_policy,
    ("iam", "detach_role_policy"): _of_managed_policy,
    ("iam", "tag_role"): _of_role_tag,
    ("iam", "untag_role"): _of_role_tag,
}
READS = {
    *(("appmesh", f"describe_{kind}") for kind in KINDS),
    ("appmesh", "list_tags_for_resource"),
    ("ecs", "describe_services"),
    ("ecs", "describe_task_definition"),
    ("ecs", "describe_tasks"),
    ("ecs", "list_tasks"),
    ("application-autoscaling", "describe_scalable_targets"),
    ("servicediscovery", "get_instance"),
    ("servicediscovery", "list_instances"),
    ("iam", "get_role"),
    ("iam", "get_role_policy"),
    ("iam", "list_attached_role_policies"),
}


def obstacle(p: Parameters, inverse: Inverse) -> str:
    """Say why an inverse may not be applied; "" where it may."""
    call = inverse.call
    what = f"{call.service} {call.operation}"
    rule = WRITES.get((call.service, call.operation))
    if rule is None:
        return f"{what} is no call that undo makes"
    by_reference = isinstance(call.arguments, Reading)
    if by_reference != (rule is _by_reference) or not rule(p, call.arguments):
        return f"{what} is about something that {p.environment}'s file does not name"
    if isinstance(call.arguments, Mapping) and _computed({**call.arguments, "taskDefinition": ""}):
        return f"{what} would write what a record computes"
    if inverse.renames and not (_is_revision(p, inverse.renames) and inverse.answer == REGISTERED):
        return f"{what} would give {inverse.renames!r} a name that a record computes"
    if _masked(asdict(inverse)):
        return f"{what} would write text that was masked"
    readings = [inverse.reading, *(wait.reading for wait in (*inverse.ready, *inverse.waits))]
    return next(filter(None, (obstacle_to_reading(reading) for reading in readings if reading)), "")


def role_of(inverse: Inverse) -> Any:
    """Return the name of the role that an inverse is about; "" where it is about none."""
    given = inverse.call.arguments
    return given.get("RoleName") if inverse.call.service == "iam" and isinstance(given, Mapping) else ""


def obstacle_to_reading(reading: Reading) -> str:
    """Say why something may not be read on behalf of a record; "" where it may."""
    for call in _calls(reading):
        if (call.service, call.operation) not in READS:
            return f"{call.service} {call.operation} is no reading of this product"
    return ""


def _calls(value: Any) -> Iterator[Call]:
    """Yield each call by which a reading, or what it takes its arguments from, is made."""
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
    """Say whether a value is not all there, but is to be read or answered first: by a query that is a record's."""
    if isinstance(value, Mapping):
        return any(map(_computed, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_computed, value))
    return isinstance(value, Reading | Answer)


def _masked(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_masked, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_masked, value))
    return isinstance(value, str) and MASK in value
