"""Task definitions: register, describe, list, deregister, delete. Revisions rise by one
and are never used again.

A deleted revision leaves its place behind, empty. Running tasks carry their own
copy and mind neither.
"""

from __future__ import annotations

import re
import time
from copy import deepcopy
from typing import Any, Final

from runbook_lib.local.control_plane.ecs_resources import (
    Definition,
    EcsBackend,
    EcsState,
    refusal,
)
from runbook_lib.local.control_plane.paging import page
from runbook_lib.local.control_plane.task_definition_rules import (
    check_definition,
    fargate_accepts,
    normalised,
)

__all__ = ["OPERATIONS", "find", "usable"]

Members = dict[str, Any]


def find(state: EcsState, text: str) -> Definition | None:
    """Return a revision by ARN, `family:revision` or `family`, which means its
    latest ACTIVE one.
    """
    family, _, revision = text.rsplit("/", 1)[-1].partition(":")
    revisions = [
        d
        for d in state.definitions.get(family, [])
        if d.document["status"] != "DELETED"
    ]
    if revision:
        return next(
            (d for d in revisions if str(d.document["revision"]) == revision), None
        )
    return next(
        (d for d in reversed(revisions) if d.document["status"] == "ACTIVE"), None
    )


def usable(state: EcsState, text: str) -> Definition:
    """Return a revision a service may be given; raise ClientException for none
    or an inactive one.
    """
    found = find(state, text)
    if found is None:
        raise refusal("ClientException", "TaskDefinition not found.")
    if found.document["status"] != "ACTIVE":
        raise refusal("ClientException", "TaskDefinition is inactive")
    return found


def _register(ecs: EcsBackend, members: Members) -> Members:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", members["family"]):
        raise refusal("ClientException", "Family contains invalid characters.")
    document = normalised(members)
    check_definition(members, document)
    revisions = ecs.state.definitions.setdefault(members["family"], [])
    document["revision"] = len(revisions) + 1
    path = f"task-definition/{members['family']}:{document['revision']}"
    compatible = ["EC2", "FARGATE"] if fargate_accepts(document) else ["EC2"]
    document |= {
        "taskDefinitionArn": ecs.state.arn(path),
        "status": "ACTIVE",
        "compatibilities": compatible,
    }
    document["registeredBy"] = f"arn:aws:iam::{ecs.account_id}:root"
    made = Definition(document, deepcopy(members.get("tags", [])), time.time())
    revisions.append(made)
    return {"taskDefinition": made.describe(), "tags": made.tags}


def _described(ecs: EcsBackend, text: str) -> Definition:
    if found := find(ecs.state, text):
        return found
    raise refusal("ClientException", "Unable to describe task definition.")


def _describe(ecs: EcsBackend, members: Members) -> Members:
    found = _described(ecs, members["taskDefinition"])
    tags = found.tags if "TAGS" in members.get("include", []) else None
    return {"taskDefinition": found.describe(), "tags": tags}


def _deregister(ecs: EcsBackend, members: Members) -> Members:
    if ":" not in members["taskDefinition"].rsplit("/", 1)[-1]:
        raise refusal("ClientException", "Revision is missing.")
    found = _described(ecs, members["taskDefinition"])
    if found.document["status"] != "ACTIVE":
        words = (
            "The specified task definition is inactive. You can only deregister "
            "active task definitions."
        )
        raise refusal("ClientException", words)
    found.document["status"], found.deregistered = "INACTIVE", time.time()
    return {"taskDefinition": found.describe()}


def _delete(ecs: EcsBackend, members: Members) -> Members:
    if len(members["taskDefinitions"]) > 10:
        raise refusal(
            "InvalidParameterException", "taskDefinitions can have at most 10 items."
        )
    gone, failures = [], []
    for text in members["taskDefinitions"]:
        found = find(ecs.state, text)
        if found is None or found.document["status"] == "ACTIVE":
            detail = (
                "The specified task definition is still in ACTIVE status."
                if found
                else "It does not exist."
            )
            failures.append(
                {
                    "arn": text,
                    "reason": "MISSING" if found is None else "ACTIVE",
                    "detail": detail,
                }
            )
            continue
        gone.append({**found.describe(), "status": "DELETE_IN_PROGRESS"})
        found.document["status"] = "DELETED"
    return {"taskDefinitions": gone, "failures": failures}


def _list(ecs: EcsBackend, members: Members) -> Members:
    status, prefix = members.get("status", "ACTIVE"), members.get("familyPrefix")
    families = [f for f in sorted(ecs.state.definitions) if prefix in (None, f)]
    found = [
        d.arn
        for f in families
        for d in ecs.state.definitions[f]
        if d.document["status"] == status
    ]
    if members.get("sort") == "DESC":
        found.reverse()
    return page("taskDefinitionArns", found, members, most=100)


def _list_families(ecs: EcsBackend, members: Members) -> Members:
    wanted, prefix = members.get("status", "ACTIVE"), members.get("familyPrefix", "")
    found = []
    for family, revisions in sorted(ecs.state.definitions.items()):
        active = any(d.document["status"] == "ACTIVE" for d in revisions)
        if family.startswith(prefix) and wanted in (
            "ALL",
            "ACTIVE" if active else "INACTIVE",
        ):
            found.append(family)
    return page("families", found, members, most=100)


OPERATIONS: Final = {
    "RegisterTaskDefinition": _register,
    "DescribeTaskDefinition": _describe,
    "DeregisterTaskDefinition": _deregister,
    "DeleteTaskDefinitions": _delete,
    "ListTaskDefinitions": _list,
    "ListTaskDefinitionFamilies": _list_families,
}
