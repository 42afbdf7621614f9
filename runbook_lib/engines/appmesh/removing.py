"""Plan the end of every resource that the runbook made, and name what stays and why.

What somebody else made stays, and with it what that stands on: App Mesh would
refuse to delete it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from runbook_lib.aws.reads import Reads
from runbook_lib.engines.appmesh.changes import State, delete
from runbook_lib.engines.appmesh.spec import Resource, by_key
from runbook_lib.engines.appmesh.standing import standing
from runbook_lib.engines.protocol import Live
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Change, Plan, Reading

CHILDREN_FIRST = ("virtual service", "route", "virtual router", "virtual node", "mesh")


def plan_resources_end(session: Reads, live: Live) -> Plan:
    """Plan the end of every resource the runbook made, children first, and name
    what stays and why.
    """
    resources = _children_first(session.parameters)
    needs = standing(session)
    staying = set(needs) - {resource.key for resource in resources}
    removals: list[Change] = []
    stays: list[str] = []
    for resource in resources:
        state = live.get(resource.key)
        if state is None:
            continue
        users = _users(resource.key, staying, needs)
        labels = {} if users else _read_labels(session, state)
        if labels:
            removals += delete(replace(resource, tags=labels), state)
        else:
            staying.add(resource.key)
            stays.append(f"{resource.key}: {_why_it_stays(users)}")
    return Plan("90_remove_mesh", tuple(removals), stays=tuple(stays))


def _children_first(p: Parameters) -> list[Resource]:
    """Return every resource of the file once, before those that it is in or needs."""
    resources = by_key(p).values()
    return sorted(resources, key=lambda each: CHILDREN_FIRST.index(each.kind))


def _users(
    key: str, staying: Collection[str], needs: Mapping[str, Collection[str]]
) -> list[str]:
    """Return what stays and cannot be without a resource."""
    return [user for user in needs if user in staying and key in needs[user]]


def _why_it_stays(users: Collection[str]) -> str:
    if users:
        return f"{', '.join(users)} stays, and needs it"
    return "does not carry the runbook's tag"


def _read_labels(session: Reads, state: State) -> dict[str, str]:
    """Read a resource's tags (a route's say who was retired); none where it is
    not the runbook's.
    """
    arguments = {"resourceArn": state["arn"]}
    listing = Call("appmesh", "list_tags_for_resource", arguments)
    tags = session.read(Reading(listing, "tags")) or []
    labels = {tag["key"]: tag["value"] for tag in tags}
    return labels if "runbook" in labels else {}
