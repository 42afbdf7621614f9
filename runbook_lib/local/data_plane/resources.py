"""Mesh resources as App Mesh returns them, and the look-ups a sidecar's
configuration needs.

Pure: it reads nothing and builds no Envoy message; it alone says what a node may reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runbook_lib.errors import PlanError

Resource = Mapping[str, Any]
Json = dict[str, Any]
Address = tuple[str, int]
Endpoints = Mapping[tuple[str, int], Sequence[Address]]
"""Where each virtual node's tasks answer on loopback, by (virtual
node, listener port).
"""

ROUTE_KEYS = {"http": "httpRoute", "http2": "http2Route", "grpc": "grpcRoute"}


@dataclass(frozen=True, slots=True)
class Mesh:
    """One mesh: the payloads of the describe calls, by name."""

    mesh: Resource
    virtual_nodes: Mapping[str, Resource]
    virtual_services: Mapping[str, Resource] = field(default_factory=dict)
    virtual_routers: Mapping[str, Resource] = field(default_factory=dict)
    # by virtual router
    routes: Mapping[str, Sequence[Resource]] = field(default_factory=dict)
    virtual_gateways: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Return the mesh's name."""
        return str(self.mesh["meshName"])

    @property
    def passes_unknown_hosts(self) -> bool:
        """Say whether a host that is no backend is let through; App Mesh's
        default is to drop it.
        """
        return bool(
            self.mesh.get("spec", {}).get("egressFilter", {}).get("type") == "ALLOW_ALL"
        )

    def node_spec(self, name: str) -> Resource:
        """Return a virtual node's spec; PlanError where the mesh has no such node."""
        if name not in self.virtual_nodes:
            known = ", ".join(sorted(self.virtual_nodes)) or "none"
            raise PlanError(
                f"virtual node {name!r} is not in mesh {self.name!r}; it has: {known}"
            )
        spec: Resource = self.virtual_nodes[name]["spec"]
        return spec

    def listeners(self, node: str) -> list[Resource]:
        """Return a node's listeners, each of a kind the local mesh can carry."""
        found: list[Resource] = list(self.node_spec(node).get("listeners") or [])
        for listener in found:
            refuse_tcp(
                f"a listener of virtual node {node!r}",
                listener["portMapping"]["protocol"],
            )
            if listener.get("tls", {}).get("mode", "DISABLED") != "DISABLED":
                raise PlanError(
                    f"virtual node {node!r} has a TLS listener; the "
                    "local mesh has no TLS"
                )
        return found


@dataclass(frozen=True, slots=True)
class Target:
    """One listener of one virtual node: what a cluster stands for."""

    mesh: str
    node: str
    listener: Resource

    @property
    def port(self) -> int:
        """Return the listener's own port, the one in the cluster's name."""
        return int(self.listener["portMapping"]["port"])

    @property
    def protocol(self) -> str:
        """Return http, http2 or grpc."""
        return str(self.listener["portMapping"]["protocol"])

    def cluster(self, direction: str) -> str:
        """Return App Mesh's name for the cluster, `direction` being
        egress or ingress.
        """
        return f"cds_{direction}_{self.mesh}_{self.node}_{self.protocol}_{self.port}"


def refuse_tcp(where: str, protocol: str) -> None:
    """Raise PlanError for a protocol the local mesh has no traffic to show for."""
    if protocol not in ROUTE_KEYS:
        raise PlanError(
            f"{where} speaks {protocol}; the local mesh carries http, "
            "http2 and grpc only"
        )


def target(mesh: Mesh, node: str, port: int | None = None) -> Target:
    """Return a node's listener on `port`, its first one where no port is said."""
    listeners = mesh.listeners(node)
    for listener in listeners:
        if port in (None, listener["portMapping"]["port"]):
            return Target(mesh.name, node, listener)
    raise PlanError(
        f"virtual node {node!r} has no listener" + (f" on port {port}" if port else "")
    )


def backends(mesh: Mesh, node: str) -> list[str]:
    """Return the virtual services a node may call.

    A backend may name a virtual service that does not exist yet: App Mesh takes it,
    Envoy never hears of it. Envoy compares names without case and refuses the whole
    table where two agree, so such a pair is refused.
    """
    spec = mesh.node_spec(node)
    refuse_tls(node, spec.get("backendDefaults", {}))
    names: list[str] = []
    for service in (entry["virtualService"] for entry in spec.get("backends") or []):
        refuse_tls(node, service)
        if service["virtualServiceName"] in mesh.virtual_services:
            names.append(service["virtualServiceName"])
    names = list(dict.fromkeys(names))
    if len({name.casefold() for name in names}) < len(names):
        raise PlanError(
            f"backends of virtual node {node!r} differ only by case: {names}"
        )
    return names


def refuse_tls(node: str, holder: Resource) -> None:
    """Raise PlanError where a client policy asks for TLS, which `enforce: false`
    alone makes optional.
    """
    tls = holder.get("clientPolicy", {}).get("tls")
    if tls is not None and tls.get("enforce", True):
        raise PlanError(
            f"virtual node {node!r} requires TLS of a backend; the "
            "local mesh has no TLS"
        )


def doors(mesh: Mesh, service: str) -> list[tuple[int, list[Resource]]]:
    """Return the ports a virtual service answers on, each with its routes; none
    without a provider.
    """
    provider = mesh.virtual_services[service]["spec"].get("provider") or {}
    if "virtualNode" in provider:
        return list(_node_doors(mesh, provider["virtualNode"]["virtualNodeName"]))
    if "virtualRouter" in provider:
        return list(_router_doors(mesh, provider["virtualRouter"]["virtualRouterName"]))
    return []


def _node_doors(mesh: Mesh, node: str) -> Iterator[tuple[int, list[Resource]]]:
    """A node as provider is one route without a match or a policy of its own,
    whatever its protocol.
    """
    for listener in mesh.listeners(node):
        port = listener["portMapping"]["port"]
        action = {"weightedTargets": [{"virtualNode": node, "weight": 1, "port": port}]}
        spec = {"http2Route": {"match": {"prefix": "/"}, "action": action}}
        yield port, [{"routeName": node, "spec": spec}]


def _router_doors(mesh: Mesh, router: str) -> Iterator[tuple[int, list[Resource]]]:
    if router not in mesh.virtual_routers:
        raise PlanError(f"virtual router {router!r} is not in mesh {mesh.name!r}")
    for listener in mesh.virtual_routers[router]["spec"].get("listeners") or []:
        refuse_tcp(f"virtual router {router!r}", listener["portMapping"]["protocol"])
        port = listener["portMapping"]["port"]
        routes = mesh.routes.get(router, [])
        yield (
            port,
            [
                route
                for route in routes
                if route_body(route)["match"].get("port", port) == port
            ],
        )


def route_body(route: Resource) -> Resource:
    """Return what stands under the route's protocol; a TCP route is refused."""
    for key in ROUTE_KEYS.values():
        if key in route["spec"]:
            body: Resource = route["spec"][key]
            return body
    raise PlanError(
        f"route {route['routeName']!r} is a TCP route; the local mesh has none"
    )


def targets(mesh: Mesh, route: Resource) -> list[tuple[Target, int]]:
    """Return a route's weighted targets; a route whose weights are all zero is refused.

    Envoy refuses such a table whole and keeps the former one; refusing it here does the
    same and says why.
    """
    listed = route_body(route)["action"]["weightedTargets"]
    if not sum(entry["weight"] for entry in listed):
        raise PlanError(
            f"every weight of route {route['routeName']!r} is 0; Envoy refuses that"
        )
    return [
        (target(mesh, entry["virtualNode"], entry.get("port")), entry["weight"])
        for entry in listed
    ]


def nodes_behind(mesh: Mesh, service: str) -> list[str]:
    """Return the nodes a virtual service names, by itself or in its routes, whatever
    the local mesh can carry.
    """
    provider = (
        mesh.virtual_services.get(service, {}).get("spec", {}).get("provider") or {}
    )
    if "virtualNode" in provider:
        return [provider["virtualNode"]["virtualNodeName"]]
    routes = mesh.routes.get(
        provider.get("virtualRouter", {}).get("virtualRouterName", ""), []
    )
    bodies = [
        body
        for route in routes
        for kind, body in route["spec"].items()
        if kind.endswith("Route")
    ]
    return [
        entry["virtualNode"]
        for body in bodies
        for entry in body["action"]["weightedTargets"]
    ]


def reached(mesh: Mesh, node: str) -> list[Target]:
    """Return every target a node's backends lead to, each once, in the order of
    its cluster's name.
    """
    found = {
        place.cluster("egress"): place
        for service in backends(mesh, node)
        for _, routes in doors(mesh, service)
        for route in routes
        for place, _ in targets(mesh, route)
    }
    return [found[name] for name in sorted(found)]


def hostname(spec: Resource) -> str:
    """Return the name a node's tasks have in DNS or Cloud Map, empty
    where it has none.
    """
    discovery = spec.get("serviceDiscovery") or {}
    if "dns" in discovery:
        return str(discovery["dns"]["hostname"])
    place = discovery.get("awsCloudMap")
    return f"{place['serviceName']}.{place['namespaceName']}" if place else ""


def strangers(mesh: Mesh, node: str) -> dict[str, Target]:
    """Return, by hostname, the nodes ALLOW_ALL lets `node` reach that
    are no backend of it.
    """
    if not mesh.passes_unknown_hosts:
        return {}
    known = {name.lower() for name in backends(mesh, node)}
    named = {
        hostname(mesh.node_spec(name)).lower(): name
        for name in sorted(mesh.virtual_nodes)
    }
    return {
        host: target(mesh, name)
        for host, name in named.items()
        if host and host not in known and mesh.listeners(name)
    }
