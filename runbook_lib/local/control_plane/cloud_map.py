"""AWS Cloud Map: what moto lets through that the service refuses, and the lists
moto does not filter.

moto keeps namespaces, services, instances and operations, and answers whatever is not
here. Namespaces and services in use cannot be deleted, names cannot be taken twice,
registering an instance again replaces it, and two private namespaces may share a VPC.
The words of refusals are inferred; their codes are the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from runbook_lib.local.control_plane.validation import check
from runbook_lib.local.control_plane.wire import ApiError, Target, model

if TYPE_CHECKING:
    from moto.servicediscovery.models import Namespace, Service, ServiceDiscoveryBackend

__all__ = ["perform", "store"]

Members = dict[str, Any]


def store(account: str, region: str) -> ServiceDiscoveryBackend:
    """Return moto's Cloud Map of an account in a region."""
    from moto.servicediscovery.models import (
        servicediscovery_backends,  # 0.3 s to import: not before it is asked
    )

    return servicediscovery_backends[account][region]


def perform(target: Target, members: Members) -> Members | None:
    """Carry out what moto gets wrong; return None where nothing speaks
    against moto's answering.
    """
    shape = model("servicediscovery").operation_model(target.operation).input_shape
    members = check(shape, members, "InvalidInput") if shape else members
    handler = HANDLERS.get(target.operation)
    return handler(store(target.account, target.region), members) if handler else None


def _id(text: str) -> str:
    """Return the id in an ARN, or the id itself."""
    return text.rsplit("/", 1)[-1]


def _refuse(code: str, message: str) -> ApiError:
    return ApiError(
        code,
        message,
        model("servicediscovery").shape_for(code).metadata["error"]["httpStatusCode"],
    )


def _namespace(cloud_map: ServiceDiscoveryBackend, text: str) -> Namespace:
    if found := cloud_map.namespaces.get(_id(text)):
        return found
    raise _refuse("NamespaceNotFound", f"Namespace {_id(text)} does not exist.")


def _service(cloud_map: ServiceDiscoveryBackend, text: str) -> Service:
    if found := cloud_map.services.get(_id(text)):
        return found
    raise _refuse("ServiceNotFound", f"Service {_id(text)} does not exist.")


def _new_namespace(cloud_map: ServiceDiscoveryBackend, members: Members) -> None:
    """Refuse a name that is taken: for a private namespace in its VPC, else in the
    account and region.
    """
    vpc = members.get("Vpc")
    for namespace in cloud_map.namespaces.values():
        if namespace.name == members["Name"] and namespace.vpc == vpc:
            raise _refuse(
                "NamespaceAlreadyExists",
                f"Namespace {namespace.name} already exists: {namespace.id}.",
            )


def _create_private_namespace(
    cloud_map: ServiceDiscoveryBackend, members: Members
) -> Members:
    """Create it although its VPC has another: moto allows only one."""
    _new_namespace(cloud_map, members)
    there = set(cloud_map.namespaces)
    operation = cloud_map.create_private_dns_namespace(
        members["Name"],
        members.get("CreatorRequestId", ""),
        members.get("Description", ""),
        f"{members['Vpc']} ",  # a VPC of its own for that check, put right below
        members.get("Tags", []),
        members.get("Properties", {}),
    )
    for namespace_id in set(cloud_map.namespaces) - there:
        cloud_map.namespaces[namespace_id].vpc = members["Vpc"]
    return {"OperationId": operation}


def _delete_namespace(cloud_map: ServiceDiscoveryBackend, members: Members) -> None:
    namespace = _namespace(cloud_map, members["Id"])
    services = [
        s.id
        for s in cloud_map.services.values()
        if _id(s.namespace_id or "") == namespace.id
    ]
    if services:
        raise _refuse(
            "ResourceInUse",
            f"Namespace {namespace.id} has services: {', '.join(services)}.",
        )


def _create_service(cloud_map: ServiceDiscoveryBackend, members: Members) -> None:
    wanted = members.get("NamespaceId") or (members.get("DnsConfig") or {}).get(
        "NamespaceId"
    )
    if not wanted:
        raise _refuse("InvalidInput", "A namespace must be given.")
    namespace = _namespace(cloud_map, wanted)
    for service in cloud_map.services.values():
        if (
            _id(service.namespace_id or "") == namespace.id
            and service.name.lower() == members["Name"].lower()
        ):
            raise _refuse(
                "ServiceAlreadyExists",
                f"Service {service.name} already exists: {service.id}.",
            )


def _delete_service(cloud_map: ServiceDiscoveryBackend, members: Members) -> None:
    service = _service(cloud_map, members["Id"])
    if service.instances:
        ids = ", ".join(instance.instance_id for instance in service.instances)
        raise _refuse(
            "ResourceInUse", f"Service {service.id} has registered instances: {ids}."
        )


def _register_instance(cloud_map: ServiceDiscoveryBackend, members: Members) -> None:
    """Take an instance of the same id away first: moto would keep both."""
    service = _service(cloud_map, members["ServiceId"])
    service.instances[:] = [
        i for i in service.instances if i.instance_id != members["InstanceId"]
    ]


def _list_namespaces(cloud_map: ServiceDiscoveryBackend, members: Members) -> Members:
    fields: dict[str, Callable[[Any], str]] = {
        "NAME": lambda n: n.name,
        "TYPE": lambda n: n.type,
        "HTTP_NAME": lambda n: (n.http_properties or {}).get("HttpName", n.name),
    }
    found = _filtered(cloud_map.namespaces.values(), members, fields)
    return _page("Namespaces", [_summary(cloud_map, n) for n in found], members)


def _summary(cloud_map: ServiceDiscoveryBackend, namespace: Namespace) -> Members:
    count = sum(
        _id(s.namespace_id or "") == namespace.id for s in cloud_map.services.values()
    )
    return {
        **namespace.to_json(),
        "ResourceOwner": cloud_map.account_id,
        "ServiceCount": count,
    }


def _list_services(cloud_map: ServiceDiscoveryBackend, members: Members) -> Members:
    fields: dict[str, Callable[[Any], str]] = {
        "NAMESPACE_ID": lambda s: _id(s.namespace_id or "")
    }
    found = _filtered(cloud_map.services.values(), members, fields)
    extra = [
        {
            **s.to_json(),
            "ResourceOwner": s.account_id,
            "InstanceCount": len(s.instances),
        }
        for s in found
    ]
    return _page("Services", extra, members)


def _list_operations(cloud_map: ServiceDiscoveryBackend, members: Members) -> Members:
    """List them without moto's side effect: it forgets every operation that
    names no namespace.
    """
    fields: dict[str, Callable[[Any], str]] = {
        "STATUS": lambda o: o.status,
        "TYPE": lambda o: o.operation_type,
        "NAMESPACE_ID": lambda o: o.targets.get("NAMESPACE", ""),
        "SERVICE_ID": lambda o: o.targets.get("SERVICE", ""),
    }
    found = _filtered(cloud_map.operations.values(), members, fields)
    return _page(
        "Operations", [{"Id": o.id, "Status": o.status} for o in found], members
    )


def _filtered(
    entries: Iterable[Any], members: Members, fields: dict[str, Callable[[Any], str]]
) -> list[Any]:
    def passes(entry: Any) -> bool:
        filters = [f for f in members.get("Filters", []) if f["Name"] in fields]
        return all(fields[f["Name"]](entry) in map(_id, f["Values"]) for f in filters)

    return [entry for entry in entries if passes(entry)]


def _page(key: str, entries: list[Members], members: Members) -> Members:
    token = members.get("NextToken", "0")
    if not token.isdigit():
        raise _refuse("InvalidInput", "The NextToken is not valid.")
    start, most = int(token), members.get("MaxResults", 100)
    page: Members = {key: entries[start : start + most]}
    return (
        {**page, "NextToken": str(start + most)}
        if len(entries) > start + most
        else page
    )


HANDLERS: Final[
    dict[str, Callable[[ServiceDiscoveryBackend, Members], Members | None]]
] = {
    "CreateHttpNamespace": _new_namespace,
    "CreatePublicDnsNamespace": _new_namespace,
    "CreatePrivateDnsNamespace": _create_private_namespace,
    "DeleteNamespace": _delete_namespace,
    "CreateService": _create_service,
    "DeleteService": _delete_service,
    "RegisterInstance": _register_instance,
    "ListNamespaces": _list_namespaces,
    "ListServices": _list_services,
    "ListOperations": _list_operations,
}
