"""Register a revision of a task definition, and deregister one, as changes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runbook_lib.aws.ecs.arns import short
from runbook_lib.aws.ecs.definitions import Definition, reading_of_definition
from runbook_lib.aws.ecs.running import Running
from runbook_lib.aws.naming import tags
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Answer, Call, Change, Inverse, Reading, differences
from runbook_lib.redaction import shown_definition
from runbook_lib.task_definition.form import READ_ONLY, normalise

REGISTERED = "taskDefinition.taskDefinitionArn"
STATUS = "taskDefinition.status"
# What DescribeTaskDefinition shows and RegisterTaskDefinition does not take again.
NOT_TAKEN = sorted(READ_ONLY | {"inferenceAccelerators"})


def labelled(p: Parameters, form: Definition) -> dict[str, Any]:
    """Return a definition with the tags that mark what the runbook made."""
    own = tags(p)
    kept = [tag for tag in form.get("tags") or [] if tag["key"] not in own]
    added = [{"key": key, "value": value} for key, value in own.items()]
    return {**form, "tags": kept + added}


def registered(found: Running, form: Definition, planned: Sequence[Change]) -> Change:
    """Return what registers a definition for a service as its family's next revision.

    `planned` are the changes before: one of them may register a revision of the same
    family.
    """
    family = str(form["family"])
    name = f"task definition {family} of {found.service}"
    revision = Answer(name, REGISTERED)
    newest = reading_of_definition(family)
    deregister = Inverse(
        "deregister",
        Call("ecs", "deregister_task_definition", {"taskDefinition": revision}),
        wanted="INACTIVE",
        reading=_status_of(revision),
        expected="ACTIVE",
    )
    return Change(
        name=name,
        verb="register",
        call=Call("ecs", "register_task_definition", form),
        reading=Reading(newest.call, REGISTERED, newest.absent),
        expected=_newest_before(found, family, planned),
        wanted=revision,
        about=(_key_of(family), f"service {found.service}"),
        inverse=deregister,
        diff=differences(_compared(found.definition or {}), _compared(form)),
    )


def _newest_before(
    found: Running, family: str, planned: Sequence[Change]
) -> str | Answer | None:
    """Return which revision is its family's newest once `planned` are made."""
    registrations = [change for change in planned if change.thing == _key_of(family)]
    if registrations:
        return Answer(registrations[-1].name, REGISTERED)
    if found.newest:
        return str(found.newest["taskDefinitionArn"])
    return None


def deregistered(arn: str, service: str) -> Change:
    """Return the end of one revision. Registering it again makes a new one: revision
    numbers are never reused.
    """
    again = Inverse(
        "register",
        Call("ecs", "register_task_definition", _registrable(arn)),
        wanted="INACTIVE",
        renames=arn,
        answer=REGISTERED,
    )
    key = _key_of(short(arn))
    return Change(
        name=key,
        verb="deregister",
        call=Call("ecs", "deregister_task_definition", {"taskDefinition": arn}),
        reading=_status_of(arn),
        expected="ACTIVE",
        wanted="INACTIVE",
        about=(key, f"service {service}"),
        inverse=again,
        diff=differences("ACTIVE", "INACTIVE", "status"),
    )


def _registrable(arn: str) -> Reading:
    """Return how a revision is read as RegisterTaskDefinition takes it."""
    left_out = ", ".join(f"{key}: `null`" for key in NOT_TAKEN)
    query = f"merge(taskDefinition, {{tags: tags, {left_out}}})"
    return Reading(reading_of_definition(arn).call, query)


def _status_of(revision: str | Answer) -> Reading:
    call = Call("ecs", "describe_task_definition", {"taskDefinition": revision})
    return Reading(call, STATUS, absent=("ClientException",))


def _key_of(family_or_revision: str) -> str:
    """Return by what key plans speak of a task definition."""
    return f"task definition {family_or_revision}"


def _compared(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return a definition for comparison on a screen: in its normal form, without
    what may be secret.
    """
    return normalise(shown_definition(definition))
