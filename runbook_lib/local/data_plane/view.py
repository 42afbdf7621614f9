"""Read from the control plane what the data plane follows: meshes, and the addresses names resolve to.

This alone looks into the control plane's stores on the data plane's behalf; it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.local.control_plane import appmesh_backends, cloud_map
from runbook_lib.local.control_plane.lock import LOCK
from runbook_lib.local.control_plane.mesh_resources import MeshState, Resource
from runbook_lib.local.data_plane.resources import Mesh

__all__ = ["View", "addresses", "look"]


@dataclass(frozen=True, slots=True)
class View:
    """One account in one region: its meshes by name, the addresses of each DNS name, in lower case."""

    meshes: Mapping[str, Mesh]
    addresses: Mapping[str, tuple[str, ...]]


def look(account: str, region: str) -> View:
    """Return what is there now."""
    with LOCK:
        state = appmesh_backends[account][region].state
        meshes = {r.name: _mesh(state, r) for r in state.under("Mesh", ())}
        return View(meshes, addresses(account, region))


def _mesh(state: MeshState, mesh: Resource) -> Mesh:
    def named(kind: str) -> dict[str, Any]:
        return {resource.name: resource.document() for resource in state.under(kind, mesh.names)}

    routes = {
        router.name: [route.document() for route in state.under("Route", router.names)]
        for router in state.under("VirtualRouter", mesh.names)
    }
    return Mesh(
        mesh=mesh.document(),
        virtual_nodes=named("VirtualNode"),
        virtual_services=named("VirtualService"),
        virtual_routers=named("VirtualRouter"),
        routes=routes,
        virtual_gateways=tuple(named("VirtualGateway")),
    )


def addresses(account: str, region: str) -> dict[str, tuple[str, ...]]:
    """Return the addresses of each DNS name of an account in a region, in lower case."""
    with LOCK:
        store = cloud_map.store(account, region)
        spaces = {namespace.id: namespace.name for namespace in store.namespaces.values()}
        return {
            f"{service.name}.{spaces.get(_namespace(service), '')}".lower(): tuple(
                instance.attributes["AWS_INSTANCE_IPV4"]
                for instance in service.instances
                if "AWS_INSTANCE_IPV4" in instance.attributes
            )
            for service in store.services.values()
        }


def _namespace(service: Any) -> str:
    return str(service.namespace_id or (service.dns_config or {}).get("NamespaceId", ""))
