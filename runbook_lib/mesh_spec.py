"""Build every App Mesh resource the parameters ask for, at a given point of the application's life.

Pure: parameters and a `Lifecycle` in, API-shaped dicts out. A field the parameters cannot speak of is left
unsaid, and so survives an update; None says that a field is to go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook_lib.parameters import Header, HealthCheck, Match, Parameters, Retry, Route, Timeout

__all__ = ["Lifecycle", "Resource", "desired", "node_arn", "partition", "quotas", "tags"]

SPEC_OF = {"http": "httpRoute", "http2": "http2Route", "grpc": "grpcRoute", "tcp": "tcpRoute"}


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Where the application stands, as read from AWS.

    `weights` are those of the route under shift, as they stand there; empty where there is no route.
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()

    def stage(self, canary: str, last_step: int) -> str:
        """Return plain, routed, shifting, shifted or retired."""
        if self.retired:
            return "retired"
        if not self.weights:
            return "plain"
        weight = self.weights.get(canary, 0)
        return "routed" if weight == 0 else "shifted" if weight >= last_step else "shifting"


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that should exist: what it is, its names, its spec, and the notebook that makes it."""

    kind: str
    names: Mapping[str, str]
    spec: Mapping[str, Any]
    step: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its own name: the innermost."""
        return list(self.names.values())[-1]

    @property
    def key(self) -> str:
        """What it is called in plans."""
        return f"{self.kind} {'/'.join(list(self.names.values())[1:]) or self.name}"


def desired(p: Parameters, life: Lifecycle) -> tuple[Resource, ...]:
    """Return every resource, in the order in which they can be made.

    Route before the provider that leads to it: a router attached without routes may never reach Envoy.
    """
    return tuple(_resources(p, life))


def _resources(p: Parameters, life: Lifecycle) -> Iterator[Resource]:
    def one(kind: str, step: str, spec: Mapping[str, Any], **names: str) -> Resource:
        return Resource(kind, {"meshName": p.mesh.name, **names}, spec, step, tags(p))

    yield one("mesh", "01", {"egressFilter": {"type": p.mesh.egress}})
    for name in p.virtual_services:
        yield one("virtual service", "01", {}, virtualServiceName=name)
    for name in p.services:
        if name not in life.retired:
            yield one("virtual node", "02", _node(p, name), virtualNodeName=name)
    for name, router in p.routers.items():
        protocol = router.protocol or p.protocol
        listener = {"portMapping": {"port": router.port or p.port, "protocol": protocol}}
        yield one("virtual router", "03", {"listeners": [listener]}, virtualRouterName=name)
        for route_name, route in router.routes.items():
            spec = route_spec(route, protocol, _weights(p, life, name, route_name, route))
            yield one("route", "03", spec, virtualRouterName=name, routeName=route_name)
    for name, provider in p.virtual_services.items():
        if provider.router or provider.node not in life.retired:
            spec = {
                "virtualNode": {"virtualNodeName": provider.node} if provider.node else None,
                "virtualRouter": {"virtualRouterName": provider.router} if provider.router else None,
            }
            yield one("virtual service", "03", {"provider": spec}, virtualServiceName=name)


def quotas(p: Parameters, tasks: int = 0) -> list[tuple[str, int, int]]:
    """Return (what, how many the file asks for, the default quota) for each App Mesh quota that can bind here.

    `tasks` is how many the largest service has now.
    Source: Service Quotas, service code appmesh; ten weighted targets a route is fixed.
    """
    routes = max((len(r.routes) for r in p.routers.values()), default=0)
    widest = max((len(route.names) for r in p.routers.values() for route in r.routes.values()), default=0)
    return [
        ("virtual services per mesh", len(p.virtual_services), 200),
        ("virtual nodes per mesh", len(p.services), 200),
        ("virtual routers per mesh", len(p.routers), 200),
        ("routes per router", routes, 50),
        ("weighted targets per route", widest, 10),
        ("backends per node", max(len(s.backends) for s in p.services.values()), 50),
        ("connected Envoys per node", max(tasks, *(s.desired_count for s in p.services.values())), 50),
    ]


def tags(p: Parameters) -> dict[str, str]:
    """Return the tags that mark what the runbook made."""
    return {"runbook": "appmesh-runbook", "runbook:environment": p.environment}


def partition(p: Parameters) -> str:
    """Return the part of AWS that ARNs of the file's region are in."""
    return "aws-cn" if p.region.startswith("cn-") else "aws"


def node_arn(p: Parameters, service: str) -> str:
    """Return the ARN of a service's virtual node: the identity of its Envoy."""
    return f"arn:{partition(p)}:appmesh:{p.region}:{p.account_id}:mesh/{p.mesh.name}/virtualNode/{service}"


def _node(p: Parameters, name: str) -> dict[str, Any]:
    service = p.services[name]
    return {
        "listeners": [_listener(p, name, port) for port in p.ports_of(name)],
        "serviceDiscovery": _discovery(p, name),
        "backends": [{"virtualService": {"virtualServiceName": b}} for b in service.backends],
        "logging": {"accessLog": {"file": {"path": p.envoy.access_log}}} if p.envoy.access_log else None,
    }


def _listener(p: Parameters, name: str, port: int) -> dict[str, Any]:
    service, protocol = p.services[name], p.protocol_of(name)
    listener: dict[str, Any] = {"portMapping": {"port": port, "protocol": protocol}}
    if service.health_check:
        listener["healthCheck"] = _health_check(service.health_check, protocol, port)
    if service.timeout:
        listener["timeout"] = {protocol: _timeout(service.timeout, protocol)}
    return listener


def _discovery(p: Parameters, name: str) -> dict[str, Any]:
    service = p.services[name]
    if service.cloud_map is None:
        return {"dns": {"hostname": service.hostname}, "awsCloudMap": None}
    cloud = {
        "namespaceName": service.cloud_map.namespace or p.namespace,
        "serviceName": service.cloud_map.service,
    }
    attributes = [{"key": k, "value": v} for k, v in service.cloud_map.attributes.items()]
    return {"dns": None, "awsCloudMap": {**cloud, **({"attributes": attributes} if attributes else {})}}


def _health_check(check: HealthCheck, protocol: str, port: int) -> dict[str, Any]:
    out: dict[str, Any] = {
        "protocol": protocol,
        "port": port,
        "intervalMillis": check.interval_millis,
        "timeoutMillis": check.timeout_millis,
        "healthyThreshold": check.healthy_threshold,
        "unhealthyThreshold": check.unhealthy_threshold,
    }
    return {**out, "path": check.path or "/"} if protocol in ("http", "http2") else out


def _timeout(timeout: Timeout, protocol: str) -> dict[str, Any]:
    seconds = {
        "idle": timeout.idle_seconds,
        "perRequest": timeout.per_request_seconds if protocol != "tcp" else None,
    }
    return {key: {"unit": "s", "value": value} for key, value in seconds.items() if value}


def _weights(p: Parameters, life: Lifecycle, router: str, name: str, route: Route) -> dict[str, int]:
    if (router, name) == (p.router, p.route):
        return dict(life.weights) or {p.shift.stable: 100, p.shift.canary: 0}
    return dict(route.targets) if isinstance(route.targets, dict) else dict.fromkeys(route.targets, 100)


def route_spec(route: Route, protocol: str, weights: Mapping[str, int]) -> dict[str, Any]:
    """Return a route's spec of the router's protocol, with the other protocols' variants taken out."""
    body: dict[str, Any] = {"action": {"weightedTargets": targets(weights)}}
    if protocol == "grpc":
        body["match"] = _grpc_match(route.match)
        body["retryPolicy"] = {**_retry(route.retry), "grpcRetryEvents": route.retry.grpc_events or None}
    elif protocol != "tcp":
        body["match"] = _match(route.match)
        body["retryPolicy"] = _retry(route.retry)
    body["timeout"] = _timeout(route.timeout, protocol)
    others: dict[str, Any] = dict.fromkeys(SPEC_OF.values())
    priority = {} if route.priority is None else {"priority": route.priority}
    return {**others, **priority, SPEC_OF[protocol]: {k: v for k, v in body.items() if v or k == "match"}}


def targets(weights: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return weighted targets as the API writes them."""
    return [{"virtualNode": name, "weight": weight} for name, weight in weights.items()]


def _match(match: Match) -> dict[str, Any]:
    path = {"exact": match.path} if match.path else None
    out: dict[str, Any] = {"path": path, "prefix": None if path else match.prefix or "/"}
    more = {"method": match.method, "headers": [_header(header) for header in match.headers]}
    return {**out, **{key: value for key, value in more.items() if value}}


def _grpc_match(match: Match) -> dict[str, Any]:
    metadata = [_header(header) for header in match.headers]
    out = {"serviceName": match.service, "methodName": match.grpc_method, "metadata": metadata}
    return {key: value for key, value in out.items() if value}


def _header(header: Header) -> dict[str, Any]:
    out: dict[str, Any] = {"name": header.name, "invert": header.invert}
    if header.exact is not None:
        return {**out, "match": {"exact": header.exact}}
    return {**out, "match": {"prefix": header.prefix}} if header.prefix else out


def _retry(retry: Retry) -> dict[str, Any]:
    return {
        "maxRetries": retry.max_retries,
        "perRetryTimeout": {"unit": "ms", "value": retry.per_retry_timeout_millis},
        "httpRetryEvents": retry.http_events or None,
        "tcpRetryEvents": retry.tcp_events or None,
    }
