"""Tags of ECS services, tasks and task definitions, by ARN; those of
clusters are moto's.
"""

from __future__ import annotations

from typing import Any, Final

from runbook_lib.local.control_plane.ecs_resources import (
    Definition,
    EcsBackend,
    Service,
    Task,
    refusal,
)
from runbook_lib.local.control_plane.task_definitions import find

__all__ = ["OPERATIONS"]

Members = dict[str, Any]


def _resource(ecs: EcsBackend, arn: str) -> Service | Task | Definition | None:
    """Return what carries the tags, or None for a kind that is moto's."""
    kind = arn.split(":", 5)[-1].split("/")[0]
    if kind not in ("service", "task", "task-definition"):
        return None
    places: dict[str, Service | Task | Definition | None] = {
        "service": ecs.state.services.get(arn),
        "task": ecs.state.tasks.get(arn.rsplit("/", 1)[-1]),
        "task-definition": find(ecs.state, arn),
    }
    if found := places[kind]:
        return found
    raise refusal(
        "InvalidParameterException", "The specified resource cannot be found."
    )


def _tag(ecs: EcsBackend, members: Members) -> Members | None:
    if not (resource := _resource(ecs, members["resourceArn"])):
        return None
    keys = {tag["key"] for tag in members["tags"]}
    merged = [tag for tag in resource.tags if tag["key"] not in keys] + members["tags"]
    if len(merged) > 50:
        raise refusal(
            "InvalidParameterException",
            "Too many tags. A resource can have at most 50.",
        )
    resource.tags = merged
    return {}


def _untag(ecs: EcsBackend, members: Members) -> Members | None:
    if not (resource := _resource(ecs, members["resourceArn"])):
        return None
    resource.tags = [
        tag for tag in resource.tags if tag["key"] not in members["tagKeys"]
    ]
    return {}


def _list(ecs: EcsBackend, members: Members) -> Members | None:
    resource = _resource(ecs, members["resourceArn"])
    return {"tags": resource.tags} if resource else None


OPERATIONS: Final = {
    "TagResource": _tag,
    "UntagResource": _untag,
    "ListTagsForResource": _list,
}
