"""Say which App Mesh resources the parameters ask for, at a given point of the
application's life. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbook_lib.aws.naming import tags
from runbook_lib.engines.appmesh.spec.nodes import node_spec
from runbook_lib.engines.appmesh.spec.resource import Resource
from runbook_lib.engines.appmesh.spec.routes import route_spec
from runbook_lib.engines.appmesh.spec.wanted import said
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.parameters.appmesh import Route
from runbook_lib.parameters.model import Parameters


def desired(p: Parameters, life: Lifecycle) -> tuple[Resource, ...]:
    """Return every resource, in the order in which they can be made.

    Route before the provider that leads to it: a router attached without routes may
    never reach Envoy.
    """
    return (
        _mesh(p),
        *_virtual_services(p),
        *_virtual_nodes(p, life),
        *_routers_and_routes(p, life),
        *_providers(p, life),
    )


def by_key(p: Parameters) -> dict[str, Resource]:
    """Return every resource of the file, those of retired services too, by key."""
    return {resource.key: resource for resource in desired(p, Lifecycle())}


def _resource(
    p: Parameters, kind: str, step: str, spec: Mapping[str, Any], **names: str
) -> Resource:
    return Resource(kind, {"meshName": p.mesh.name, **names}, spec, step, tags(p))


def _mesh(p: Parameters) -> Resource:
    egress = said(p.mesh, "egress", {"type": p.mesh.egress})
    return _resource(p, "mesh", "01", {"egressFilter": egress})


def _virtual_services(p: Parameters) -> Iterator[Resource]:
    """Yield them without providers: nodes may name them as backends
    before these are there.
    """
    for name in p.virtual_services:
        yield _resource(p, "virtual service", "01", {}, virtualServiceName=name)


def _virtual_nodes(p: Parameters, life: Lifecycle) -> Iterator[Resource]:
    for name in life.left(p.services):
        spec = node_spec(p, name)
        yield _resource(p, "virtual node", "02", spec, virtualNodeName=name)


def _routers_and_routes(p: Parameters, life: Lifecycle) -> Iterator[Resource]:
    for router_name, router in p.routers.items():
        inside = {"virtualRouterName": router_name}
        protocol = p.protocol_of_router(router_name)
        mapping = {"port": p.port_of_router(router_name), "protocol": protocol}
        listeners = {"listeners": [{"portMapping": mapping}]}
        yield _resource(p, "virtual router", "03", listeners, **inside)
        for name, route in router.routes.items():
            weights = _weights(p, life, router_name, name, route)
            spec = route_spec(route, protocol, weights)
            yield _resource(p, "route", "03", spec, **inside, routeName=name)


def _weights(
    p: Parameters, life: Lifecycle, router: str, name: str, route: Route
) -> dict[str, int]:
    """Return a route's weights: those in force where it is under
    shift, else the file's.
    """
    if (router, name) == (p.router, p.route):
        return dict(life.weights or p.shift.weights_at(0))
    if isinstance(route.targets, dict):
        return dict(route.targets)
    return dict.fromkeys(route.targets, 100)


def _providers(p: Parameters, life: Lifecycle) -> Iterator[Resource]:
    """Yield the virtual services once more, with what answers them."""
    for name, provider in p.virtual_services.items():
        if provider.node in life.retired:
            continue
        by: dict[str, Any] = {"virtualNode": None, "virtualRouter": None}
        if provider.node:
            by["virtualNode"] = {"virtualNodeName": provider.node}
        else:
            by["virtualRouter"] = {"virtualRouterName": provider.router}
        spec = {"provider": by}
        yield _resource(p, "virtual service", "03", spec, virtualServiceName=name)
