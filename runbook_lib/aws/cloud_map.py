"""Read AWS Cloud Map, where the names callers dial are registered, and plan the
placeholder that keeps one alive.

The only caller of the Cloud Map client. `read_` reads, `plan_` functions are pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from runbook_lib.aws import ecs
from runbook_lib.aws.reads import Reads
from runbook_lib.parameters import Parameters
from runbook_lib.plan import (
    Call,
    Change,
    Inverse,
    Plan,
    Reading,
    Wait,
    differences,
    turned,
)

__all__ = [
    "PLACEHOLDER",
    "Names",
    "Registered",
    "own_instances",
    "plan_placeholder",
    "plan_placeholder_end",
    "read_names",
]

PLACEHOLDER = "runbook-placeholder"
ADDRESS = "AWS_INSTANCE_IPV4"


@dataclass(frozen=True, slots=True)
class Registered:
    """One DNS name as Cloud Map has it: the service's id ("" where there is none)
    and its instances.

    Resolvers keep an answer for `ttl_seconds`.
    """

    name: str
    service_id: str
    instances: Mapping[str, Mapping[str, str]]
    ttl_seconds: int = 0

    @property
    def addresses(self) -> list[str]:
        """The addresses the name resolves to."""
        return sorted(a[ADDRESS] for a in self.instances.values() if ADDRESS in a)


class Names(dict[str, Registered]):
    """What callers may dial, by name."""


def own_instances(registered: Registered) -> dict[str, Mapping[str, str]]:
    """Return what is registered under a name beside the placeholder."""
    return {
        name: attributes
        for name, attributes in registered.instances.items()
        if name != PLACEHOLDER
    }


def read_names(session: Reads) -> Names:
    """Read every name of the parameters that callers may dial: hostnames
    and virtual services.
    """
    services = _services(session)
    names = session.parameters.names
    asks = [
        partial(_registered, session, name, services.get(name, {})) for name in names
    ]
    return Names(zip(names, session.together(asks), strict=True))


def _registered(session: Reads, name: str, service: Mapping[str, Any]) -> Registered:
    records = service.get("DnsConfig", {}).get("DnsRecords", [])
    service_id = service.get("Id", "")
    ttl = max((record["TTL"] for record in records), default=0)
    return Registered(name, service_id, _instances(session, service_id), ttl)


def _services(session: Reads) -> dict[str, dict[str, Any]]:
    """Read the namespace's services by their full DNS name.

    Each VPC may have a namespace of that name: it is the one in which ECS services of
    the file are registered.
    """
    p = session.parameters
    spaces = session.pages("servicediscovery", "list_namespaces", "Namespaces")
    own = [space["Id"] for space in spaces if space["Name"].lower() == p.namespace]
    if not own:
        return {}
    found = session.together([partial(_services_in, session, each) for each in own])
    if len(found) > 1:
        ours = ecs.read_registries(session)
        found.sort(key=lambda services: ours.isdisjoint(s["Arn"] for s in services))
    return {f"{service['Name'].lower()}.{p.namespace}": service for service in found[0]}


def _services_in(session: Reads, namespace: str) -> list[dict[str, Any]]:
    filters = [{"Name": "NAMESPACE_ID", "Values": [namespace], "Condition": "EQ"}]
    return session.pages(
        "servicediscovery", "list_services", "Services", Filters=filters
    )


def _instances(session: Reads, service_id: str) -> dict[str, dict[str, str]]:
    if not service_id:
        return {}
    found = session.pages(
        "servicediscovery", "list_instances", "Instances", ServiceId=service_id
    )
    return {instance["Id"]: instance.get("Attributes", {}) for instance in found}


def plan_placeholder(p: Parameters, registered: Registered) -> Plan:
    """Plan an address under the dialled name that outlives the stable version's tasks.

    It is for an engine whose callers must resolve the name though none of them connects
    to the address. It is undone only once there is another one, and what comes next
    waits until no resolver sends anybody to it any more.
    """
    needed = registered.service_id and PLACEHOLDER not in registered.instances
    changes = (
        [_registration(registered, {ADDRESS: p.retirement.placeholder_ip})]
        if needed
        else []
    )
    return Plan("06_tear_down_service_b", tuple(changes))


def plan_placeholder_end(registered: Registered, title: str) -> Plan:
    """Plan the placeholder's end."""
    attributes = registered.instances.get(PLACEHOLDER)
    changes = [turned(_registration(registered, attributes))] if attributes else []
    return Plan(title, tuple(changes))


def _registration(registered: Registered, attributes: Mapping[str, str]) -> Change:
    where = {"ServiceId": registered.service_id, "InstanceId": PLACEHOLDER}
    read = Call("servicediscovery", "get_instance", where)
    return Change(
        name=f"address of {registered.name}",
        verb="register",
        call=Call(
            "servicediscovery", "register_instance", {**where, "Attributes": attributes}
        ),
        reading=Reading(read, "Instance.Attributes", absent=("InstanceNotFound",)),
        expected=None,
        wanted=attributes,
        about=(f"address of {registered.name}", f"name {registered.name}"),
        inverse=Inverse(
            "deregister",
            Call("servicediscovery", "deregister_instance", where),
            wanted=None,
            ready=(_another(registered),),
            waits=(_forgotten(registered),),
        ),
        diff=differences(None, attributes.get(ADDRESS), ADDRESS),
        note="keeps the name resolvable for callers once the tasks behind it are gone",
    )


def _another(registered: Registered) -> Wait:
    """Wait until the name has an address beside the placeholder."""
    others = _addresses(
        registered, f"length(Instances[?Id!='{PLACEHOLDER}' && Attributes.{ADDRESS}])"
    )
    return Wait(f"another address of {registered.name}", others, "@ > `0`")


def _forgotten(registered: Registered) -> Wait:
    """Wait until no resolver keeps the placeholder in an answer of before."""
    placeholder = _addresses(registered, f"length(Instances[?Id=='{PLACEHOLDER}'])")
    what = f"resolvers to forget the placeholder of {registered.name}"
    return Wait(what, placeholder, "@ == `0`", lasting_seconds=registered.ttl_seconds)


def _addresses(registered: Registered, query: str) -> Reading:
    return Reading(
        Call(
            "servicediscovery", "list_instances", {"ServiceId": registered.service_id}
        ),
        query,
    )
