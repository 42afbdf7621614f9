"""Read from the control plane what the data plane follows: meshes, load balancers, and
the addresses of names.

This alone looks into the control plane's stores on the data plane's behalf;
it changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.local.control_plane import (
    appmesh_backends,
    certificates,
    cloud_map,
    elbv2,
)
from runbook_lib.local.control_plane.addresses import load_balancer_addresses
from runbook_lib.local.control_plane.aliases import zones
from runbook_lib.local.control_plane.ecs_resources import ecs_backends
from runbook_lib.local.control_plane.elbv2_weights import groups_of
from runbook_lib.local.control_plane.lock import LOCK
from runbook_lib.local.control_plane.mesh_resources import MeshState, Resource
from runbook_lib.local.data_plane.load_balancer import (
    Group,
    Listener,
    LoadBalancer,
    Rule,
)
from runbook_lib.local.data_plane.resources import Mesh

if TYPE_CHECKING:  # with moto's, it takes a second to load
    from runbook_lib.local.control_plane.elbv2_backend import LoadBalancers

__all__ = ["View", "addresses", "load_balancers", "look"]


@dataclass(frozen=True, slots=True)
class View:
    """One account in one region: its meshes by name, and for one of its VPCs the
    addresses of each DNS name, in lower case.
    """

    meshes: Mapping[str, Mesh]
    addresses: Mapping[str, tuple[str, ...]]


def look(account: str, region: str, vpc: str = "") -> View:
    """Return what is there now, as it is seen in a VPC."""
    with LOCK:
        state = appmesh_backends[account][region].state
        meshes = {r.name: _mesh(state, r) for r in state.under("Mesh", ())}
        return View(meshes, addresses(account, region, vpc))


def _mesh(state: MeshState, mesh: Resource) -> Mesh:
    def named(kind: str) -> dict[str, Any]:
        return {
            resource.name: resource.document()
            for resource in state.under(kind, mesh.names)
        }

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


def addresses(account: str, region: str, vpc: str = "") -> dict[str, tuple[str, ...]]:
    """Return the addresses of each DNS name, in lower case, as a VPC's resolver answers
    them; without a VPC, of all in the region.
    """
    with LOCK:
        balancers = {
            each.dns_name: tuple(each.addresses)
            for each in load_balancers(account, region)
        }
        private = zones(account, vpc)
        named = {
            name: balancers[of]
            for name, of in private.aliases.items()
            if of in balancers
        }
        others = balancers | _registered(account, region, vpc)
        visible = {n: found for n, found in others.items() if not private.hides(n)}
        return visible | named


def _registered(account: str, region: str, vpc: str) -> dict[str, tuple[str, ...]]:
    """Return the addresses of each name in Cloud Map; a private namespace is its VPC's
    alone.
    """
    with LOCK:
        store = cloud_map.store(account, region)
        spaces = {
            namespace.id: namespace.name
            for namespace in store.namespaces.values()
            if not vpc or namespace.vpc in (None, vpc)
        }
        return {
            f"{service.name}.{spaces[_namespace(service)]}".lower(): tuple(
                instance.attributes["AWS_INSTANCE_IPV4"]
                for instance in service.instances
                if "AWS_INSTANCE_IPV4" in instance.attributes
            )
            for service in store.services.values()
            if _namespace(service) in spaces
        }


def load_balancers(account: str = "", region: str = "") -> list[LoadBalancer]:
    """Return the load balancers of an account in a region; those of all
    where none is named.
    """
    with LOCK:
        stores = [
            store for store in elbv2.stores() if account in ("", store.account_id)
        ]
        stores = [store for store in stores if region in ("", store.region_name)]
        return [
            _load_balancer(store, balancer)
            for store in stores
            for balancer in store.load_balancers.values()
        ]


def _load_balancer(store: LoadBalancers, balancer: Any) -> LoadBalancer:
    listeners = tuple(_listener(store, each) for each in balancer.listeners.values())
    named = groups_of(
        action for each in listeners for rule in each.rules for action in rule.actions
    )
    return LoadBalancer(
        account=store.account_id,
        region=store.region_name,
        arn=balancer.arn,
        dns_name=balancer.dns_name.lower(),
        addresses=load_balancer_addresses(balancer),
        idle_seconds=int(balancer.attrs["idle_timeout.timeout_seconds"]),
        listeners=listeners,
        groups=tuple(_group(store, arn) for arn in named),
        cluster=_cluster(store, named),
    )


def _cluster(store: LoadBalancers, groups: Collection[str]) -> str:
    """Return the cluster of the services behind target groups; "" before there is
    one.
    """
    services = ecs_backends[store.account_id][store.region_name].state.services
    for service in services.values():
        behind = service.request.get("loadBalancers") or []
        if any(each.get("targetGroupArn") in groups for each in behind):
            return service.cluster
    return ""


def _listener(store: LoadBalancers, listener: Any) -> Listener:
    own = sorted(
        (rule for rule in listener.rules.values() if not rule.is_default),
        key=lambda rule: int(rule.priority),
    )
    default = [rule for rule in listener.rules.values() if rule.is_default]
    rules = tuple(_rule(rule) for rule in [*own, *default])
    return Listener(int(listener.port), rules, _certificate(store, listener))


def _certificate(store: LoadBalancers, listener: Any) -> tuple[str, str] | None:
    """Return the certificate of a listener that speaks TLS, with its key."""
    if listener.protocol != "HTTPS":
        return None
    place = (store.account_id, store.region_name)
    return certificates.pair(*place, listener.certificate)


def _rule(rule: Any) -> Rule:
    return Rule(tuple(rule.conditions), tuple(action.data for action in rule.actions))


def _group(store: LoadBalancers, arn: str) -> Group:
    known = store.targets[arn]
    serving = tuple((target.address, target.port) for target in known.serving())
    states = [target.health.state for target in known.targets.values()]
    return Group(
        arn,
        serving,
        healthy=states.count("healthy"),
        unhealthy=states.count("unhealthy"),
        version=store.target_groups[arn].protocol_version or "HTTP1",
    )


def _namespace(service: Any) -> str:
    return str(
        service.namespace_id or (service.dns_config or {}).get("NamespaceId", "")
    )
